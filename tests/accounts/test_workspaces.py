import msgspec
import pytest

from saytics_server.accounts import PLANS, Accounts, Workspace
from saytics_server.clock import ManualClock
from saytics_server.errors import Refused


def test_plans_are_those_of_the_contract():
    """The presets equal the contract's table; 12 months are 365 days."""
    assert {
        name: (
            limits.events_per_month,
            limits.members_max,
            limits.retention_days,
            limits.requests_per_minute,
            limits.batch_max,
        )
        for name, limits in PLANS.items()
    } == {
        "free": (10_000, 1, 30, 100, 100),
        "starter": (100_000, 5, 365, 500, 500),
        "pro": (1_000_000, None, 365, 2_000, 1_000),
        "enterprise": (None, None, None, None, 1_000),
    }
    assert {limits.enforce_quota for limits in PLANS.values()} == {False}


def test_a_new_workspace_has_no_limits(accounts, clock):
    """A workspace starts as enterprise, and is found by id and slug, after a restart too."""
    made = accounts.create_workspace("Café Zürich", timezone="Europe/Zurich", week_start=6)
    assert made == Workspace(
        id=made.id,
        name="Café Zürich",
        slug="cafe-zurich",
        timezone="Europe/Zurich",
        week_start=6,
        limits=PLANS["enterprise"],
        secret_only_events=frozenset(),
        demo=False,
        created_at_ms=clock.now_ms(),
    )
    assert accounts.workspace(made.id) == accounts.workspace_by_slug("cafe-zurich") == made
    assert accounts.workspace(99) is accounts.workspace_by_slug("other") is None


def test_slugs_are_made_unique(accounts):
    """Equal names get numbered slugs, and a name without Latin letters gets one too."""
    names = ["Shop", "Shop", "shop!", "店", "", "x" * 100]
    slugs = [accounts.create_workspace(name or "商店").slug for name in names]
    assert slugs == ["shop", "shop-2", "shop-3", "workspace", "workspace-2", "x" * 40]


def test_changes_hold_for_the_next_request_and_the_next_start(accounts, tmp_path):
    """Every setting can change, a key's next request sees it, and it is stored."""
    workspace = accounts.create_workspace("Shop")
    _, key_text = accounts.create_key(workspace.id, "secret", "Server")
    limits = msgspec.structs.replace(PLANS["free"], enforce_quota=True)
    changed = accounts.update_workspace(
        workspace.id,
        name="Läden",
        slug="laeden",
        timezone="Asia/Kathmandu",
        week_start=3,
        limits=limits,
        secret_only_events=["Order Completed", "Refund"],
    )
    assert changed == msgspec.structs.replace(
        workspace,
        name="Läden",
        slug="laeden",
        timezone="Asia/Kathmandu",
        week_start=3,
        limits=limits,
        secret_only_events=frozenset({"Order Completed", "Refund"}),
    )
    assert accounts.authenticate(key_text)[1] == changed
    reopened = Accounts.open(tmp_path, ManualClock())
    assert reopened.workspaces() == [changed]
    reopened.close()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", " "),
        ("name", "a\nb"),
        ("name", "x" * 101),
        ("slug", "Shop"),
        ("slug", "taken"),
        ("slug", "-"),
        ("timezone", "Mars/Olympus"),
        ("timezone", "Europe"),
        ("timezone", "../../etc/passwd"),
        ("timezone", ""),
        ("timezone", "posix/UTC"),
        ("week_start", 7),
        ("limits", msgspec.structs.replace(PLANS["pro"], batch_max=1_001)),
        ("limits", msgspec.structs.replace(PLANS["pro"], plan="gold")),
        ("limits", msgspec.structs.replace(PLANS["pro"], retention_days=0)),
        ("secret_only_events", [""]),
        ("secret_only_events", [str(number) for number in range(1_001)]),
    ],
)
def test_wrong_settings_are_refused(accounts, field, value):
    """A wrong setting is refused by name and changes nothing."""
    accounts.create_workspace("Taken")
    workspace = accounts.create_workspace("Shop")
    with pytest.raises(Refused) as refused:
        accounts.update_workspace(workspace.id, **{field: value})
    assert (refused.value.kind.code, refused.value.rejection.field) == ("invalid_parameter", field)
    assert accounts.workspace(workspace.id) == workspace


def test_a_workspace_may_keep_its_own_slug(accounts):
    """Saving a form without changing the slug is no conflict."""
    workspace = accounts.create_workspace("Shop")
    assert accounts.update_workspace(workspace.id, slug="shop") == workspace
