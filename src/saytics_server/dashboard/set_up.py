"""The set-up panel: the keys, and snippets that work as pasted.

In: a workspace and this server's public address. Out: finished code. A snippet for servers has a
place for the secret key, which is filled in only in the one answer that shows a new key.
"""

from __future__ import annotations

import msgspec

from saytics_server.accounts import Key

SECRET_KEY_PLACE = "YOUR_SECRET_KEY"  # noqa: S105 - the word people replace
_FOR_SERVERS = "A secret key can read everything: keep it on your server."
_FILLED_IN = f"Create a secret key here and {SECRET_KEY_PLACE} is filled in."
_FOR_BROWSERS = "The write key is public: it can send events and read nothing."
# Remembered by `dashboard.js`; the server reads it, so that the right tab is there at once.
LANGUAGE_COOKIE = "saytics_language"
KEY_NAME_CHARACTERS_MAX = 80


class Step(msgspec.Struct, frozen=True):
    """One thing to copy, and where it goes."""

    name: str
    caption: str
    code: str


class Snippet(msgspec.Struct, frozen=True):
    """How one language sends its first event."""

    language: str
    label: str
    steps: list[Step]
    note: str
    selected: bool


class Place(msgspec.Struct, frozen=True):
    """This server, as those who send events to it see it."""

    host: str
    node_package_path: str
    python_package_path: str


class NewKey(msgspec.Struct, frozen=True):
    """A secret key at the only moment it can be shown."""

    name: str
    full: str


class SetUpPanel(msgspec.Struct, frozen=True):
    """Everything needed to send the first event. `waiting` until there is one."""

    workspace_slug: str
    csrf_token: str
    write_key: str
    secret_keys: list[str]
    new_key: NewKey | None
    may_create_keys: bool
    snippets: list[Snippet]
    waiting: bool
    wait_address: str


def snippets(place: Place, write_key: str, secret_key: str, selected: str) -> list[Snippet]:
    """Return the snippets of all languages, the `selected` one marked (curl by default)."""
    for_servers = _FOR_SERVERS
    if secret_key == SECRET_KEY_PLACE:
        for_servers = f"{_FILLED_IN} {_FOR_SERVERS}"
    made = [
        ("curl", "curl", [_curl(place, secret_key)], for_servers),
        ("node", "Node.js", _node(place, secret_key), for_servers),
        ("python", "Python", _python(place, secret_key), for_servers),
        ("browser", "Browser", [_browser(place, write_key)], _FOR_BROWSERS),
    ]
    chosen = selected if selected in [language for language, *_ in made] else "curl"
    return [
        Snippet(language, label, steps, note, selected=language == chosen)
        for language, label, steps, note in made
    ]


def _curl(place: Place, key: str) -> Step:
    code = f"""\
curl -X POST {place.host}/v1/events \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d '{{
    "userId": "user_456",
    "event": "Subscription Upgraded",
    "properties": {{ "plan": "pro", "mrr": 49.99 }}
  }}'"""
    return Step("curl-send", "In a terminal", code)


def _node(place: Place, key: str) -> list[Step]:
    code = f"""\
const Saytics = require('@saytics/node');
const saytics = new Saytics('{key}', {{
  host: '{place.host}'
}});

async function main() {{
  await saytics.track({{
    userId: 'user_456',
    event: 'Subscription Upgraded',
    properties: {{ plan: 'pro', mrr: 49.99 }}
  }});
  await saytics.flush();
}}

main();"""
    return [
        Step(
            "node-install",
            "Install, from this server",
            f"npm install {place.host}{place.node_package_path}",
        ),
        Step("node-send", "Send", code),
    ]


def _python(place: Place, key: str) -> list[Step]:
    code = f"""\
from saytics import Saytics

saytics = Saytics("{key}", host="{place.host}")
saytics.track(
    user_id="user_456",
    event="Subscription Upgraded",
    properties={{"plan": "pro", "mrr": 49.99}},
)
saytics.flush()"""
    return [
        Step(
            "python-install",
            "Install, from this server",
            f"pip install {place.host}{place.python_package_path}",
        ),
        Step("python-send", "Send", code),
    ]


def _browser(place: Place, key: str) -> Step:
    code = f"""\
<script>
  window.Saytics = {{ calls: [] }};
  for (const name of ['init', 'track', 'identify', 'page', 'reset', 'flush', 'optOut', 'optIn']) {{
    Saytics[name] = (...values) => {{ Saytics.calls.push([name, values, Date.now()]); }};
  }}
  Saytics.init('{key}');
</script>
<script async src="{place.host}/saytics.js"></script>"""
    return Step("browser-send", "In the page's head, after its title", code)


def key_names(keys: list[Key]) -> tuple[str, list[str]]:
    """Return the valid write key in full, and a line for each valid secret key."""
    valid = [key for key in keys if key.revoked_at_ms is None]
    write_key = next((key.full for key in valid if key.key_class == "write" and key.full), "")
    secret = [f"{key.name} ({key.prefix}…)" for key in valid if key.key_class == "secret"]
    return write_key, secret
