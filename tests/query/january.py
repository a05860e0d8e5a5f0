"""Events of January 2024 as short as a test of a report writes them, and what it is refused."""

from __future__ import annotations

from typing import Any

import pytest
from rows import instant_ms

from saytics_server.errors import Refused


def event(name: str, at: str, user: str = "ü", **fields: Any) -> dict[str, Any]:
    ids = {} if "anonymousId" in fields else {"userId": user}
    return {"event": name, "timestamp": instant_ms(f"2024-01-{at}Z"), **ids, **fields}


def refusal(call: Any, *arguments: Any) -> tuple[str, str | None]:
    with pytest.raises(Refused) as raised:
        call(*arguments)
    return raised.value.rejection.code, raised.value.rejection.field
