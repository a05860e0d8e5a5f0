"""Everything a user can set, send, ask or be told stands in the documents."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import click
import pytest
from documents import ROOT, read, table_rows
from starlette.routing import Route

from saytics_server import collect, errors, event, sdk_packages
from saytics_server.accounts import PLANS
from saytics_server.accounts.permissions import PERMISSIONS
from saytics_server.api import Api
from saytics_server.cli import cli
from saytics_server.config import SETTINGS, Config, Setting
from saytics_server.dashboard import DashboardContext
from saytics_server.dashboard import routes as dashboard_routes
from saytics_server.openapi.schemas import WARNINGS
from saytics_server.query import (
    active_users,
    activity,
    event_list,
    funnel_question,
    path_question,
    periods,
    retention,
    trends,
)
from saytics_server.query.metrics import METRICS
from saytics_server.questions import Questions
from serving import Serving

HTTP_API, OPERATING, DASHBOARD = "docs/http-api.md", "docs/operating.md", "docs/dashboard.md"
NOTHING = cast(Any, None)


def _ids(value: object) -> str:
    return str(getattr(value, "name", None) or getattr(value, "code", None) or value)


@pytest.mark.parametrize("setting", SETTINGS, ids=_ids)
def test_every_setting_is_documented_with_its_default(setting: Setting) -> None:
    """Each setting has a row in the table of settings, and the row names its default."""
    rows = [row for row in table_rows(OPERATING) if row.startswith(f"| `{setting.name}` |")]
    assert len(rows) == 1
    default = getattr(Config(), setting.field)
    assert default in (None, "") or str(default) in rows[0].split("|")[2]


@pytest.mark.parametrize("kind", errors.ERRORS.values(), ids=_ids)
def test_every_error_code_is_documented_as_it_is(kind: errors.ErrorKind) -> None:
    """Each code has a row with the status, the retry and the meaning of the table in the code."""
    retry = "yes" if kind.is_retryable else ""
    assert f"| {kind.status} | `{kind.code}` | {retry} | {kind.meaning} |" in table_rows(HTTP_API)


def test_no_error_code_is_documented_that_is_none() -> None:
    """The table of errors has no rows beside those of the code."""
    documented = re.findall(r"^\| \d{3} \| `(\w+)`", read(HTTP_API), re.MULTILINE)
    assert documented == list(errors.ERRORS)


def _paths(routes: Iterable[object]) -> set[str]:
    return {route.path for route in routes if isinstance(route, Route)}


def _pages() -> list[str]:
    context = DashboardContext(*[NOTHING] * 6, secure_cookies=False)
    return sorted(_paths(dashboard_routes(context)))


@pytest.mark.parametrize("path", _pages())
def test_every_page_is_documented(path: str) -> None:
    """Each page of the dashboard stands in its document; parts and forms stand under a page's."""
    parts = path.split("/")
    above = {"/".join(parts[:length]) or "/" for length in range(2, len(parts) + 1)}
    assert any(f"`{page}`" in read(DASHBOARD) for page in above)


def test_roles_are_documented_as_they_are() -> None:
    """The table of acts says for each role what the permissions say."""
    table = read(DASHBOARD).split("| act | ")[1].splitlines()
    roles = [name.strip() for name in table[0].strip("| ").split("|")]
    written = [
        [cell.strip() for cell in row.strip("| ").split("|")[1:]] for row in table[2:] if row
    ]
    said = sorted(tuple(cell == "yes" for cell in row) for row in written)
    assert said == sorted(tuple(role in able for role in roles) for able in PERMISSIONS.values())


def _routes() -> list[str]:
    api = Api(NOTHING, Questions(NOTHING), NOTHING, lambda: None)
    return sorted(_paths([*api.routes(), *sdk_packages.routes()]) | collect.PATHS)


@pytest.mark.parametrize("path", _routes())
def test_every_route_is_documented(path: str) -> None:
    """Each address that the application answers stands in the documents."""
    written = re.sub(r"\{(?:user_)?(\w+)(:path)?\}", r"{\1}", path)
    assert re.search(rf"[` ]{re.escape(written)}`", read(HTTP_API))


def _warnings() -> list[str]:
    source = "".join((ROOT / "src/saytics_server" / name).read_text() for name in
                     ("event.py", "collect.py"))  # fmt: skip
    return sorted(set(re.findall(r"(?:Warned|_warn)\(\s*\"(\w+)\"", source)))


@pytest.mark.parametrize("code", _warnings())
def test_every_warning_is_documented(code: str) -> None:
    """Each warning that the code gives stands in the text and in the OpenAPI document."""
    assert f"`{code}` |" in read(HTTP_API)
    assert code in WARNINGS


def test_no_warning_is_documented_that_is_none() -> None:
    """The OpenAPI document names no warning that the code does not give."""
    assert sorted(WARNINGS) == _warnings()


@pytest.mark.parametrize(
    ("heading", "parameters"),
    [
        ("### GET /v1/events", event_list.PARAMETERS),
        ("### GET /v1/reports/events", trends.PARAMETERS),
        ("### GET /v1/reports/users", active_users.PARAMETERS),
        ("### GET /v1/reports/funnels", funnel_question.PARAMETERS),
        ("### GET /v1/reports/retention", retention.PARAMETERS),
        ("### GET /v1/reports/lifecycle", activity.PARAMETERS),
        ("### GET /v1/reports/paths", path_question.PARAMETERS),
    ],
)
def test_every_query_parameter_is_documented(heading: str, parameters: tuple[str, ...]) -> None:
    """Each parameter that a report reads stands under that report's heading."""
    section = read(HTTP_API).split(heading + "\n")[1].split("\n### ")[0]
    assert [name for name in parameters if not re.search(rf"`{name}[`=]", section)] == []


