"""The direction of imports: which part may know which, as docs/architecture.md draws it."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "saytics_server"
PACKAGE = "saytics_server"

# May be known by every part.
GROUND = {"errors", "config", "clock"}

# Part: the parts it may import besides the ground. What a server needs of two neighbours that do
# not know each other is wired in server.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "config": set(),
    "clock": set(),
    "event": set(),
    "encodings": set(),
    "datadir": set(),
    "sql": set(),
    "log": {"event"},
    "live": {"event", "log"},
    "accounts": set(),
    "collect": {"event", "encodings", "log", "accounts", "protocol"},
    "store": {"event"},
    "store.loader": {"event", "log", "store"},
    "people": {"sql", "store"},
    "query": {"event", "people", "sql", "store"},
    "openapi": {"event", "collect", "query"},
    "questions": {"protocol", "store"},
    "api": {
        "accounts",
        "api_cohorts",
        "collect",
        "openapi",
        "people",
        "query",
        "questions",
        "saved_cohorts",
        "store",
    },
    "api_cohorts": {"accounts", "query", "saved_cohorts", "store"},
    "dashboard": {
        "accounts",
        "event",
        "live",
        "people",
        "query",
        "questions",
        "saved_cohorts",
        "store",
    },
    "saved_cohorts": {"accounts", "query", "sql"},
    "sdk_packages": set(),
    "protocol": set(),
    "metrics": {"collect", "log", "store", "store.loader"},
    "administration": {"accounts", "event"},
    "orders": set(),
    "backup": {"datadir", "orders", "store"},
    "restore": {"backup", "log", "orders"},
    "backup_command": {"backup", "control", "datadir", "orders", "restore", "store"},
    "control": {"accounts", "administration", "api", "log", "orders", "store.loader"},
    "commands": {"accounts", "administration", "control", "datadir"},
    "check": {"accounts", "datadir", "log", "store"},
    "demo": {"event"},
    "export_files": {"query"},
    "export": {"accounts", "event", "export_files", "orders", "people", "query", "sql", "store"},
    "running": {"control", "server"},
    "transfer_command": {
        "accounts",
        "administration",
        "backup_command",
        "control",
        "datadir",
        "export",
        "log",
        "orders",
        "running",
        "store",
    },
    "server": {
        "accounts",
        "api",
        "backup",
        "collect",
        "control",
        "dashboard",
        "datadir",
        "export",
        "live",
        "log",
        "metrics",
        "orders",
        "protocol",
        "questions",
        "sdk_packages",
        "store",
        "store.loader",
    },
    "demo_command": {"administration", "control", "demo", "log", "running", "server"},
    "cli": {
        "administration",
        "backup_command",
        "check",
        "commands",
        "demo",
        "demo_command",
        "orders",
        "server",
        "transfer_command",
    },
}


def part_of(module: str) -> str:
    """Return the part a module inside the package belongs to."""
    if module == "store.loader":
        return module
    return module.split(".", maxsplit=1)[0]


def imports() -> dict[str, set[str]]:
    """Return, per part, the parts its modules import, from anywhere in their code."""
    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        relative = path.relative_to(SOURCE).with_suffix("")
        module = ".".join(part for part in relative.parts if part != "__init__")
        if not module:
            continue
        part = part_of(module)
        for node in ast.walk(ast.parse(path.read_text())):
            for target in imported(node):
                other = part_of(target)
                if target and other != part:
                    found.setdefault(part, set()).add(other)
    return found


def imported(node: ast.AST) -> list[str]:
    """Return the modules of the package that a statement imports, without the package's name."""
    if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(PACKAGE):
        module = node.module.removeprefix(PACKAGE).removeprefix(".")
        return (
            [f"{module}.{name.name}".strip(".") for name in node.names] if not module else [module]
        )
    if isinstance(node, ast.Import):
        return [
            name.name.removeprefix(PACKAGE + ".")
            for name in node.names
            if name.name.startswith(PACKAGE + ".")
        ]
    return []


FOUND = imports()


@pytest.mark.parametrize("part", sorted({*FOUND, *ALLOWED}))
def test_parts_import_only_what_the_table_allows(part):
    """No part imports one that the table does not name for it."""
    allowed = ALLOWED[part] | (GROUND - {part} if part not in GROUND else {"errors"})
    surplus = FOUND.get(part, set()) - allowed - {"__version__"}
    assert not surplus, f"{part} imports {sorted(surplus)}"


def test_the_table_has_no_cycle():
    """Whoever follows the table from any part never comes back to it."""

    def reachable(part: str, seen: frozenset[str] = frozenset()) -> set[str]:
        return set().union(
            *(({other} | reachable(other, seen | {part})) for other in ALLOWED[part])
        )

    for part in ALLOWED:
        assert part not in reachable(part)


def test_a_planted_import_is_seen():
    """The reader of imports sees one inside a function, too."""
    planted = ast.parse("def f():\n    from saytics_server.server import Server\n")
    assert [name for node in ast.walk(planted) for name in imported(node)] == ["server"]
