"""Moments get words: names, ids, properties and context as JSON text, the same for every output.

JSON is rendered with sorted keys and compact, which is the form in which an event's content is
fingerprinted (event.py), so the text made here serves the wire and the log alike. What has few
different values (contexts, pages, most properties) is rendered once and looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from saytics_server.demo import story
from saytics_server.demo.dice import (
    EXPONENTIAL,
    TABLE_SIZE,
    Bits,
    Dice,
    Draw,
    Ints,
    mixed,
    picked,
    share_table,
    unit,
)
from saytics_server.demo.digits import iso_texts, uuid_texts
from saytics_server.demo.history import FIRST_APP_PAGE, LOG_IN_PAGE, SIGN_UP_PAGE, Kind, Moments
from saytics_server.demo.population import DAY_MS, MONTH_MS, Accounts, Visitors

_PAGES = [
    *((path, title) for path, title, _ in story.SITE_PAGES),
    story.SIGN_UP_PAGE,
    story.LOG_IN_PAGE,
    *((path, title) for path, title, _ in story.APP_PAGES),
]
_BROWSERS = (*story.DESKTOPS, *story.PHONES)
_PROPERTIES_PER_FEATURE = 1024
_LOGIN_METHODS = ("password", "google", "magic_link", "password")
_PAYMENT_METHODS = ("card", "card", "card", "sepa_debit", "paypal")

_EVENT_NAMES = {
    Kind.SESSION_STARTED: "Session Started",
    Kind.PAGE_VIEW: "Page View",
    Kind.LOGGED_IN: "Logged In",
    Kind.SIGNED_UP: "Signed Up",
    Kind.STEP_COMPLETED: "Onboarding Step Completed",
    Kind.ONBOARDED: "Onboarding Completed",
    Kind.SUBSCRIPTION_STARTED: "Subscription Started",
    Kind.SUBSCRIPTION_CHANGED: "Subscription Upgraded",
    Kind.SUBSCRIPTION_CANCELLED: "Subscription Cancelled",
    Kind.PAYMENT_SUCCEEDED: "Payment Succeeded",
    Kind.PAYMENT_FAILED: "Payment Failed",
    Kind.PAYMENT_REFUNDED: "Payment Refunded",
}
_IDENTIFIES = (
    Kind.IDENTIFY_CUSTOMER,
    Kind.IDENTIFY_SIGN_UP,
    Kind.IDENTIFY_DEVICE,
    Kind.IDENTIFY_PLAN,
)
# Where such a moment happens; -1: on the page that its detail names.
_PAGE_OF_KIND = np.full(Kind.FEATURE + len(story.FEATURES), -1)
_PAGE_OF_KIND[[Kind.SIGNED_UP, Kind.IDENTIFY_SIGN_UP]] = SIGN_UP_PAGE
_PAGE_OF_KIND[[Kind.LOGGED_IN, Kind.IDENTIFY_DEVICE]] = LOG_IN_PAGE
_PAGE_OF_KIND[[Kind.STEP_COMPLETED, Kind.ONBOARDED]] = FIRST_APP_PAGE


class Lines(NamedTuple):
    """Moments in words: lists of equal length, in the moments' order.

    `event` is '' for an identify call, whose traits stand in `properties`; absent ids are ''.
    """

    event: list[str]
    user_id: list[str]
    anonymous_id: list[str]
    timestamp_ms: list[int]
    timestamp: list[str]
    properties: list[str]
    context: list[str]
    message_id: list[str]


def json_text(value: Any) -> str:
    """Return compact JSON with sorted keys."""
    return msgspec.json.encode(value, order="deterministic").decode()


class Renderer:
    """Turns moments of one demo into lines. Pure: the same moments give the same lines."""

    def __init__(self, visitors: Visitors, accounts: Accounts, dice: Dice, seed: int) -> None:
        self._visitors = visitors
        self._accounts = accounts
        self._dice = dice
        self._contexts = np.array(list(_context_texts()), object)
        self._browsers = np.stack(
            [
                _browser_table(story.FIRST_DEVICE_IS_PHONE),
                _browser_table(story.SECOND_DEVICE_IS_PHONE),
            ]
        )
        self._features = [_FeatureTexts(feature, seed) for feature in story.FEATURES]
        self._renderers: dict[int, Callable[[Moments], list[str]]] = {
            Kind.SESSION_STARTED: self._session_started,
            Kind.PAGE_VIEW: self._page_view,
            Kind.LOGGED_IN: self._logged_in,
            Kind.SIGNED_UP: self._signed_up,
            Kind.STEP_COMPLETED: self._step_completed,
            Kind.ONBOARDED: self._onboarded,
            Kind.SUBSCRIPTION_STARTED: self._subscription_started,
            Kind.SUBSCRIPTION_CHANGED: self._subscription_changed,
            Kind.SUBSCRIPTION_CANCELLED: self._subscription_cancelled,
            Kind.PAYMENT_SUCCEEDED: self._payment_succeeded,
            Kind.PAYMENT_FAILED: self._payment_failed,
            Kind.PAYMENT_REFUNDED: self._payment_refunded,
            Kind.IDENTIFY_CUSTOMER: self._customer_traits,
            Kind.IDENTIFY_SIGN_UP: self._sign_up_traits,
            Kind.IDENTIFY_DEVICE: self._device_traits,
            Kind.IDENTIFY_PLAN: self._plan_traits,
        }

    def lines(self, moments: Moments) -> Lines:
        """Return the moments in words."""
        count = len(moments.time_ms)
        properties = np.empty(count, object)
        message_ids = np.empty(count, object)
        events = np.empty(count, object)
        for kind in np.unique(moments.kind).tolist():
            place = np.flatnonzero(moments.kind == kind)
            some = moments.chosen(place)
            properties[place] = self._properties(kind, some)
            message_ids[place] = self._message_ids(kind, some)
            events[place] = self._events(kind, some)
        return Lines(
            events.tolist(),
            [f"user_{number}" if number else "" for number in (moments.row + 1).tolist()],
            self._anonymous_ids(moments.device),
            moments.time_ms.tolist(),
            iso_texts(moments.time_ms),
            properties.tolist(),
            self._contexts[self._context_numbers(moments)].tolist(),
            message_ids.tolist(),
        )

    # --- who and where ---

    def _anonymous_ids(self, device: Ints) -> list[str]:
        high = self._dice.bits(Draw.ANONYMOUS_HIGH, device)
        low = self._dice.bits(Draw.ANONYMOUS_LOW, device)
        texts = uuid_texts(high, low, version=4)
        return [text if key >= 0 else "" for text, key in zip(texts, device.tolist(), strict=True)]

    def _message_ids(self, kind: int, moments: Moments) -> list[str]:
        rest = self._dice.bits(Draw.MESSAGE, moments.draw.view(np.int64))
        if kind == Kind.IDENTIFY_CUSTOMER:
            return [f"import_user_{number}" for number in (moments.row + 1).tolist()]
        if moments.device[0] < 0:
            # As the payment provider names its own events; repeated webhooks repeat it.
            pairs = zip(moments.draw.tolist(), rest.tolist(), strict=True)
            return [f"pe_{high:016x}{low & 0xFFFFFFFF:08x}" for high, low in pairs]
        time_ms = moments.time_ms.astype(np.uint64) << np.uint64(16)
        return uuid_texts(time_ms | (moments.draw & np.uint64(0xFFFF)), rest, version=7)

    def _browser(self, device: Ints) -> Ints:
        number = self._dice.bits(Draw.BROWSER, device) % np.uint64(TABLE_SIZE)
        browsers: Ints = self._browsers[device & 1, number.astype(np.int64)]
        return browsers

    def _context_numbers(self, moments: Moments) -> Ints:
        person = np.maximum(moments.device >> 1, 0)
        fixed = _PAGE_OF_KIND[moments.kind]
        page = np.where(fixed < 0, moments.detail, fixed)
        on_site = page < LOG_IN_PAGE
        number = self._visitors.country(person) * len(_BROWSERS) + self._browser(moments.device)
        number = number * len(_PAGES) + page
        channel = np.where(on_site, self._visitors.channel(person), 0)
        number = number * len(story.CHANNELS) + channel
        return np.where(moments.device < 0, -1, number)

    # --- properties: what people do ---

    def _events(self, kind: int, moments: Moments) -> list[str] | str:
        if kind >= Kind.FEATURE:
            return story.FEATURES[kind - Kind.FEATURE].event
        if kind in _IDENTIFIES:
            return ""
        if kind == Kind.SUBSCRIPTION_CHANGED:
            before, after = self._plans_around(moments)
            ups = (after > before).tolist()
            return ["Subscription Upgraded" if up else "Subscription Downgraded" for up in ups]
        return _EVENT_NAMES[Kind(kind)]

    def _properties(self, kind: int, moments: Moments) -> list[str]:
        if kind >= Kind.FEATURE:
            return self._features[kind - Kind.FEATURE].texts(mixed(moments.draw))
        return self._renderers[kind](moments)

    def _session_started(self, moments: Moments) -> list[str]:
        number = self._browser(moments.device) * len(_PAGES) + moments.detail
        return _looked_up(_SESSION_TEXTS, number)

    def _page_view(self, moments: Moments) -> list[str]:
        return _looked_up(_PAGE_TEXTS, moments.detail)

    def _logged_in(self, moments: Moments) -> list[str]:
        number = mixed(moments.draw) % np.uint64(len(_LOGIN_METHODS))
        return _looked_up(_LOGIN_TEXTS, number.astype(np.int64))

    def _signed_up(self, moments: Moments) -> list[str]:
        method = picked(moments.draw, _SIGN_UP_METHODS)
        channel = self._visitors.channel(self._accounts.person[moments.row])
        pairs = zip(method.tolist(), channel.tolist(), strict=True)
        return [
            json_text({"channel": story.CHANNELS[at].name, "method": by, "plan": story.FREE_PLAN})
            for by, at in pairs
        ]

    def _step_completed(self, moments: Moments) -> list[str]:
        return _looked_up(_STEP_TEXTS, moments.detail)

    def _onboarded(self, moments: Moments) -> list[str]:
        waits = (moments.time_ms - self._accounts.sign_up_ms[moments.row]).tolist()
        steps = len(story.ONBOARDING)
        return [json_text({"hours": round(ms / 3_600_000, 2), "steps": steps}) for ms in waits]

    # --- properties: money ---

    def _plans_around(self, moments: Moments) -> tuple[Ints, Ints]:
        """Return each row's plan just before the moment and from it on."""
        before = self._accounts.plan_at(moments.row, moments.time_ms - 1)
        return before, self._accounts.plan_at(moments.row, moments.time_ms)

    def _terms(self, row: int, plan: int) -> _Terms:
        country = story.COUNTRIES[int(self._accounts.country[row])]
        monthly = story.PRICES[country.currency][plan - 1]
        if self._accounts.annual[row]:
            price = monthly * story.MONTHS_PER_ANNUAL_PRICE
            return _Terms(plan, "annual", country.currency, price, round(price / 12))
        return _Terms(plan, "monthly", country.currency, monthly, monthly)

    def _subscription_started(self, moments: Moments) -> list[str]:
        _, after = self._plans_around(moments)
        pairs = zip(moments.row.tolist(), after.tolist(), strict=True)
        return [json_text(self._terms(row, plan).properties()) for row, plan in pairs]

    def _subscription_changed(self, moments: Moments) -> list[str]:
        before, after = self._plans_around(moments)
        texts = []
        for row, old, new in zip(
            moments.row.tolist(), before.tolist(), after.tolist(), strict=True
        ):
            old_terms, terms = self._terms(row, old), self._terms(row, new)
            change = {
                "mrr_change": (terms.mrr_cents - old_terms.mrr_cents) / 100,
                "previous_plan": story.PAID_PLANS[old - 1],
            }
            texts.append(json_text(terms.properties() | change))
        return texts

    def _subscription_cancelled(self, moments: Moments) -> list[str]:
        before, _ = self._plans_around(moments)
        reasons = self._dice.pick(Draw.CANCEL_REASON, moments.row, _CANCEL_REASONS).tolist()
        months = (moments.time_ms - self._accounts.subscribed_ms[moments.row]) // MONTH_MS
        texts = []
        columns = (moments.row.tolist(), before.tolist(), reasons, months.tolist())
        for row, plan, why, count in zip(*columns, strict=True):
            unpaid = self._accounts.unpaid[row]
            reason = story.CANCEL_REASON_UNPAID if unpaid else why
            end = {"reason": reason, "months": count}
            texts.append(json_text(self._terms(row, plan).properties() | end))
        return texts

    def _payments(self, moments: Moments) -> Iterator[tuple[_Terms, dict[str, Any]]]:
        """Yield the terms of each payment, and the properties all its events share."""
        accounts, row = self._accounts, moments.row
        due_ms = accounts.subscribed_ms[row] + moments.detail * accounts.period_ms(row)
        plan = accounts.plan_at(row, due_ms)
        payment = self._dice.bits(Draw.PAYMENT, row, moments.detail + (1 << 32))
        for index, number in enumerate(payment.tolist()):
            terms = self._terms(int(row[index]), int(plan[index]))
            shared = {
                "amount": terms.price_cents / 100,
                "currency": terms.currency,
                "payment_id": f"pay_{number:016x}",
            }
            yield terms, shared

    def _payment_succeeded(self, moments: Moments) -> list[str]:
        methods = moments.row % len(_PAYMENT_METHODS)
        return [
            json_text(
                shared
                | {
                    "billing_cycle": terms.cycle,
                    "method": _PAYMENT_METHODS[method],
                    "plan": story.PAID_PLANS[terms.plan - 1],
                }
            )
            for (terms, shared), method in zip(
                self._payments(moments), methods.tolist(), strict=True
            )
        ]

    def _payment_failed(self, moments: Moments) -> list[str]:
        accounts, row = self._accounts, moments.row
        due_ms = accounts.subscribed_ms[row] + moments.detail * accounts.period_ms(row)
        attempts = np.where(moments.time_ms - due_ms > DAY_MS, 2, 1).tolist()
        codes = picked(moments.draw, _FAILURE_CODES).tolist()
        columns = (self._payments(moments), attempts, codes)
        return [
            json_text(shared | {"attempt": attempt, "code": code})
            for (_, shared), attempt, code in zip(*columns, strict=True)
        ]

    def _payment_refunded(self, moments: Moments) -> list[str]:
        share = self._dice.unit(Draw.REFUND_AMOUNT, moments.row, moments.detail)
        reasons = picked(moments.draw, _REFUND_REASONS).tolist()
        texts = []
        columns = (self._payments(moments), share.tolist(), reasons)
        for (terms, shared), part, reason in zip(*columns, strict=True):
            is_full = part < story.REFUND_IS_FULL
            # What is left of the draw decides how much of the payment: 10 % to 90 %.
            rest = (part - story.REFUND_IS_FULL) / (1 - story.REFUND_IS_FULL)
            cents = terms.price_cents if is_full else int(terms.price_cents * (0.1 + 0.8 * rest))
            refund = {"amount": cents / 100, "full": is_full, "reason": reason}
            texts.append(json_text(shared | refund))
        return texts

    # --- traits ---

    def _profiles(self, row: Ints) -> Iterator[dict[str, Any]]:
        accounts = self._accounts
        signed_up_at = iso_texts(accounts.sign_up_ms[row])
        columns = (accounts.company_size[row].tolist(), accounts.country[row].tolist())
        for size, country, moment in zip(*columns, signed_up_at, strict=True):
            yield {
                "company_size": _COMPANY_SIZES[size],
                "country": story.COUNTRIES[country].code,
                "signed_up_at": moment,
            }

    def _plan_of(self, row: int, plan: int) -> dict[str, Any]:
        if plan == 0:
            return {"plan": story.FREE_PLAN, "mrr": None, "billing_cycle": None}
        terms = self._terms(row, plan).properties()
        return {name: terms[name] for name in ("plan", "mrr", "billing_cycle")}

    def _customer_traits(self, moments: Moments) -> list[str]:
        _, plan = self._plans_around(moments)
        texts = []
        columns = (self._profiles(moments.row), moments.row.tolist(), plan.tolist())
        for profile, row, number in zip(*columns, strict=True):
            traits = profile | self._plan_of(row, number)
            known = {name: value for name, value in traits.items() if value is not None}
            texts.append(json_text(known))
        return texts

    def _sign_up_traits(self, moments: Moments) -> list[str]:
        plan = {"plan": story.FREE_PLAN}
        return [json_text(profile | plan) for profile in self._profiles(moments.row)]

    def _device_traits(self, moments: Moments) -> list[str]:
        return _looked_up(_DEVICE_TEXTS, self._browser(moments.device))

    def _plan_traits(self, moments: Moments) -> list[str]:
        _, plan = self._plans_around(moments)
        pairs = zip(moments.row.tolist(), plan.tolist(), strict=True)
        return [json_text(self._plan_of(row, number)) for row, number in pairs]


