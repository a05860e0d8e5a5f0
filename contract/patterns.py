"""Expanding the generators of the contract's cases and matching values against their patterns.

Standard library only, so that the server's tests, the Python SDK's tests and `replay.py` share it.
README.md beside this file is the format's description.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Any

# Version 7, variant 10, as RFC 9562 lays it out.
_MESSAGE_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")
_EVENT_ID = re.compile(r"evt_[0-9a-z]{13}\Z")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_OFFSET = re.compile(r"\{\{now([+-]\d+)([smhd])\}\}")


def expand(value: Any) -> Any:
    """Replace `$text`, `$keys`, `$repeat` and `$value` by what they stand for."""
    match value:
        case {"$text": text, "times": times}:
            return text * times
        case {"$keys": count, "value": inner}:
            return {f"k{index:03d}": expand(inner) for index in range(count)}
        case {"$value": name}:
            return _unwritable(name)
        case dict():
            return {key: expand(inner) for key, inner in value.items()}
        case list():
            return [item for inner in value for item in _expand_item(inner)]
    return value


def fill(value: Any, words: dict[str, str]) -> Any:
    """Replace `{{word}}` within all strings; `{{now}}` with an offset becomes that moment."""
    match value:
        case str():
            for word, text in words.items():
                value = value.replace("{{" + word + "}}", text)
            return _OFFSET.sub(_moment, value)
        case dict():
            return {fill(key, words): fill(inner, words) for key, inner in value.items()}
        case list():
            return [fill(inner, words) for inner in value]
    return value


def mismatch(pattern: Any, value: Any, at: str = "") -> str | None:
    """Return where and how `value` differs from `pattern`; None if it does not."""
    match pattern:
        case {"$has": parts}:
            if not isinstance(value, dict):
                return f"{at}: {_short(value)} is no object"
            held = {key: value[key] for key in parts if key in value}
            return mismatch(parts, held, at)
        case {"$length": length}:
            same = isinstance(value, list) and len(value) == length
            return None if same else f"{at}: {_short(value)} has not {length} items"
        case {"$one_of": patterns}:
            fits = any(mismatch(one, value) is None for one in patterns)
            return None if fits else f"{at}: {_short(value)} is none of {patterns}"
        case {"$set": patterns}:
            return _set_mismatch(patterns, value, at)
        case str() if pattern.startswith("{{"):
            fits = _stands_for(pattern, value)
            return None if fits else f"{at}: {_short(value)} is no {pattern}"
        case dict():
            if not isinstance(value, dict) or pattern.keys() != value.keys():
                return f"{at}: {_short(value)}, not {_short(pattern)}"
            inner = [(pattern[key], value[key], f"{at}.{key}") for key in pattern]
        case list():
            if not isinstance(value, list) or len(pattern) != len(value):
                return f"{at}: {_short(value)}, not {_short(pattern)}"
            pairs = enumerate(zip(pattern, value, strict=True))
            inner = [(wanted, got, f"{at}[{index}]") for index, (wanted, got) in pairs]
        case _:
            same = type(pattern) is type(value) and pattern == value
            return None if same else f"{at}: {_short(value)}, not {_short(pattern)}"
    return next(filter(None, (mismatch(*item) for item in inner)), None)


def _set_mismatch(patterns: list[Any], value: Any, at: str) -> str | None:
    if not isinstance(value, list) or len(value) != len(patterns):
        return f"{at}: {_short(value)} has not {len(patterns)} items"
    for pattern in patterns:
        if all(mismatch(pattern, item) is not None for item in value):
            return f"{at}: nothing in {_short(value)} is {pattern}"
    return None


def _expand_item(item: Any) -> list[Any]:
    match item:
        case {"$repeat": count, "of": pattern}:
            text = json.dumps(pattern)
            return [
                expand(json.loads(text.replace("{{index}}", str(index)))) for index in range(count)
            ]
    return [expand(item)]


def _unwritable(name: str) -> Any:
    """Return a value JSON, and so a case, cannot hold."""
    if name == "cycle":
        cycle: dict[str, Any] = {}
        cycle["self"] = cycle
        return cycle
    return {"nan": float("nan"), "infinity": float("inf"), "lone_surrogate": "a\ud800b"}[name]


def _moment(found: re.Match[str]) -> str:
    return utc_now(int(found[1]) * _UNITS_S[found[2]])


def utc_now(shift_s: int = 0) -> str:
    """Return the time now, shifted, as it stands on the wire."""
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=shift_s)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _stands_for(placeholder: str, value: Any) -> bool:
    match placeholder:
        case "{{string}}":
            return isinstance(value, str) and value != ""
        case "{{message_id}}":
            return isinstance(value, str) and _MESSAGE_ID.match(value) is not None
        case "{{event_id}}":
            return isinstance(value, str) and _EVENT_ID.match(value) is not None
        case "{{now}}":
            return isinstance(value, str) and _MOMENT.match(value) is not None and _is_now(value)
        case "{{library}}":
            return isinstance(value, dict) and value.keys() == {"name", "version"}
    raise ValueError(placeholder)


def _is_now(text: str) -> bool:
    age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(text)
    return abs(age) < dt.timedelta(seconds=60)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}…"
