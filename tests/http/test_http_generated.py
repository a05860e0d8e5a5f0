"""A few thousand generated bodies over real HTTP: never a 500, never a lost neighbour."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from factories import unique
from saytics_server.errors import ERRORS
from serving import Serving

BODIES = 2_000
SENDERS = 8

_TEXTS = [
    '""', '"u"', '"null"', '"0"', '"\\u0000"', '"\\ud800"', '"\\udfff\\ud800"', '"\\ud83d\\ude80"',
    '"🚀"', '"' + "x" * 300 + '"', '"2024-01-15T10:30:00Z"', '"2024-01-15"', '"9999-12-31"',
    '"a.b"', '"[object Object]"', '"}]"', '"\\"},{\\""', '"__proto__"', '"\\u2028"',
    '"' + "ü" * 129 + '"', '"--\'; DROP TABLE events"',
]  # fmt: skip
_NUMBERS = [
    "0", "-0", "1.0", "1e5", "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "9" * 400,
    "18446744073709551616", "-9223372036854775809", "0.1e-999", "1" + "0" * 308, "123456789.123",
]  # fmt: skip
_BROKEN = [
    "tru", "'a'", "{]", "01", "1.", "\\", '"open', "{,}", "[1,]", "undefined", "\x00", "/*c*/1",
]  # fmt: skip
_FIELDS = [
    "event", "userId", "anonymousId", "properties", "context", "timestamp", "messageId", "sentAt",
    "type", "traits", "unknown", "user_id", "", "EVENT",
]  # fmt: skip


def json_value(chance: random.Random, depth: int = 0) -> str:
    """Return the text of some value; now and then one that JSON forbids."""
    kind = chance.random()
    if kind < 0.3 or depth > 3:
        return chance.choice(_TEXTS)
    if kind < 0.55:
        return chance.choice(_NUMBERS)
    if kind < 0.65:
        return chance.choice(["true", "false", "null"])
    if kind < 0.67:
        nested = chance.choice([50, 900, 957, 990, 1_010, 5_000])
        opening, closing = chance.choice([("[", "]"), ('{"a":', "}")])
        return opening * nested + "1" + closing * nested
    inner = [json_value(chance, depth + 1) for _ in range(chance.choice([0, 1, 2, 3]))]
    if kind < 0.83:
        return "[" + ",".join(inner * chance.choice([1, 1, 30 if depth == 0 else 1])) + "]"
    return "{" + ",".join(f"{chance.choice(_TEXTS)}:{value}" for value in inner) + "}"


def json_item(chance: random.Random) -> str:
    """Return the text of something like an event, its fields often wrong and sometimes twice."""
    if chance.random() < 0.1:
        return json_value(chance)
    fields = ['"event":"Generated"', '"userId":"u"'] if chance.random() < 0.7 else []
    for _ in range(chance.randint(0, 4)):
        fields.append(f'"{chance.choice(_FIELDS)}":{json_value(chance)}')
    chance.shuffle(fields)
    return "{" + ",".join(fields) + "}"


def as_bytes(text: str) -> bytes:
    """Return text as UTF-8, whatever it holds."""
    return text.encode("utf-8", "surrogatepass")


class Bodies:
    """Makes requests: content, headers, path, and how many good neighbours they carry."""

    def __init__(self, seed: int) -> None:
        self.name = unique("Neighbour")
        self.neighbours: list[str] = []
        self._chance = random.Random(seed)
        self._numbers = itertools.count()

    def _good(self) -> str:
        id_ = f"{self.name}-{next(self._numbers)}"
        self.neighbours.append(id_)
        return json.dumps({"event": self.name, "userId": "u", "messageId": id_})

    def batch(self) -> tuple[str, bytes, int]:
        """Return a batch in which a generated item stands between good ones."""
        chance = self._chance
        items = [
            self._good(),
            *(json_item(chance) for _ in range(chance.randint(1, 3))),
            self._good(),
        ]
        return "/v1/events/batch", as_bytes('{"events":[' + ",".join(items) + "]}"), 2

    def single(self) -> tuple[str, bytes, int]:
        """Return a generated event or identify call."""
        path = self._chance.choice(["/v1/events", "/v1/users/identify"])
        return path, as_bytes(json_item(self._chance)), 0

    def broken(self) -> tuple[str, bytes, int]:
        """Return a body that is no JSON, or JSON cut or bent somewhere."""
        chance = self._chance
        path = chance.choice(["/v1/events", "/v1/events/batch", "/v1/users/identify"])
        text = '{"events":[' + json_item(chance) + "," + chance.choice(_BROKEN) + "]}"
        content = bytearray(as_bytes(text))
        for _ in range(chance.randint(0, 3)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        return path, bytes(content[: chance.randint(0, len(content))]), 0

    def make(self, count: int) -> list[tuple[str, bytes, int]]:
        """Return so many requests of all kinds."""
        kinds: list[Callable[[], tuple[str, bytes, int]]] = [self.batch, self.single, self.broken]
        return [self._chance.choice(kinds)() for _ in range(count)]


def send(serving: Serving, requests: list[tuple[str, bytes, int]]) -> Counter[str]:
    """Send requests over one connection; check each answer; return the codes seen."""
    seen: Counter[str] = Counter()
    headers = {"Authorization": f"Bearer {serving.secret_key}"}
    with httpx.Client(base_url=serving.address, timeout=30, headers=headers) as client:
        for number, (path, body, neighbours) in enumerate(requests):
            packed = number % 10 == 0
            answer = client.post(
                path,
                content=gzip.compress(body) if packed else body,
                headers={"Content-Encoding": "gzip"} if packed else {},
            )
            said = answer.json()
            assert answer.status_code in (200, 400), (answer.status_code, body[:2_000])
            if neighbours:
                assert answer.status_code == 200, (said, body[:2_000])
                assert said["received"] >= neighbours, (said, body[:2_000])
            codes = [rejection["code"] for rejection in said.get("rejected", ())]
            if answer.status_code == 400:
                codes.append(said["error"]["code"])
                assert said["error"]["message"]
            assert set(codes) <= set(ERRORS) - {"internal_error"}
            seen.update(codes)
    return seen


def run(serving: Serving, seed: int, count: int) -> Counter[str]:
    """Send generated bodies from several senders; check that every neighbour is stored once."""
    bodies = Bodies(seed)
    requests = bodies.make(count)
    with ThreadPoolExecutor(SENDERS) as senders:
        parts = [requests[start::SENDERS] for start in range(SENDERS)]
        seen = sum(senders.map(lambda part: send(serving, part), parts), Counter())
    serving.wait_visible(limit_s=30)
    stored = Counter(event["messageId"] for event in serving.events(event=bodies.name))
    assert stored == Counter(bodies.neighbours)
    assert serving.client.get("/readyz").status_code == 200
    return seen


def test_generated_bodies_are_answered_and_lose_no_neighbour(server: Serving):
    """Wrong types, deep nesting, huge numbers, NaN, surrogates, NUL, double keys, broken JSON."""
    seen = run(server, seed=1, count=BODIES)
    for code in ("invalid_json", "invalid_event", "invalid_number", "invalid_text", "missing_id",
                 "invalid_id", "invalid_timestamp", "invalid_type"):  # fmt: skip
        assert seen[code], f"nothing generated was refused with {code}"
    assert "Traceback" not in server.errors
    assert "not loaded" not in server.errors


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(2, 8))
def test_many_more_generated_bodies(server: Serving, seed: int):
    """The same with other seeds."""
    run(server, seed, count=5_000)


def test_a_large_batch_of_the_worst_items_is_answered_soon(server: Serving):
    """A thousand items, each bad in its own way, and the good ones between them."""
    bodies = Bodies(9)
    chance = random.Random(9)
    items = [bodies._good() if n % 10 == 0 else json_item(chance) for n in range(1_000)]
    answer = server.post("/v1/events/batch", as_bytes('{"events":[' + ",".join(items) + "]}"))
    said = answer.json()
    assert answer.status_code == 200
    assert said["received"] + len(said["rejected"]) == 1_000
    assert said["received"] >= 100
    indexes = [rejection["index"] for rejection in said["rejected"]]
    assert indexes == sorted(set(indexes))
    assert not any(index % 10 == 0 for index in indexes)
