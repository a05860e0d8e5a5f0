"""The OpenAPI document; under construction."""

from __future__ import annotations

from typing import Any


def document(server_url: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Saytics", "version": "0.1.0"},
        "servers": [{"url": server_url}],
        "paths": {},
    }
