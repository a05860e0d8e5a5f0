"""What the pages do, from form to effect: invitations, keys, settings, links, cohorts, events."""

from __future__ import annotations

import html
import re
from typing import Any

import httpx
import pytest
from somebody import PASSWORD, Somebody, Team

from factories import unique
from serving import Serving


@pytest.fixture(scope="module")
def team(operated: Serving) -> Team:
    return Team(operated)


@pytest.fixture(scope="module")
def admin(team: Team) -> Somebody:
    return team.member("admin")


def shown(answer: httpx.Response, name: str) -> str:
    """Return the text of the element of an id."""
    found = re.search(rf'id="{name}"[^>]*>([^<]*)<', answer.text)
    assert found, answer.text
    return html.unescape(found[1])


def send(somebody: Somebody, team: Team, path: str, **fields: str) -> httpx.Response:
    return somebody.post(path, somebody.known_token, workspace=team.slug, **fields)


def invited(admin: Somebody, team: Team, role: str) -> str:
    """Return the path of a new invitation's link."""
    answer = send(admin, team, "/settings/team/invite", role=role, invited="Bob")
    assert answer.status_code == 200
    link = shown(answer, "invitation-link")
    assert link.startswith(team.serving.address)
    return link.removeprefix(team.serving.address)


@pytest.mark.parametrize("way", ["new", "existing", "logged in"])
def test_an_invitation_is_accepted(team: Team, admin: Somebody, way: str):
    """With a new account, with one's own, and as who is logged in: a member, once."""
    path, email, bob = (
        invited(admin, team, "viewer"),
        f"{unique('bob')}@x.example",
        Somebody(team.serving),
    )
    token = path.split("token=")[1]
    if way != "new":
        team.serving.operate(f"accounts.create_account({email!r}, {PASSWORD!r})")
    if way == "logged in":
        login = bob.send("/login", "/login", email=email, password=PASSWORD)
        assert login.status_code == 303
    assert f"Join <bdi>{team.name}</bdi>" in bob.http.get(path).text
    answer = bob.send("/invitation", path, token=token, email=email, password=PASSWORD, account=way)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/?workspace={team.slug}")
    assert bob.get("/events", workspace=team.slug).status_code == 200
    assert bob.get("/settings/audit", workspace=team.slug).status_code == 403
    again = Somebody(team.serving).http.get(path)
    assert again.status_code == 404
    assert "was used, cancelled or has expired" in again.text


def test_a_wrong_password_uses_up_no_invitation(team: Team, admin: Somebody):
    """The form comes again with the e-mail and a reason; without its token nothing happens."""
    path = invited(admin, team, "viewer")
    token, bob = path.split("token=")[1], Somebody(team.serving)
    fields = {"token": token, "email": team.emails["viewer"], "password": "not this one"}
    answer = bob.send("/invitation", path, account="existing", **fields)
    assert answer.status_code == 401
    assert team.emails["viewer"] in answer.text
    assert "not this one" not in answer.text
    assert bob.post("/invitation", "guessed", account="existing", **fields).status_code == 403
    assert bob.http.get(path).status_code == 200


def test_a_new_key_is_shown_once_and_revoked_at_once(team: Team, admin: Somebody):
    """It sends as soon as it is shown; revoked, it is refused; the audit log tells both."""
    name = unique("<b>key")
    answer = send(admin, team, "/settings/keys/create", name=name, key_class="secret", scope="all")
    key = shown(answer, "new-key")
    assert team.serving.get("/v1/events", key).status_code == 200
    page = admin.get("/settings/keys", workspace=team.slug).text
    assert key not in page
    assert f"{key[:12]}…" in page
    key_id = team.operate(f"next(k.id for k in accounts.keys({{id}}) if k.name == {name!r})")
    assert send(admin, team, "/settings/keys/revoke", id=str(key_id)).status_code == 303
    assert team.serving.get("/v1/events", key).status_code == 401
    log = admin.get("/settings/audit", workspace=team.slug).text
    assert log.count(f"{html.escape(name)}” ({key[:12]}…)") == 2
    assert key not in log


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("new_name", "", "1 to 100 printable characters"),
        ("new_slug", "Not A Slug", "lower-case letters"),
        ("new_timezone", "Mars/Base", "IANA time zone"),
        ("new_week_start", "9", "a weekday"),
    ],
)
def test_a_wrong_setting_changes_nothing(team, admin, field, value, reason):
    """The page comes again with what was typed and why it is refused."""
    right = {"new_name": team.name, "new_slug": team.slug, "new_timezone": "UTC",
             "new_week_start": "0"}  # fmt: skip
    answer = send(admin, team, "/settings/workspace", **{**right, field: value})
    assert answer.status_code == 400
    assert reason in answer.text
    assert team.operate("(w := accounts.workspace({id})).slug + w.timezone") == team.slug + "UTC"


