"""What the values people choose may be: names, e-mails, passwords, time zones, limits.

Each `…_problem` function is pure and returns what is wrong, worded to follow the value's name
("must be …"), or None. The caller decides whether that refuses a request or fails a start.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from zoneinfo import ZoneInfo

from saytics_server.accounts.model import BATCH_MAX_EVENTS, PLANS, Limits

# Long enough that guessing at the throttled rate is hopeless; no rules about kinds of characters,
# which make passwords worse.
PASSWORD_MIN_CHARACTERS = 10
# Argon2 reads the whole password; beyond this only an attacker's would go.
PASSWORD_MAX_CHARACTERS = 1_000
# The longest address a mail server must accept (RFC 5321, 4.5.3.1.3, less the brackets).
EMAIL_MAX_CHARACTERS = 254
# They are shown on one line of a page.
NAME_MAX_CHARACTERS = 100
SLUG_MAX_CHARACTERS = 48
# Kept in memory and looked at for every event, and edited by hand on one page.
SECRET_ONLY_EVENTS_MAX = 1_000
# The contract's longest event name.
EVENT_NAME_MAX_CHARACTERS = 200

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_EMAIL = re.compile(r"[^\s@]+@[^\s@]+")
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_NOT_SLUG = re.compile(r"[^a-z0-9]+")
# Machines carry these beside the IANA names, and other machines and the column store do not.
_LOCAL_ZONES = ("posix/", "right/", "localtime", "posixrules", "Factory")


def compared_email(email: str) -> str:
    """Return the form in which e-mails are stored and compared."""
    return unicodedata.normalize("NFC", email.strip()).lower()


def email_problem(email: str) -> str | None:
    """Tell what is wrong with an e-mail address. Only sending a mail could tell more."""
    if len(email) > EMAIL_MAX_CHARACTERS:
        return f"must be at most {EMAIL_MAX_CHARACTERS} characters long"
    if not _EMAIL.fullmatch(email) or not email.isprintable():
        return "must be an e-mail address such as ann@example.com"
    return None


def password_problem(password: str) -> str | None:
    """Tell what is wrong with a new password."""
    if len(password) < PASSWORD_MIN_CHARACTERS:
        return f"must be at least {PASSWORD_MIN_CHARACTERS} characters long"
    if len(password) > PASSWORD_MAX_CHARACTERS:
        return f"must be at most {PASSWORD_MAX_CHARACTERS} characters long"
    return None


def name_problem(name: str) -> str | None:
    """Tell what is wrong with the name of a workspace or key."""
    if not name.strip() or len(name) > NAME_MAX_CHARACTERS or not name.isprintable():
        return f"must be 1 to {NAME_MAX_CHARACTERS} printable characters long"
    return None


def slug_problem(slug: str) -> str | None:
    """Tell what is wrong with a slug, the name of a workspace in addresses."""
    if len(slug) > SLUG_MAX_CHARACTERS or not _SLUG.fullmatch(slug):
        return (
            f"must be 1 to {SLUG_MAX_CHARACTERS} lower-case letters, digits and single hyphens "
            "between them"
        )
    return None


def slug_from_name(name: str, taken: Collection[str]) -> str:
    """Return a free slug that reads like `name`: "Café Zürich" becomes "cafe-zurich"."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = _NOT_SLUG.sub("-", ascii_name.lower())
    # Eight characters stay free for the number.
    stem = words.strip("-")[: SLUG_MAX_CHARACTERS - 8].strip("-") or "workspace"
    slug, number = stem, 1
    while slug in taken:
        number += 1
        slug = f"{stem}-{number}"
    return slug


def timezone_problem(timezone: str) -> str | None:
    """Tell what is wrong with a time zone's name."""
    try:
        ZoneInfo(timezone)
    # A name with no file, one that leaves the folder, and a folder's name fail in three ways.
    except (KeyError, ValueError, OSError):
        known = False
    else:
        known = not timezone.startswith(_LOCAL_ZONES)
    return None if known else "must be an IANA time zone such as Europe/Berlin or UTC"


def parse_week_start(text: str) -> int | None:
    """Return the weekday that an English name or a digit means, 0 = Monday; None if neither."""
    word = text.strip().lower()
    if word in WEEKDAYS:
        return WEEKDAYS.index(word)
    if len(word) == 1 and word in "0123456":
        return int(word)
    return None


def week_start_problem(week_start: int) -> str | None:
    """Tell what is wrong with the number of a weekday."""
    return None if 0 <= week_start <= 6 else "must be a weekday from 0 (Monday) to 6 (Sunday)"


def limits_problem(limits: Limits) -> str | None:
    """Tell what is wrong with a workspace's limits."""
    if limits.plan not in PLANS:
        return f"must name a plan: {', '.join(PLANS)}"
    if not 1 <= limits.batch_max <= BATCH_MAX_EVENTS:
        return f"must allow batches of 1 to {BATCH_MAX_EVENTS:,} events"
    for count in (
        limits.events_per_month,
        limits.requests_per_minute,
        limits.members_max,
        limits.retention_days,
    ):
        if count is not None and count < 1:
            return "must be at least 1 each, or unlimited"
    return None


def secret_only_events_problem(names: Collection[str]) -> str | None:
    """Tell what is wrong with the names of the events that only secret keys may send."""
    if len(names) > SECRET_ONLY_EVENTS_MAX:
        return f"must be at most {SECRET_ONLY_EVENTS_MAX:,} names"
    if not all(1 <= len(name) <= EVENT_NAME_MAX_CHARACTERS for name in names):
        return f"must be names of 1 to {EVENT_NAME_MAX_CHARACTERS} characters"
    return None
