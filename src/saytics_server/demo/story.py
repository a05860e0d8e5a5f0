"""The sample company's story, as data: what it sells, to whom, and what people do there.

Fernway sells planning boards to small teams: visitors come from search, campaigns and friends, some
open an account, fewer finish the onboarding, fewer still pay. Every name, price, rate and rhythm of
the demo is in this file; the other modules of the package only play it. Nothing here is random.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

HOST = "https://fernway.example"
BROWSER_LIBRARY = {"name": "@saytics/browser", "version": "0.1.0"}
SERVER_LIBRARY = {"name": "@saytics/node", "version": "0.1.0"}


# --- where people are ------------------------------------------------------------------------


@dataclass(frozen=True)
class Country:
    """A market: the share of its people, and the clock and language they live by."""

    code: str
    zone: str
    locale: str
    currency: str
    share: float


# The same country may stand here twice, once per time zone.
COUNTRIES = (
    Country("US", "America/New_York", "en-US", "USD", 0.22),
    Country("US", "America/Los_Angeles", "en-US", "USD", 0.11),
    Country("DE", "Europe/Berlin", "de-DE", "EUR", 0.13),
    Country("GB", "Europe/London", "en-GB", "GBP", 0.11),
    Country("FR", "Europe/Paris", "fr-FR", "EUR", 0.08),
    Country("IN", "Asia/Kolkata", "en-IN", "USD", 0.08),
    Country("BR", "America/Sao_Paulo", "pt-BR", "USD", 0.06),
    Country("CA", "America/Toronto", "en-CA", "USD", 0.05),
    Country("JP", "Asia/Tokyo", "ja-JP", "USD", 0.05),
    Country("AU", "Australia/Sydney", "en-AU", "USD", 0.04),
    Country("ES", "Europe/Madrid", "es-ES", "EUR", 0.04),
    Country("PL", "Europe/Warsaw", "pl-PL", "EUR", 0.03),
)

# Visits per hour of the local day: an office tool, with a lunch dip and a small evening.
HOURS = (3, 2, 1, 1, 1, 2, 6, 18, 48, 82, 92, 86, 60, 72, 88, 86, 76, 56, 34, 26, 24, 20, 13, 6)
# Monday to Sunday, for people at work and for people looking around.
WORK_WEEK = (1.0, 1.04, 1.03, 0.98, 0.82, 0.2, 0.17)
VISIT_WEEK = (1.05, 1.1, 1.08, 1.0, 0.86, 0.52, 0.56)


# --- how they come ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Channel:
    """A way to the site; `sign_up_rate` is the share of its visitors who open an account."""

    name: str
    share: float
    sign_up_rate: float
    referrer: str = ""
    campaign: dict[str, str] = field(default_factory=dict)


CHANNELS = (
    Channel("direct", 0.27, 0.12),
    Channel("organic", 0.31, 0.10, "https://www.google.com/"),
    Channel(
        "search_ad",
        0.14,
        0.075,
        "https://www.google.com/",
        {"source": "google", "medium": "cpc", "name": "planning-boards"},
    ),
    Channel(
        "social_ad",
        0.10,
        0.045,
        "https://www.linkedin.com/",
        {"source": "linkedin", "medium": "paid-social", "name": "team-leads-q3"},
    ),
    Channel(
        "newsletter",
        0.07,
        0.15,
        "",
        {"source": "newsletter", "medium": "email", "name": "weekly-tips"},
    ),
    Channel("referral", 0.11, 0.14, "https://reviews.toolbench.example/planning"),
)

WEEKLY_GROWTH = 1.015
# Days before the present on which something happened, and by how much it multiplied visits.
VISIT_SPIKES = {33: 2.1, 32: 2.6, 31: 1.7, 30: 1.3}
# The payment provider had a bad day then: so many first attempts failed.
PAYMENT_OUTAGE_DAYS_AGO = 19
PAYMENT_OUTAGE_FAILURES = 0.6

SITE_PAGES = (
    ("/", "Fernway: plans that fit on one board", 30),
    ("/features", "Features", 18),
    ("/pricing", "Pricing", 20),
    ("/customers", "Customers", 8),
    ("/blog/plan-your-week", "Plan your week in 15 minutes", 14),
    ("/docs/getting-started", "Getting started", 10),
)
SIGN_UP_PAGE = ("/signup", "Create your account")
LOG_IN_PAGE = ("/login", "Log in")
APP_PAGES = (
    ("/app/board", "Board", 40),
    ("/app/calendar", "Calendar", 18),
    ("/app/inbox", "Inbox", 22),
    ("/app/reports", "Reports", 12),
    ("/app/settings/billing", "Billing", 3),
    ("/app/settings/team", "Team", 5),
)


@dataclass(frozen=True)
class Browser:
    """What a device says of itself."""

    device: str
    user_agent: str
    share: float


DESKTOPS = (
    Browser(
        "desktop",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/141.0 Safari/537.36",
        0.5,
    ),
    Browser(
        "desktop",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Safari/605.1.15",
        0.32,
    ),
    Browser(
        "desktop", "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0", 0.18
    ),
)
PHONES = (
    Browser(
        "phone",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 Mobile",
        0.52,
    ),
    Browser(
        "phone",
        "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/141.0 Mobile Safari/537.36",
        0.4,
    ),
    Browser("tablet", "Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X) AppleWebKit/605.1.15", 0.08),
)
# A visitor's own device: mostly a desk. A user's second one: mostly a phone.
FIRST_DEVICE_IS_PHONE = 0.28
SECOND_DEVICE_IS_PHONE = 0.85


# --- visitors --------------------------------------------------------------------------------

# Of all persons, this share had an account before the first day of the demo.
CUSTOMERS_BEFORE = 0.045
# Shares of persons who visit once, twice, …; the account is opened on the last visit.
VISIT_COUNTS = (0.66, 0.21, 0.09, 0.04)
DAYS_BETWEEN_VISITS_MAX = 4
PAGES_PER_VISIT_MEAN = 2.6
PAGES_PER_VISIT_MAX = 9

SIGN_UP_METHODS = {"google": 0.46, "email": 0.41, "microsoft": 0.13}
COMPANY_SIZES = {"1": 0.24, "2-10": 0.38, "11-50": 0.22, "51-200": 0.11, "201-1000": 0.05}


# --- accounts --------------------------------------------------------------------------------

# (name, share of sign-ups who get this far). The last step activates: "Onboarding Completed".
ONBOARDING = (
    ("Verify e-mail", 0.87),
    ("Create workspace", 0.72),
    ("Create first board", 0.57),
    ("Invite a teammate", 0.455),
)
# Each step takes a few minutes; for some people it has to wait for another day.
ONBOARDING_MINUTES_MEAN = 6.0
ONBOARDING_DELAYED = 0.12
ONBOARDING_DELAY_HOURS_MEAN = 26.0


@dataclass(frozen=True)
class Stay:
    """How long people without a subscription stay: shares, each with a mean in days."""

    shares: tuple[float, float, float]
    mean_days: tuple[float, float, float] = (1.6, 22.0, 700.0)


STAY_ACTIVATED = Stay((0.16, 0.30, 0.54))
STAY_NOT_ACTIVATED = Stay((0.64, 0.24, 0.12))
STAY_CUSTOMER_BEFORE = Stay((0.0, 0.06, 0.94))

# Chance that a person who stays works with Fernway on a full working day; skewed by `POWER_SPREAD`
# (the sigma of a log-normal): the busiest 1 % of people do about a tenth of everything.
HABIT = 0.34
HABIT_MAX = 0.93
POWER_SPREAD = 0.85
# Chance of a second and of a third session on a day.
MORE_SESSIONS = (0.38, 0.12)
LOGS_IN_AGAIN = 0.1

SECOND_DEVICE = 0.42
SECOND_DEVICE_DAYS_MEAN = 9.0
# Of the second devices, this share is somebody else's first one (a family's, a meeting room's).
SHARED_DEVICE = 0.02


# --- money -----------------------------------------------------------------------------------

FREE_PLAN = "free"
PAID_PLANS = ("starter", "pro", "business")
PAID_PLAN_SHARES = (0.5, 0.38, 0.12)
# Cents per month, in the order of PAID_PLANS. A year costs ten months.
PRICES = {
    "USD": (1900, 4999, 19900),
    "EUR": (1790, 4699, 18990),
    "GBP": (1590, 3999, 16950),
}
ANNUAL_SHARE = 0.24
MONTHS_PER_ANNUAL_PRICE = 10

PAYING_OF_ACTIVATED = 0.21
PAYING_OF_CUSTOMERS_BEFORE = 0.42
# Most decide when the trial ends; the others at once.
TRIAL_DAYS = 14
DECIDES_AT_ONCE = 0.3

# Of the subscriptions that run, per month.
CANCELS_MONTHLY = 0.036
CHANGES_PLAN_MONTHLY = 0.03
CHANGE_IS_UPGRADE = 0.72
PAYMENT_FAILS = 0.05
# A failed payment is tried again; failing twice ends the subscription.
PAYMENT_RETRY_DAYS = 3
RETRY_FAILS = 0.14
STAYS_AFTER_CANCELLING = 0.3

REFUNDED = 0.018
REFUND_DAYS_MAX = 9
REFUND_IS_FULL = 0.6

CANCEL_REASONS = {
    "too_expensive": 0.34,
    "missing_feature": 0.27,
    "project_ended": 0.25,
    "other": 0.14,
}
CANCEL_REASON_UNPAID = "payment_failed"
REFUND_REASONS = {"requested_by_customer": 0.7, "duplicate": 0.2, "goodwill": 0.1}
FAILURE_CODES = {"card_declined": 0.48, "insufficient_funds": 0.34, "expired_card": 0.18}


# --- what people do --------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """One of these values, with these shares."""

    shares: dict[str, float]


@dataclass(frozen=True)
class Whole:
    """A whole number between both, small ones more often."""

    low: int
    high: int


@dataclass(frozen=True)
class Decimal:
    """A number with two decimal places between both."""

    low: float
    high: float


@dataclass(frozen=True)
class Chance:
    """True with this probability."""

    share: float


@dataclass(frozen=True)
class Several:
    """An array of up to `most` different ones of these values."""

    values: tuple[str, ...]
    most: int


@dataclass(frozen=True)
class Feature:
    """Something people do in the product, and the properties it is reported with.

    `free` and `paid` weigh it among all features for people on the free plan and on a paid one.
    `measure` names a number that differs from event to event, with its mean.
    """

    event: str
    free: float
    paid: float
    properties: dict[str, Any]
    measure: tuple[str, int]


FEATURES = (
    Feature(
        "Task Created",
        20,
        19,
        {
            "priority": Choice({"low": 0.3, "normal": 0.55, "high": 0.15}),
            "assignees": Whole(0, 5),
            "recurring": Chance(0.12),
            "labels": Several(("design", "bug", "customer", "später", "urgent", "idea"), 3),
        },
        ("title_length", 31),
    ),
    Feature(
        "Task Completed",
        15,
        17,
        {
            "priority": Choice({"low": 0.25, "normal": 0.55, "high": 0.2}),
            "on_time": Chance(0.71),
            "subtasks": Whole(0, 12),
        },
        ("age_hours", 61),
    ),
    Feature(
        "Comment Added",
        9,
        13,
        {
            "target": Choice({"task": 0.8, "board": 0.2}),
            "mentions": Whole(0, 4),
            "emoji": Choice({"👍": 0.5, "🎉": 0.2, "": 0.3}),
        },
        ("characters", 140),
    ),
    Feature(
        "Board Viewed",
        16,
        14,
        {
            "view": Choice({"kanban": 0.55, "list": 0.27, "timeline": 0.18}),
            "columns": Whole(2, 9),
            "filters": {"assignee": Chance(0.3), "overdue": Chance(0.14)},
        },
        ("load_ms", 420),
    ),
    Feature(
        "Search Performed",
        6,
        7,
        {
            "scope": Choice({"everything": 0.6, "board": 0.4}),
            "facets": Several(("owner", "label", "due date", "status"), 2),
            "results": Whole(0, 80),
        },
        ("duration_ms", 180),
    ),
    Feature(
        "File Uploaded",
        4,
        6,
        {
            "file_type": Choice({"image/png": 0.4, "application/pdf": 0.35, "text/csv": 0.25}),
            "preview": Chance(0.6),
        },
        ("size_bytes", 410_000),
    ),
    Feature(
        "Board Created",
        3,
        2,
        {
            "template": Choice({"blank": 0.5, "sprint": 0.25, "roadmap": 0.15, "hiring": 0.1}),
            "visibility": Choice({"team": 0.7, "private": 0.3}),
            "settings": {
                "color": Choice({"green": 0.4, "blue": 0.35, "amber": 0.25}),
                "notify": {"email": Chance(0.5), "push": Chance(0.3)},
            },
        },
        ("tasks_imported", 9),
    ),
    Feature(
        "Report Exported",
        0.6,
        3,
        {
            "format": Choice({"csv": 0.5, "pdf": 0.35, "xlsx": 0.15}),
            "sections": Several(("burndown", "workload", "cycle time", "overdue"), 4),
            "range": {"days": Whole(7, 90), "compared": Chance(0.3)},
        },
        ("rows", 900),
    ),
    Feature(
        "Time Logged",
        2,
        6,
        {"billable": Chance(0.64), "hours": Decimal(0.25, 8.0)},
        ("task_number", 2_000),
    ),
    Feature(
        "Integration Connected",
        0.4,
        0.7,
        {
            "provider": Choice({"slack": 0.4, "github": 0.3, "google_calendar": 0.3}),
            "scopes": Several(("read", "write", "admin"), 3),
        },
        ("setup_seconds", 75),
    ),
)
# Page views among what happens in a session of the product.
APP_PAGE_VIEWS_FREE = 24.0
APP_PAGE_VIEWS_PAID = 17.0