def test_the_workspace_moves_with_its_settings(operated: Serving):
    """A new slug is its address from the next request on, the old one nobody's."""
    team = Team(operated)
    admin, slug = team.member("admin"), unique("moved")
    answer = send(
        admin, team, "/settings/workspace",
        new_name="Store", new_slug=slug, new_timezone="Asia/Kathmandu", new_week_start="6",
    )  # fmt: skip
    assert answer.headers["location"] == f"/settings?workspace={slug}&done=saved"
    assert admin.get("/settings", workspace=team.slug).status_code == 404
    page = admin.get("/settings", workspace=slug).text
    assert 'value="Asia/Kathmandu"' in page
    assert '<option value="6" selected>' in page


def test_an_editor_undoes_a_link(team: Team):
    """Two persons again, written down; what was never linked is not found."""
    user, device = unique("user"), unique("device")
    team.serving.batch([{"event": "Seen", "anonymousId": device}], team.secret)
    body = {"userId": user, "anonymousId": device}
    team.serving.post("/v1/users/identify", body, team.secret)
    team.serving.wait_visible()
    editor = team.member("editor")
    assert "Seen" in editor.get("/persons/one", workspace=team.slug, user=user).text
    answer = send(editor, team, "/persons/undo", user=user, anonymous=device)
    assert answer.status_code == 303
    page = editor.get("/persons/one", workspace=team.slug, user=user).text
    assert "undone " in page
    assert "Seen" not in page
    links = team.serving.get("/v1/links", team.secret, userId=user).json()["data"]
    assert [link["undone"] for link in links] == [True]
    (entry,) = team.operate(
        "[(e.actor, e.about) for e in accounts.audit.entries({id}, limit=50)"
        " if e.act == 'link.undone']"
    )
    assert entry == [team.emails["editor"], f"{device} is not {user}"]
    assert send(editor, team, "/persons/undo", user=user, anonymous="never").status_code == 404


def test_a_cohort_of_the_form_is_one_of_the_api(team: Team):
    """The saved definition is the API's document; a refused one shows the form, saving nothing."""
    editor, name = team.member("editor"), unique("Cohort")
    form = {
        "name": name, "d.kind": "all", "d.0.kind": "did", "d.0.event": "Seen",
        "d.0.at_least": "2", "d.0.window": "last", "d.0.days": "30", "d.0.where": "plan=pro",
        "d.1.kind": "trait", "d.1.trait": "plan", "d.1.operator": "=", "d.1.value": "pro",
        "d.1.not": "1",
    }  # fmt: skip
    refused = send(editor, team, "/cohorts/save", **{**form, "d.0.days": "0"})
    assert refused.status_code == 400
    assert "`last_days` is from 1" in refused.text
    answer = send(editor, team, "/cohorts/save", **form)
    cohort_id = answer.headers["location"].split("?")[0].rsplit("/", 1)[1]
    saved = team.serving.get(f"/v1/cohorts/{cohort_id}", team.secret).json()["cohort"]
    assert (saved["name"], saved["definition"]) == (
        name,
        {
            "and": [
                {"did": {"event": "Seen", "at_least": 2, "last_days": 30, "filter": ["plan=pro"]}},
                {"not": {"traits": [{"property": "user.plan", "operator": "=", "value": "pro"}]}},
            ]
        },
    )
    page = editor.get(f"/cohorts/{cohort_id}", workspace=team.slug).text
    words = "did Seen where plan=pro at least 2 times in the last 30 days and not: plan is pro"
    assert words in page
    assert send(editor, team, "/cohorts/delete", id=cohort_id).status_code == 303
    assert team.serving.get(f"/v1/cohorts/{cohort_id}", team.secret).status_code == 404


def test_the_history_goes_on_page_by_page(operated: Serving):
    """Every event once over all pages, whatever arrives meanwhile; filters narrow it."""
    team = Team(operated)
    viewer = team.member("viewer")
    events = [
        {
            "event": f"Event {n:03}",
            "userId": "u",
            "timestamp": f"2026-01-01T00:{n // 60:02}:{n % 60:02}Z",
        }
        for n in range(120)
    ]
    operated.batch(events, team.secret)
    operated.wait_visible()
    found: list[Any] = []
    address = f"/events?workspace={team.slug}"
    while address:
        page = viewer.http.get(address).text
        found += re.findall(r'arrival-event"><bdi>([^<]*)<', page)
        older = re.search(r'id="older"><a class="button" href="([^"]*)"', page)
        address = html.unescape(older[1]) if older else ""
        operated.track({"event": "Meanwhile", "userId": "u"}, team.secret)
    assert found == [f"Event {n:03}" for n in reversed(range(120))]
    query = {"workspace": team.slug, "from": "2026-01-01T00:01", "to": "2026-01-01T00:01"}
    page = viewer.get("/events", **query, event="Event 061").text
    assert re.findall(r'arrival-event"><bdi>([^<]*)<', page) == ["Event 061"]
    assert viewer.get("/events", **{**query, "from": "x"}).status_code == 400
