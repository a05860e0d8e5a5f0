"""Reading, expanding and matching the language-neutral cases of `contract/sdk`."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import Any

CONTRACT = Path(__file__).parents[3] / "contract" / "sdk"

# Version 7, variant 10, as RFC 9562 lays it out.
MESSAGE_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")


def load_cases() -> list[dict[str, Any]]:
    """Return all cases, expanded; names carry their file's."""
    cases = []
    for path in sorted(CONTRACT.glob("*.json")):
        for case in json.loads(path.read_text("utf-8"))["cases"]:
            cases.append({**expand(case), "id": f"{path.stem}/{case['name']}"})
    return cases


def expand(value: Any) -> Any:
    """Replace `$text`, `$value` and `$repeat` by what they stand for."""
    match value:
        case {"$text": text, "times": times}:
            return text * times
        case {"$value": name}:
            return _unwritable(name)
        case dict():
            return {key: expand(inner) for key, inner in value.items()}
        case list():
            return [item for inner in value for item in _expand_item(inner)]
    return value


def _expand_item(item: Any) -> list[Any]:
    match item:
        case {"$repeat": count, "of": pattern}:
            return [expand(_numbered(pattern, index)) for index in range(count)]
    return [expand(item)]


def _numbered(pattern: Any, index: int) -> Any:
    return json.loads(json.dumps(pattern).replace("{{index}}", str(index)))


def _unwritable(name: str) -> Any:
    """Return a value JSON, and so a case, cannot hold."""
    if name == "cycle":
        cycle: dict[str, Any] = {}
        cycle["self"] = cycle
        return cycle
    return {"nan": float("nan"), "infinity": float("inf"), "lone_surrogate": "a\ud800b"}[name]


def mismatch(pattern: Any, value: Any, at: str = "") -> str | None:
    """Return where and how `value` differs from `pattern`; None if it does not."""
    match pattern:
        case {"$has": parts}:
            if not isinstance(value, dict):
                return f"{at}: {value!r} is no object"
            held = {key: value[key] for key in parts if key in value}
            return mismatch(parts, held, at)
        case {"$length": length}:
            return None if len(value) == length else f"{at}: {len(value)} items, not {length}"
        case str() if pattern.startswith("{{"):
            return None if _stands_for(pattern, value) else f"{at}: {value!r} is no {pattern}"
        case dict():
            if not isinstance(value, dict) or pattern.keys() != value.keys():
                return f"{at}: {value!r}, not {pattern!r}"
            inner = ((pattern[key], value[key], f"{at}.{key}") for key in pattern)
        case list():
            if not isinstance(value, list) or len(pattern) != len(value):
                return f"{at}: {value!r}, not {pattern!r}"
            inner = (
                (wanted, got, f"{at}[{index}]")
                for index, (wanted, got) in enumerate(zip(pattern, value, strict=True))
            )
        case _:
            same = type(pattern) is type(value) and pattern == value
            return None if same else f"{at}: {value!r}, not {pattern!r}"
    return next(filter(None, (mismatch(*item) for item in inner)), None)


def _stands_for(placeholder: str, value: Any) -> bool:
    match placeholder:
        case "{{message_id}}":
            return isinstance(value, str) and MESSAGE_ID.match(value) is not None
        case "{{now}}":
            return isinstance(value, str) and MOMENT.match(value) is not None and _is_recent(value)
        case "{{library}}":
            return value.keys() == {"name", "version"} and all(
                isinstance(text, str) for text in value.values()
            )
    raise ValueError(placeholder)


def _is_recent(text: str) -> bool:
    age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(text)
    return dt.timedelta(seconds=-1) < age < dt.timedelta(seconds=60)