class _Terms(NamedTuple):
    """What a subscription costs. `price_cents` per payment, `mrr_cents` per month."""

    plan: int
    cycle: str
    currency: str
    price_cents: int
    mrr_cents: int

    def properties(self) -> dict[str, Any]:
        return {
            "billing_cycle": self.cycle,
            "currency": self.currency,
            "mrr": self.mrr_cents / 100,
            "plan": story.PAID_PLANS[self.plan - 1],
        }


class _FeatureTexts:
    """A feature's properties: texts made once, open at the number that differs each time."""

    def __init__(self, feature: story.Feature, seed: int) -> None:
        name, self._mean = feature.measure
        # Random.random() is the one method whose numbers Python promises to keep.
        roll = Random(f"{seed}/{feature.event}").random  # noqa: S311 - no secret depends on it
        cut = f'"{name}":'
        halves = [
            json_text(_sampled(feature.properties, roll) | {name: 0}).partition(cut + "0")
            for _ in range(_PROPERTIES_PER_FEATURE)
        ]
        self._heads = np.array([head + cut for head, _, _ in halves], object)
        self._tails = np.array([tail for _, _, tail in halves], object)

    def texts(self, bits: Bits) -> list[str]:
        which = (bits % np.uint64(_PROPERTIES_PER_FEATURE)).astype(np.int64)
        # Between the table's quantiles the bits go on, or there would be only 4,096 numbers.
        measures = picked(bits >> np.uint64(12), EXPONENTIAL) * (0.5 + unit(bits)) * self._mean
        columns = (self._heads[which].tolist(), measures.tolist(), self._tails[which].tolist())
        return [f"{head}{int(number)}{tail}" for head, number, tail in zip(*columns, strict=True)]


