"""The project's documents as tests read them: files, headings, code blocks, table rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
_NOT_OURS = {".venv", ".git", "node_modules", "vendor", "sdk_files", "screenshots"}
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(msgspec.Struct, frozen=True):
    """A code block and where it stands."""

    document: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def all_documents() -> list[Path]:
    """Return every Markdown file of ours."""
    return [path for path in _walk(ROOT) if path.suffix == ".md" or path.name == "llms.txt"]


def text_files() -> list[Path]:
    """Return every file of ours that is text and made to be read by strangers."""
    names = {"Makefile", "LICENSE", "run", ".gitignore"}
    suffixes = {".md", ".txt", ".py", ".js", ".mjs", ".ts", ".mts", ".toml", ".json", ".lock",
                ".html", ".css", ".svg", ".yml"}  # fmt: skip
    return [path for path in _walk(ROOT) if path.suffix in suffixes or path.name in names]


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in _NOT_OURS or (path.name.startswith(".") and path.name != ".ci"):
            continue
        if path.is_dir():
            if path.name != "__pycache__":
                yield from _walk(path)
        else:
            yield path


def name_of(path: Path) -> str:
    """Return a file's path from the root."""
    return path.relative_to(ROOT).as_posix()


def read(name: str) -> str:
    """Return the text of a document by its path from the root."""
    return (ROOT / name).read_text()


def blocks(*languages: str) -> list[Block]:
    """Return the code blocks in these languages, over all documents."""
    return [
        Block(name_of(path), text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for path in all_documents()
        for text in [path.read_text()]
        for found in _BLOCK.finditer(text)
        if found[1] in languages
    ]


def without_blocks(text: str) -> str:
    """Return the text without its code blocks and inline code."""
    return re.sub(r"`[^`\n]*`", "", _BLOCK.sub("", text))


def table_rows(name: str) -> list[str]:
    """Return the lines of a document that are rows of tables."""
    return [line for line in read(name).splitlines() if line.startswith("| ")]


def anchors(text: str) -> set[str]:
    """Return what a link can name after `#`: headings, in the form hosts give them."""
    headings = re.findall(r"^#+ (.+)$", _BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
