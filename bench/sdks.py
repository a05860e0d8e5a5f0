"""What a call of `track()` costs and what is lost, our SDKs beside the field's in one run.

The SDKs take turns, so that all see the same machine. SAYTICS_BENCH_SDKS names a folder in which the
field's packages are kept between runs; without it they are installed into a temporary one.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bench.field import SDKS, Counting, Field, Sdk

# Below every default of a queue (10,000), so that nobody's figure is the cost of dropping.
EVENTS = 8_000
# Each is a request of its own or blocks on one; a tenth is enough to see.
EVENTS_UNBATCHED = 800
ROUNDS = 2
LOSS_EVENTS = 500


def run() -> list[str]:
    """Measure and return the lines of the tables."""
    with tempfile.TemporaryDirectory() as temporary:
        kept = os.environ.get("SAYTICS_BENCH_SDKS")
        field = Field(Path(kept or temporary) / "field")
        field.install()
        counting = Counting()
        with counting.listening() as host:
            costs = _costs(field, host, Path(temporary) / "cost")
            counting.taken()
            losses = _losses(field, counting, host, Path(temporary) / "loss")
        return [
            f"Beside {', '.join(field.versions())}; default settings, a local server that answers at once.",
            "",
            *costs,
            "",
            *losses,
        ]


def _costs(field: Field, host: str, spools: Path) -> list[str]:
    best: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for sdk in SDKS:
            count = EVENTS_UNBATCHED if "mixpanel" in sdk.name else EVENTS
            found = field.run(sdk, host, count, "flush", spools / sdk.language)
            if found is not None:
                wall, processor, peak = found
                figures = [wall / count * 1e6, processor / count * 1e6, peak / 1024]
                best[sdk.name] = list(map(min, best.get(sdk.name, figures), figures))
    lines = [
        f"One call over {EVENTS:,} in a row ({EVENTS_UNBATCHED:,} for mixpanel), the best of {ROUNDS} rounds;"
        " processor time is the calling thread's (Python) or the process's (Node).",
        "",
        "| SDK | wall | processor | ratio to ours, processor | peak memory |",
        "|---|---|---|---|---|",
    ]
    for sdk in SDKS:
        if sdk.name not in best:
            lines.append(f"| {sdk.name} | its flush did not end | | | |")
            continue
        wall, processor, peak = best[sdk.name]
        ratio = processor / best[_ours(sdk).name][1]
        lines.append(
            f"| {sdk.name} | {wall:.1f} µs | {processor:.1f} µs | {ratio:.1f} | {peak:.0f} MiB |"
        )
    return lines


def _ours(sdk: Sdk) -> Sdk:
    return next(each for each in SDKS if each.is_ours and each.language == sdk.language)


def _losses(field: Field, counting: Counting, host: str, spools: Path) -> list[str]:
    lines = [
        f"What arrives of {LOSS_EVENTS} events: at the end of the process / after the next process has started and flushed.",
        "",
        "| SDK | normal exit without flush | SIGTERM right after them |",
        "|---|---|---|",
    ]
    for sdk in SDKS:
        cells = []
        for ending in ("exit", "signal"):
            spool = spools / ending / sdk.language
            field.run(sdk, host, LOSS_EVENTS, ending, spool)
            arrived = counting.taken()
            field.run(sdk, host, 0, "flush", spool)
            cells.append(f"{arrived} / {arrived + counting.taken()}")
        lines.append(f"| {sdk.name} | {cells[0]} | {cells[1]} |")
    return lines
