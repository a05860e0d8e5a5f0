import pytest

from saytics_server.accounts import throttle
from saytics_server.accounts.throttle import LoginThrottle
from saytics_server.clock import ManualClock

EMAIL = "zoë@example.com"


@pytest.fixture
def login(clock: ManualClock) -> LoginThrottle:
    return LoginThrottle(clock)


def fail(login: LoginThrottle, clock: ManualClock, email: str, address: str) -> float:
    """Fail once, waiting as long as told; return the wait in seconds."""
    wait_s = login.admit(email, address)
    if wait_s:
        clock.advance(int(wait_s * 1_000))
        assert login.admit(email, address) == 0
    return wait_s


def test_an_email_waits_longer_with_each_failure_up_to_half_a_minute(login, clock):
    """From other addresses each time: five free tries, then 1, 2, 4 … 30 s."""
    waits = [fail(login, clock, EMAIL, f"192.0.2.{number}") for number in range(13)]
    assert waits == [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 30, 30, 30]


def test_an_address_waits_up_to_a_quarter_of_an_hour(login, clock):
    """At another e-mail each time: ten free tries, then 1, 2, 4 … 900 s."""
    waits = [fail(login, clock, f"{number}@example.com", "192.0.2.1") for number in range(22)]
    assert waits == [0] * 10 + [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]


def test_asking_again_while_waiting_lengthens_nothing(login, clock):
    """A refused attempt is not a failure."""
    for number in range(6):
        fail(login, clock, EMAIL, f"192.0.2.{number}")
    assert {login.admit(EMAIL, "192.0.2.99") for _ in range(1_000)} == {2.0}


def test_a_guesser_cannot_lock_out_a_known_address(login, clock):
    """Where one has logged in before, one still can while strangers guess at the e-mail."""
    assert login.admit(EMAIL, "198.51.100.7") == 0
    login.succeeded(EMAIL, "198.51.100.7")
    for number in range(50):
        fail(login, clock, EMAIL, f"192.0.2.{number}")
    assert login.admit(EMAIL, "192.0.2.200") > 0
    assert login.admit(EMAIL, "198.51.100.7") == 0


def test_one_address_cannot_keep_an_email_waiting(login, clock):
    """Against a lone guesser who never tires, a new address is let in nearly all the time."""
    for _ in range(30):
        fail(login, clock, EMAIL, "192.0.2.1")
    open_s = 0
    for _ in range(3_600):
        clock.advance(1_000)
        login.admit(EMAIL, "192.0.2.1")
        if _admits(login, "198.51.100.7"):
            open_s += 1
    assert open_s > 3_400


def _admits(login: LoginThrottle, address: str) -> bool:
    admitted = login.admit(EMAIL, address) == 0
    if admitted:
        login.withdrawn(EMAIL, address)
    return admitted


def test_success_forgives_the_email_but_not_the_address(login, clock):
    """An account of one's own buys no further guesses at others'."""
    for number in range(10):
        fail(login, clock, f"{number}@example.com", "192.0.2.1")
    clock.advance(1_000)
    assert login.admit(EMAIL, "192.0.2.1") == 0
    login.succeeded(EMAIL, "192.0.2.1")
    fail(login, clock, "victim@example.com", "192.0.2.1")
    assert login.admit("victim@example.com", "192.0.2.1") > 0


def test_failures_are_forgotten_after_an_hour(login, clock):
    """A morning's mistakes do not count in the afternoon."""
    for number in range(20):
        fail(login, clock, EMAIL, f"192.0.2.{number}")
    clock.advance(int(throttle.FORGET_AFTER_S * 1_000))
    assert [fail(login, clock, EMAIL, "192.0.2.1") for _ in range(6)] == [0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("unix", "unix", True),
    ],
)
def test_an_ipv6_client_is_its_network(login, clock, one, other, is_same):
    """A client has 2^64 IPv6 addresses to choose from; they count as one."""
    for number in range(10):
        fail(login, clock, f"{number}@example.com", one)
    assert (login.admit("other@example.com", other) > 0) is is_same


def test_memory_is_bounded(login, clock, monkeypatch):
    """A flood of names keeps the newest entries and no more."""
    monkeypatch.setattr(throttle, "ENTRIES_MAX", 10)
    for number in range(100):
        assert login.admit(f"{number}@example.com", f"192.0.2.{number}") == 0
        login.succeeded(f"{number}@example.com", f"192.0.2.{number}")
        assert login.admit(f"{number}@example.com", f"192.0.2.{number}") == 0
    assert [len(ledger._failures) for ledger in (login._emails, login._addresses)] == [10, 10]
    assert len(login._known) == 10
