"""Links over the real path: whom an anonymous event belongs to, whatever arrives when."""

from factories import unique


def at(second):
    """Return a time of one minute in the past, by its second."""
    return f"2024-03-05T10:00:{second:02d}Z"


def users_of(server, event):
    """Return how many persons did an event on its day."""
    day = {"from": "2024-03-05", "to": "2024-03-05"}
    return server.get("/v1/reports/events", event=event, metric="users", **day).json()["total"]


def test_a_late_link_takes_over_only_until_the_next(server):
    """Of u@1, u@3 and a late v@2, an event at 4 is u's: the order of arrival decides nothing."""
    event, device = unique("Clicked"), unique("device")
    one, other = unique("u"), unique("v")
    linking = {"type": "identify", "anonymousId": device}
    answer = server.batch(
        [
            {**linking, "userId": one, "timestamp": at(1)},
            {**linking, "userId": one, "timestamp": at(3)},
            {"event": event, "anonymousId": device, "timestamp": at(4)},
            {"event": event, "userId": one, "timestamp": at(5)},
        ]
    )
    assert answer.json() == {"status": "ok", "received": 4}
    server.wait_visible()
    assert users_of(server, event) == 1
    server.batch([{**linking, "userId": other, "timestamp": at(2)}])
    server.wait_visible()
    assert users_of(server, event) == 1


def test_the_public_key_merges_nothing_a_secret_key_sent(server):
    """A link by the write key moves no anonymous event of a secret key, nor anybody's users."""
    event, device, user = unique("Paid"), unique("device"), unique("u")
    server.batch([{"event": event, "anonymousId": device}, {"event": event, "userId": user}])
    server.post("/v1/users/identify", {"userId": user, "anonymousId": device}, server.write_key)
    server.wait_visible()
    assert server.get("/v1/reports/events", event=event, metric="users").json()["total"] == 2