def test_every_metric_is_documented() -> None:
    """Each metric of a trend stands in the list of metrics."""
    section = read(HTTP_API).split("### GET /v1/reports/events\n")[1].split("\n### ")[0]
    assert [name for name in METRICS if not re.search(rf"`{name}(:P)?`", section)] == []


MIB = 1024 * 1024
LIMITS = [
    (HTTP_API, f"1 to {event.EVENT_NAME_CHARACTERS_MAX} characters"),
    (HTTP_API, f"1 to {event.ID_CHARACTERS_MAX} characters"),
    (HTTP_API, f"up to {event.MESSAGE_ID_CHARACTERS_MAX} characters"),
    (HTTP_API, f"key of {event.KEY_CHARACTERS_MAX} characters"),
    (HTTP_API, f"{event.KEYS_MAX} keys in all"),
    (HTTP_API, f"{event.DEPTH_MAX} levels"),
    (HTTP_API, f"string of {event.STRING_CHARACTERS_MAX} characters"),
    (HTTP_API, f"array of {event.ARRAY_ELEMENTS_MAX} elements"),
    (HTTP_API, f"{event.EVENT_BYTES_MAX // 1024} KiB for the event"),
    (HTTP_API, f"to {event.FUTURE_MS_MAX // 3_600_000} hours ahead"),
    (HTTP_API, f"reach back {event.WRITE_KEY_PAST_MS_MAX // 86_400_000} days"),
    (HTTP_API, f"more than {event.SKEW_MS_MIN // 1000} seconds away"),
    (HTTP_API, f"at most {collect.LINKS_PER_USER_HOUR_MAX} anonymous ids"),
    (HTTP_API, f"1 to {event_list.LIMIT_MAX:,}; default {event_list.LIMIT_DEFAULT}"),
    (HTTP_API, f"at most {periods.BUCKETS_MAX:,} buckets"),
    (HTTP_API, f"At most {collect.BODY_BYTES_MAX // MIB} MiB"),
    (OPERATING, f"| {collect.BODY_BYTES_MAX // MIB} MiB |"),
    (OPERATING, f"| {collect.BODY_TIMEOUT_S:.0f} s |"),
    (OPERATING, f"| {collect.BODIES_BYTES_MAX // MIB} MiB, then"),
    (OPERATING, f"more than {collect.CLOCK_STEP_BACK_MS_MAX // 1000} seconds before"),
]


@pytest.mark.parametrize(("document", "phrase"), LIMITS)
def test_limits_are_documented_as_they_are(document: str, phrase: str) -> None:
    """The limits in the text are those of the code."""
    assert phrase in read(document)


@pytest.mark.parametrize("limits", PLANS.values(), ids=lambda limits: limits.plan)
def test_plans_are_documented_as_they_are(limits: Any) -> None:
    """Each plan has a row with its limits."""
    (row,) = [row for row in table_rows(HTTP_API) if row.startswith(f"| `{limits.plan}`")]
    shown = [
        "no limit" if number is None else f"{number:,}"
        for number in (limits.events_per_month, limits.requests_per_minute, limits.batch_max)
    ]
    assert [cell.strip() for cell in row.split("|")[2:5]] == shown


def _commands() -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    waiting: list[tuple[str, click.Command]] = [("saytics", cli)]
    while waiting:
        name, command = waiting.pop()
        if isinstance(command, click.Group):
            waiting += [(f"{name} {word}", inner) for word, inner in command.commands.items()]
        else:
            found.append((name, command))
    return sorted(found, key=lambda pair: pair[0])


@pytest.mark.parametrize(("name", "command"), _commands(), ids=_ids)
def test_every_command_and_option_is_documented(name: str, command: click.Command) -> None:
    """Each command of `saytics`, its arguments and its options stand in the operators' guide."""
    text = read(OPERATING)
    arguments = [
        parameter.human_readable_name
        for parameter in command.params
        if isinstance(parameter, click.Argument)
    ]
    options = [
        option
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--")
    ]
    assert f"| `{' '.join([name, *arguments])}` |" in text
    assert [option for option in options if f"`{option}`" not in text] == []


def test_the_table_of_imports_is_the_one_that_is_held() -> None:
    """The documented table of imports says what tests/architecture allows."""
    test = runpy.run_path(str(ROOT / "tests/architecture/test_imports.py"))
    held = {part: known for part, known in test["ALLOWED"].items() if part not in test["GROUND"]}
    documented = {
        part: set(re.findall(r"`([\w.]+)`", row.split("|")[2]))
        for row in read("docs/architecture.md").split("| part | may import")[1].splitlines()[2:]
        if row.startswith("| ")
        for part in re.findall(r"`([\w.]+)`", row.split("|")[1])
    }
    assert documented == held


def test_every_file_of_the_data_directory_is_documented(server: Serving) -> None:
    """Whatever a running server keeps in its data directory stands in the guide for operators."""
    assert server.track({"event": "Filled", "userId": "documents"}).status_code == 200
    rows = " ".join(row.split("|")[1] for row in table_rows(OPERATING))
    undocumented = [
        path.name
        for path in sorted(Path(server.data_dir).iterdir())
        if not re.search(rf"`{re.escape(path.name)}/?`", rows)
    ]
    assert undocumented == []


def test_every_proof_that_is_named_is_there() -> None:
    """The files of tests that stand beside the guarantees exist."""
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", read("docs/guarantees.md")))
    assert len(named) > 10
    assert sorted(name for name in named if not (ROOT / name).exists()) == []
