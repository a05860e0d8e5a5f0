"""What the documents show can be pasted: it parses, and what it sends arrives."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import ROOT, Block, blocks, read

from factories import unique
from saytics_server.dashboard.set_up import Place, snippets
from serving import Serving

DEFAULT_ADDRESS = "http://127.0.0.1:8640"
KEY_PLACE = "YOUR_SECRET_KEY"
LIMIT_S = 30

# As it stands on the page this project grew from; only host and key are put in.
SEED_CURL = """
curl -X POST https://api.saytics.com/v1/events \\
  -H "Authorization: Bearer YOUR_SECRET_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{
    "userId": "user_456",
    "event": "Subscription Upgraded",
    "properties": {
      "plan": "pro",
      "mrr": 49.99
    },
    "timestamp": "2024-01-15T10:30:00Z"
  }'
"""

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def _run(command: list[str], server: Serving, folder: Path | None = None) -> str:
    environment = {
        **os.environ,
        "SAYTICS_SECRET_KEY": server.secret_key,
        "SAYTICS_HOST": server.address,
        "PYTHONPATH": str(ROOT / "sdks/python/src"),
    }
    done = subprocess.run(
        command,
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _filled_in(code: str, server: Serving) -> str:
    code = code.replace("https://api.saytics.com", server.address)
    code = code.replace("saytics-data/", f"{server.data_dir}/")
    return code.replace(DEFAULT_ADDRESS, server.address).replace(KEY_PLACE, server.secret_key)


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_snippets_parse(block: Block) -> None:
    """Each Python snippet is Python."""
    ast.parse(block.code, str(block))


@pytest.mark.parametrize("block", blocks("js"), ids=str)
def test_javascript_snippets_parse(block: Block, tmp_path: Path) -> None:
    """Each JavaScript snippet is JavaScript: a module where it imports or exports, else what can
    stand in an async function."""
    is_module = any(line.startswith(("import ", "export ")) for line in block.code.splitlines())
    file = tmp_path / ("snippet.mjs" if is_module else "snippet.cjs")
    file.write_text(block.code if is_module else f"(async () => {{\n{block.code}\n}});")
    done = subprocess.run(
        ["node", "--check", str(file)],
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json_snippets_parse(block: Block) -> None:
    """Each JSON snippet is JSON."""
    json.loads(block.code)


def _documents_with_curl() -> list[str]:
    return sorted({block.document for block in blocks("sh") if "curl " in block.code})


@needs_curl
@pytest.mark.parametrize("document", _documents_with_curl())
def test_curl_lines_run(document: str, server: Serving) -> None:
    """The curl lines of a document, run one after the other, are all answered without error."""
    for block in blocks("sh"):
        if block.document != document or "curl " not in block.code:
            continue
        answer = _run(["bash", "-ec", _filled_in(block.code, server)], server)
        if "/metrics" in block.code:
            assert "saytics_requests_total" in answer
        else:
            assert "error" not in json.loads(answer), block
        server.wait_visible()


@needs_curl
def test_the_seed_curl_line_runs(server: Serving) -> None:
    """The curl line of the page this project grew from is accepted as it is."""
    answer = _run(["bash", "-ec", _filled_in(SEED_CURL, server)], server)
    assert json.loads(answer) == {"status": "ok", "received": 1}


@needs_curl
def test_the_batch_example_answers_what_the_document_says(server: Serving) -> None:
    """The batch in the documents gets the very answer that stands below it."""
    inside = [block for block in blocks("sh", "json") if block.document == "docs/http-api.md"]
    place = next(i for i, block in enumerate(inside) if "/v1/events/batch" in block.code)
    # Its messageId may have been sent by the test that runs all lines.
    code = inside[place].code.replace("inv-1", unique("inv"))
    answer = _run(["bash", "-ec", _filled_in(code, server)], server)
    assert json.loads(answer) == json.loads(inside[place + 1].code)


def test_the_readme_names_the_python_package_of_this_version() -> None:
    """The wheel that the README installs has the version that is built here."""
    version = re.search(r'= "(.+)"', (ROOT / "sdks/python/src/saytics/version.py").read_text())
    assert version is not None
    assert f"/sdk/saytics-{version[1]}-py3-none-any.whl`" in read("README.md")


def _readme(language: str) -> str:
    return next(block.code for block in blocks(language) if block.document == "README.md")


def test_the_readme_python_snippet_sends_its_event(server: Serving, tmp_path: Path) -> None:
    """The Python snippet of the README delivers its event to the server."""
    user = unique("python")
    (tmp_path / "first.py").write_text(
        _filled_in(_readme("python"), server).replace("user_456", user)
    )
    _run([sys.executable, "first.py"], server, tmp_path)
    server.wait_visible()
    assert [event["event"] for event in server.events(userId=user)] == ["Subscription Upgraded"]


def test_the_readme_node_snippet_sends_its_event(server: Serving, tmp_path: Path) -> None:
    """The Node snippet of the README delivers its event to the server."""
    user = unique("node")
    _install_node_sdk(tmp_path)
    (tmp_path / "first.js").write_text(_filled_in(_readme("js"), server).replace("user_456", user))
    _run(["node", "first.js"], server, tmp_path)
    server.wait_visible()
    assert [event["event"] for event in server.events(userId=user)] == ["Subscription Upgraded"]


def test_the_serverless_recipes_send_their_event(server: Serving, tmp_path: Path) -> None:
    """Both handlers of the recipe, called twice for one order, deliver one event each."""
    _install_node_sdk(tmp_path)
    recipes = [block for block in blocks("js", "python") if block.document == "docs/recipes.md"]
    node = next(block.code for block in recipes if "export async function handler" in block.code)
    python = next(block.code for block in recipes if "def handler" in block.code)
    order = {"id": unique("order"), "userId": unique("buyer"), "total": 12.5}
    text = json.dumps(order)
    (tmp_path / "node.mjs").write_text(f"{node}\nawait handler({text}); await handler({text});")
    (tmp_path / "node_python.py").write_text(
        f"{python}\nhandler({text}, None)\nhandler({text}, None)"
    )
    _run(["node", "node.mjs"], server, tmp_path)
    _run([sys.executable, "node_python.py"], server, tmp_path)
    server.wait_visible()
    # The same messageId from both: four calls, one event.
    (event,) = server.events(userId=order["userId"])
    assert event["properties"] == {"orderId": order["id"], "total": 12.5}


def test_the_import_recipe_counts_once(server: Serving, tmp_path: Path) -> None:
    """The import script stores old history, names bad lines, and run again adds nothing."""
    recipe = next(block.code for block in blocks("python") if "import_history.py" in block.code)
    (tmp_path / "import_history.py").write_text(recipe)
    user = unique("imported")
    lines = [
        {"id": unique("row"), "user": user, "name": "Ordered", "at": f"{year}-02-03T04:05:06Z",
         "data": {"year": year}}
        for year in (2019, 2021, 2023)
    ]  # fmt: skip
    lines.append({**lines[0], "id": unique("row"), "at": "never"})
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = [sys.executable, "import_history.py", "events.jsonl"]
    assert _run(command, server, tmp_path).startswith("3 received, 0 of them had been there before")
    assert _run(command, server, tmp_path).startswith("3 received, 3 of them had been there before")
    server.wait_visible()
    assert [event["properties"]["year"] for event in server.events(userId=user)] == [
        2019,
        2021,
        2023,
    ]


def _install_node_sdk(folder: Path) -> None:
    (folder / "node_modules/@saytics").mkdir(parents=True)
    (folder / "node_modules/@saytics/node").symlink_to(ROOT / "sdks/node")


def test_the_set_up_page_and_the_readme_show_one_browser_snippet() -> None:
    """The page fills in the address and the key; all else is the README's."""
    readme = (ROOT / "sdks/browser/README.md").read_text()
    place = Place(DEFAULT_ADDRESS, "/sdk/node.tgz", "/sdk/python.whl")
    (shown,) = (
        snippet
        for snippet in snippets(place, "YOUR_WRITE_KEY", KEY_PLACE, "browser")
        if snippet.selected
    )
    assert f"```html\n{shown.steps[0].code}\n```" in readme