def _sampled(spec: Any, roll: Callable[[], float]) -> Any:
    """Return a value as the story describes it."""
    if isinstance(spec, dict):
        return {name: _sampled(part, roll) for name, part in spec.items()}
    if isinstance(spec, story.Choice):
        return _drawn(spec.shares, roll())
    if isinstance(spec, story.Whole):
        share = roll()
        return spec.low + int(share * share * (spec.high - spec.low + 1))
    if isinstance(spec, story.Decimal):
        return round(spec.low + roll() * (spec.high - spec.low), 2)
    if isinstance(spec, story.Chance):
        return roll() < spec.share
    assert isinstance(spec, story.Several)
    count = int(roll() * (spec.most + 1))
    return sorted(spec.values, key=lambda _: roll())[:count]


def _drawn(shares: dict[str, float], share: float) -> str:
    for value, weight in shares.items():
        share -= weight
        if share < 0:
            return value
    return next(iter(shares))


# --- texts made once --------------------------------------------------------------------------


def _context_texts() -> Iterator[str]:
    """Yield a context per country, browser, page and channel, in that order; a backend's last."""
    for country in story.COUNTRIES:
        for browser in _BROWSERS:
            for number, (path, _) in enumerate(_PAGES):
                for channel in story.CHANNELS:
                    yield json_text(_context(country, browser, number, path, channel))
    yield json_text({"library": story.SERVER_LIBRARY})


