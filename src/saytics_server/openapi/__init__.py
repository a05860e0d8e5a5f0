"""The OpenAPI 3.1 document of the HTTP API, put together from the tables the code works by.

In: the address the server is reached at. Out: the document as one JSON-ready dictionary. Error
codes come from `errors.ERRORS`, limits from `event`, query parameters from the reports that read
them, so a code, a limit or a parameter that is added there appears here or fails at import.
Only what a rule of JSON Schema can say is said as one; the rest is in words beside it.
"""

from __future__ import annotations

from typing import Any

from saytics_server import __version__
from saytics_server.openapi.operations import SECURITY_SCHEMES, paths
from saytics_server.openapi.refusals import HEADERS
from saytics_server.openapi.schemas import schemas


def document(server_url: str) -> dict[str, Any]:
    """Return the document, with the server at `server_url`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Saytics",
            "version": __version__,
            "summary": "Events in, counted.",
            "description": (
                "An event is on disk before its answer leaves, and in every report about a second"
                " later. Event fields are camelCase, everything else is snake_case; times are"
                " UTC with milliseconds and `Z`."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server_url}],
        "tags": [
            {"name": "send", "description": "Events and traits in. Secret or write key."},
            {"name": "read", "description": "Events, users and reports out. Secret key."},
            {"name": "server", "description": "About the server. No key."},
        ],
        "paths": paths(),
        "components": {
            "securitySchemes": SECURITY_SCHEMES,
            "schemas": schemas(),
            "headers": HEADERS,
        },
    }
