"""Links lead somewhere, and public text names no place that only its writer can see."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from documents import all_documents, anchors, name_of, text_files, without_blocks

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")

# Paths of one machine, and hosts that packages come from. In two pieces each, so that this file
# does not name what it forbids.
_PRIVATE = re.compile(
    "|".join(
        (
            r"(?<![\w.~-])/(?:wo" + r"rk|ro" + r"ot)/\w",
            r"(?<![\w.~-])/ho" + r"me/\w+/\w",
            r"(?<![\w.~-])/tm" + r"p/(?!example)\w",
            "python" + r"hosted\.org",
            "py" + r"pi\.org/simple",
            r"registry\.np" + r"mjs\.org",
            r"https?://[\w.-]*(?:mirror|artifactory|nexus)[\w.-]*",
            r"--(?:extra-)?index-url[ =]\S*//",
        )
    )
)


@pytest.mark.parametrize("path", all_documents(), ids=name_of)
def test_links_resolve(path: Path) -> None:
    """Each link to a file or heading of ours leads to one."""
    text = path.read_text()
    broken = []
    for target in _LINK.findall(without_blocks(text)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = path.parent / file if file else path
        if not linked.exists() or (anchor and anchor not in anchors(linked.read_text())):
            broken.append(target)
    assert broken == []


def test_every_decision_is_listed() -> None:
    """Each decision record is in the list of decisions, under its own title."""
    folder = next(path.parent for path in all_documents() if path.parent.name == "decisions")
    listed = (folder / "README.md").read_text()
    records = sorted(folder.glob("0*.md"))
    assert records
    for record in records:
        title = record.read_text().splitlines()[0].removeprefix("# ")
        assert f"[{title}]({record.name})" in listed


def test_public_text_names_no_private_place() -> None:
    """No file names a path of the machine it was written on, or where its packages came from."""
    found = [
        f"{name_of(path)}: {match[0]}"
        for path in text_files()
        for match in _PRIVATE.finditer(path.read_text(errors="replace"))
    ]
    assert found == []
