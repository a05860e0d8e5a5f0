"""The language-neutral cases of `contract/sdk`, expanded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

CONTRACT = Path(__file__).parents[3] / "contract"
sys.path.insert(0, str(CONTRACT))

from patterns import expand, mismatch  # noqa: E402 - found by the line above

__all__ = ["load_cases", "mismatch"]


def load_cases() -> list[dict[str, Any]]:
    """Return all cases; `id` is file and name."""
    return [
        {**expand(case), "id": f"{path.stem}/{case['name']}"}
        for path in sorted((CONTRACT / "sdk").glob("*.json"))
        for case in json.loads(path.read_text("utf-8"))["cases"]
    ]