def _context(
    country: story.Country, browser: story.Browser, page: int, path: str, channel: story.Channel
) -> dict[str, Any]:
    seen: dict[str, Any] = {"path": path, "url": story.HOST + path}
    context: dict[str, Any] = {
        "library": story.BROWSER_LIBRARY,
        "locale": country.locale,
        "page": seen,
        "timezone": country.zone,
        "userAgent": browser.user_agent,
    }
    if page < FIRST_APP_PAGE:
        if channel.referrer:
            seen["referrer"] = channel.referrer
        if channel.campaign:
            context["campaign"] = channel.campaign
    return context


def _browser_table(phone_share: float) -> Ints:
    desktops = [(1 - phone_share) * browser.share for browser in story.DESKTOPS]
    return share_table([*desktops, *(phone_share * browser.share for browser in story.PHONES)])


def _texts(values: Iterable[Any]) -> npt.NDArray[Any]:
    return np.array([json_text(value) for value in values], object)


def _looked_up(table: npt.NDArray[Any], number: Ints) -> list[str]:
    texts: list[str] = table[number].tolist()
    return texts


def _value_table(shares: dict[str, float]) -> npt.NDArray[Any]:
    return np.array(list(shares), object)[share_table(list(shares.values()))]


_SIGN_UP_METHODS = _value_table(story.SIGN_UP_METHODS)
_CANCEL_REASONS = _value_table(story.CANCEL_REASONS)
_REFUND_REASONS = _value_table(story.REFUND_REASONS)
_FAILURE_CODES = _value_table(story.FAILURE_CODES)
_COMPANY_SIZES = list(story.COMPANY_SIZES)
_PAGE_TEXTS = _texts({"path": path, "title": title} for path, title in _PAGES)
_SESSION_TEXTS = _texts(
    {"device": browser.device, "landing_page": path} for browser in _BROWSERS for path, _ in _PAGES
)
_DEVICE_TEXTS = _texts({"last_device": browser.device} for browser in _BROWSERS)
_LOGIN_TEXTS = _texts({"method": method} for method in _LOGIN_METHODS)
_STEP_TEXTS = _texts(
    {"name": name, "step": number + 1} for number, (name, _) in enumerate(story.ONBOARDING)
)
