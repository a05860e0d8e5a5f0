"""A page's question as a call of the API, ready to be pasted; the key stays a placeholder."""

from __future__ import annotations

import json
import pprint
import shlex
from typing import Any

import msgspec

_PATH = "/v1/reports/query"


class ApiCall(msgspec.Struct, frozen=True):
    """The same question for a shell and for Python."""

    curl: str
    python: str


def api_call(server: str, document: dict[str, Any]) -> ApiCall:
    """Return the calls that ask `document` of the server at `server`."""
    address = server.rstrip("/") + _PATH
    body = json.dumps(document, ensure_ascii=False, indent=2)
    curl = (
        f"curl {shlex.quote(address)} \\\n"
        '  -H "Authorization: Bearer $SAYTICS_SECRET_KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  --data-raw {shlex.quote(body)}"
    )
    question = pprint.pformat(document, width=88, sort_dicts=False)
    python = (
        "import json\nimport os\nimport urllib.request\n\n"
        f"question = {question}\n"
        f"request = urllib.request.Request(\n    {address!r},\n"
        "    data=json.dumps(question).encode(),\n"
        "    headers={\n"
        '        "Authorization": f"Bearer {os.environ[\'SAYTICS_SECRET_KEY\']}",\n'
        '        "Content-Type": "application/json",\n'
        "    },\n)\n"
        "with urllib.request.urlopen(request) as answer:\n"
        "    print(json.load(answer))\n"
    )
    return ApiCall(curl, python)
