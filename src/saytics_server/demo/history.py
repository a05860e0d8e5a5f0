"""What happens: the demo's days played one after the other, as columns of moments in time order.

A moment is one event or identify call before it has words: when, what, who, on which device, and 64
random bits from which render.py takes its details. Each local day is played for all countries at
once; moments are handed on once no later day can add an earlier one, so only about a day and a half
is ever held.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum, auto
from typing import NamedTuple

import numpy as np

from saytics_server.demo import story
from saytics_server.demo.dice import (
    EXPONENTIAL,
    Bits,
    Dice,
    Draw,
    Flags,
    Floats,
    Ints,
    mixed,
    picked,
    share_table,
    unit,
)
from saytics_server.demo.population import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    VISIT_SPAN_DAYS,
    Accounts,
    Calendar,
    Visitors,
    payment_attempts,
    step_times,
    time_of_day,
)

# The zone furthest east lives fourteen hours ahead of UTC.
_EAST_MS = 14 * HOUR_MS
# Onboarding steps later than this are not played; with the delays of the story nearly none is.
_ONBOARDING_DAYS_MAX = 40
_SESSION_EVENTS_MAX = 2000
_SESSION_PACE_MS = (8 * SECOND_MS, 50 * SECOND_MS)  # the average between two events of a session
# A second device begins with somebody who is not logged in yet: a session, and the login page.
_LOGIN_AFTER_MS = 40 * SECOND_MS


class Kind(IntEnum):
    """What a moment is. From FEATURE on: the index of a story.Feature."""

    SESSION_STARTED = 0
    PAGE_VIEW = auto()
    LOGGED_IN = auto()
    SIGNED_UP = auto()
    STEP_COMPLETED = auto()
    ONBOARDED = auto()
    SUBSCRIPTION_STARTED = auto()
    SUBSCRIPTION_CHANGED = auto()  # upgraded or downgraded: render.py compares the plans
    SUBSCRIPTION_CANCELLED = auto()
    PAYMENT_SUCCEEDED = auto()
    PAYMENT_FAILED = auto()
    PAYMENT_REFUNDED = auto()
    IDENTIFY_CUSTOMER = auto()  # customers from before the demo
    IDENTIFY_SIGN_UP = auto()
    IDENTIFY_DEVICE = auto()
    IDENTIFY_PLAN = auto()
    FEATURE = auto()


# Pages are numbered through: those of the site, sign-up, log-in, those of the product.
SIGN_UP_PAGE = len(story.SITE_PAGES)
LOG_IN_PAGE = SIGN_UP_PAGE + 1
FIRST_APP_PAGE = LOG_IN_PAGE + 1

_SITE_PAGE = share_table([share for *_, share in story.SITE_PAGES])
_APP_PAGE = share_table([share for *_, share in story.APP_PAGES]) + FIRST_APP_PAGE


def _activity_table(page_views: float, weights: list[float]) -> Ints:
    chosen = share_table([page_views, *weights])
    return np.where(chosen == 0, int(Kind.PAGE_VIEW), chosen - 1 + int(Kind.FEATURE))


# What a session's events are, on the free plan and on a paid one.
_ACTIVITY = np.stack(
    [
        _activity_table(story.APP_PAGE_VIEWS_FREE, [f.free for f in story.FEATURES]),
        _activity_table(story.APP_PAGE_VIEWS_PAID, [f.paid for f in story.FEATURES]),
    ]
)


class Moments(NamedTuple):
    """Columns of equal length.

    `row` is the account or -1; `device` is -1 for what a backend sends; `detail` is the page, the
    step, or the payment's number in its subscription, as `kind` demands.
    """

    time_ms: Ints
    kind: Ints
    row: Ints
    device: Ints
    detail: Ints
    draw: Bits

    def chosen(self, which: Ints | Flags | slice) -> Moments:
        """Return some of the moments, in the order named."""
        return Moments(
            self.time_ms[which],
            self.kind[which],
            self.row[which],
            self.device[which],
            self.detail[which],
            self.draw[which],
        )


def joined(parts: list[Moments]) -> Moments:
    """Return all moments of all parts, in their order."""
    return Moments(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


class History:
    """Plays the demo. `events_per_session` is what a person of average power does in a session."""

    def __init__(
        self,
        visitors: Visitors,
        accounts: Accounts,
        calendar: Calendar,
        dice: Dice,
        events_per_session: float,
    ) -> None:
        self._visitors = visitors
        self._accounts = accounts
        self._calendar = calendar
        self._dice = dice
        self._events_per_session = events_per_session
        self._habit = habits(accounts)
        self._planned_visits: dict[int, list[tuple[Ints, Ints]]] = {}
        # Accounts still in use, and the first account that may open later.
        self._in_use = np.arange(0)
        self._next_row = 0

    def play(self) -> Iterator[Moments]:
        """Yield all moments in time order, about a day at a time. Once per History."""
        calendar = self._calendar
        waiting = self._customers_before()
        for day in range(calendar.days + 1):
            parts = [waiting, *self._visits(day), *self._sessions(day)]
            if day < calendar.days:
                parts += [*self._sign_ups(day), *self._onboarding(day)]
                parts += [*self._new_devices(day), *self._money(day)]
            moments = joined(parts)
            # Nothing comes from before the first day, and nothing from the future.
            in_time = (moments.time_ms >= calendar.start_ms) & (moments.time_ms <= calendar.end_ms)
            moments = moments.chosen(in_time)
            if day < calendar.days:
                final = moments.time_ms < calendar.start_ms + (day + 1) * DAY_MS - _EAST_MS
            else:
                final = np.ones(len(moments.time_ms), np.bool_)
            waiting = moments.chosen(~final)
            ready = moments.chosen(final)
            yield ready.chosen(np.argsort(ready.time_ms, kind="stable"))

    # --- moments of one kind ---

    def _moments(
        self,
        kind: Kind,
        time_ms: Ints,
        row: Ints,
        device: Ints | None = None,
        detail: Ints | int = 0,
    ) -> Moments:
        """Return moments whose random bits follow from who, what and when."""
        count = len(time_ms)
        kinds = np.full(count, kind, np.int64)
        devices = np.full(count, -1) if device is None else device
        # Device and row name the person; a person does one thing of a kind in a millisecond.
        decider = (devices + 1) * (1 << 32) + row + 1
        draw = self._dice.bits(Draw.MOMENT, decider, time_ms * 64 + kinds)
        details = np.full(count, detail, np.int64)
        return Moments(time_ms, kinds, row, devices, details, draw)

    def _customers_before(self) -> Moments:
        """Return the import of customers: their traits, before anything else happens."""
        start_ms = self._calendar.start_ms
        row = np.flatnonzero(self._accounts.sign_up_ms < start_ms)
        return self._moments(Kind.IDENTIFY_CUSTOMER, np.full(len(row), start_ms), row)

    # --- visitors ---

    def _visits(self, day: int) -> Iterator[Moments]:
        self._plan_visits(day)
        planned = self._planned_visits.pop(day, [])
        person = np.concatenate([np.arange(0), *(persons for persons, _ in planned)])
        number = np.concatenate([np.arange(0), *(numbers for _, numbers in planned)])
        start, pages, pace = self._visitors.visit(person, number, day)
        nobody = np.full(len(person), -1)
        landing = self._dice.pick(Draw.VISIT_EVENT, person, _SITE_PAGE, number)
        yield self._moments(Kind.SESSION_STARTED, start, nobody, person * 2, landing)
        visit, order = _repeated(pages)
        time_ms, nobody = start[visit] + 50 + order * pace[visit], np.full(len(visit), -1)
        views = self._moments(Kind.PAGE_VIEW, time_ms, nobody, person[visit] * 2)
        page = np.where(order == 0, landing[visit], picked(views.draw, _SITE_PAGE))
        yield views._replace(detail=page)

        row = self._signing_up(day)
        # They fill in the form one page before the account is there.
        form_ms = self._accounts.sign_up_ms[row] - 12 * SECOND_MS
        nobody, device = np.full(len(row), -1), self._accounts.person[row] * 2
        yield self._moments(Kind.PAGE_VIEW, form_ms, nobody, device, SIGN_UP_PAGE)

    def _plan_visits(self, arrival_day: int) -> None:
        """Note on which days the arrivals of this day come (again)."""
        person = self._visitors.arrived(arrival_day)
        days = self._visitors.visit_days(person, arrival_day)
        for day in range(arrival_day, arrival_day + VISIT_SPAN_DAYS + 1):
            index, number = np.nonzero(days == day)
            self._planned_visits.setdefault(day, []).append((person[index], number))

    # --- accounts ---

    def _within(self, times: Ints, day: int) -> Flags:
        start = self._calendar.start_ms + day * DAY_MS
        return (times >= start) & (times < start + DAY_MS)

    def _signed_up_since(self, day: int, days_back: int) -> Ints:
        """Return the accounts opened on a UTC day or at most so many days before, in the demo."""
        start = self._calendar.start_ms
        edges = [start + max(0, day - days_back) * DAY_MS, start + (day + 1) * DAY_MS]
        first, last = np.searchsorted(self._accounts.sign_up_ms, edges)
        return np.arange(first, last)

    def _signing_up(self, day: int) -> Ints:
        return self._signed_up_since(day, 0) if day < self._calendar.days else np.arange(0)

    def _sign_ups(self, day: int) -> Iterator[Moments]:
        row = self._signing_up(day)
        time_ms, device = self._accounts.sign_up_ms[row], self._accounts.person[row] * 2
        yield self._moments(Kind.IDENTIFY_SIGN_UP, time_ms, row, device)
        yield self._moments(Kind.SIGNED_UP, time_ms + 40, row, device)
        yield self._activities(row, device, time_ms + 2 * MINUTE_MS, day, 9)

    def _onboarding(self, day: int) -> Iterator[Moments]:
        row = self._signed_up_since(day, _ONBOARDING_DAYS_MAX)
        times = step_times(self._dice, row, self._accounts.sign_up_ms[row])
        for step in range(len(story.ONBOARDING)):
            done = self._within(times[:, step], day) & (self._accounts.steps[row] > step)
            time_ms, who = times[done, step], row[done]
            device = self._accounts.person[who] * 2
            yield self._moments(Kind.STEP_COMPLETED, time_ms, who, device, step)
            if step + 1 == len(story.ONBOARDING):
                yield self._moments(Kind.ONBOARDED, time_ms + 20, who, device)

    def _new_devices(self, day: int) -> Iterator[Moments]:
        row = np.flatnonzero(self._within(self._accounts.second_device_ms, day))
        time_ms = self._accounts.second_device_ms[row]
        device, nobody = self._accounts.second_device[row], np.full(len(row), -1)
        login_ms = time_ms + _LOGIN_AFTER_MS
        yield self._moments(Kind.SESSION_STARTED, time_ms, nobody, device, LOG_IN_PAGE)
        yield self._moments(Kind.PAGE_VIEW, time_ms + 50, nobody, device, LOG_IN_PAGE)
        yield self._moments(Kind.IDENTIFY_DEVICE, login_ms, row, device)
        yield self._moments(Kind.LOGGED_IN, login_ms + 40, row, device)
        yield self._activities(row, device, login_ms + 500, day, 8)

    # --- sessions of people with an account ---

    def _sessions(self, day: int) -> Iterator[Moments]:
        row = self._active_rows(day)
        midnight = self._calendar.midnight(day, self._accounts.country[row].astype(np.int64))
        for number in range(1 + len(story.MORE_SESSIONS)):
            if number > 0:
                again = self._dice.unit(Draw.SESSION, row, day * 8 + number)
                more = again < story.MORE_SESSIONS[number - 1]
                row, midnight = row[more], midnight[more]
            turn = day * 8 + number
            start = midnight + time_of_day(self._dice.unit(Draw.SESSION_TIME, row, turn))
            device = self._session_device(row, start, turn)
            yield self._moments(Kind.SESSION_STARTED, start, row, device, FIRST_APP_PAGE)
            logs_in = self._dice.unit(Draw.LOGIN, row, turn) < story.LOGS_IN_AGAIN
            yield self._moments(Kind.LOGGED_IN, start[logs_in] + 300, row[logs_in], device[logs_in])
            yield self._activities(row, device, start + 900, day, number)

    def _active_rows(self, day: int) -> Ints:
        """Return the accounts opened on an earlier local day that use the product on this one."""
        accounts, calendar = self._accounts, self._calendar
        day_ms = calendar.start_ms + day * DAY_MS
        opened = int(np.searchsorted(accounts.sign_up_ms, day_ms + _EAST_MS))
        self._in_use = np.concatenate([self._in_use, np.arange(self._next_row, opened)])
        self._next_row = opened
        self._in_use = self._in_use[accounts.leave_ms[self._in_use] > day_ms - _EAST_MS]
        row = self._in_use
        chance = self._habit[row] * story.WORK_WEEK[calendar.weekdays[day]]
        row = row[self._dice.unit(Draw.ACTIVE, row, day + 1) < chance]
        midnight = calendar.midnight(day, accounts.country[row].astype(np.int64))
        here = (accounts.sign_up_ms[row] + HOUR_MS < midnight) & (accounts.leave_ms[row] > midnight)
        return row[here]

    def _session_device(self, row: Ints, start: Ints, turn: int) -> Ints:
        accounts = self._accounts
        has_second = accounts.second_device_ms[row] + HOUR_MS < start
        uses_second = self._dice.unit(Draw.SESSION_DEVICE, row, turn) < 0.3
        return np.where(
            has_second & uses_second, accounts.second_device[row], accounts.person[row] * 2
        )

    def _activities(self, row: Ints, device: Ints, start: Ints, day: int, number: int) -> Moments:
        """Return what is done in sessions: page views of the product and features."""
        dice, accounts = self._dice, self._accounts
        bits = dice.bits(Draw.SESSION_LENGTH, row, day * 16 + number)
        length = self._events_per_session * accounts.power[row] * picked(bits, EXPONENTIAL)
        counts = np.minimum(_rounded_by_chance(length, bits), _SESSION_EVENTS_MAX)
        session, order = _repeated(counts)
        low, high = _SESSION_PACE_MS
        pace = low + (mixed(bits) % np.uint64(high - low)).astype(np.int64)
        draw = dice.bits(Draw.SESSION_EVENT, bits[session], order + 1)
        # Never two events of a session in the same millisecond, however the jitter falls.
        jitter = (unit(draw) * (pace[session] - 1)).astype(np.int64)
        time_ms = start[session] + order * pace[session] + jitter
        who = row[session]
        paid = (accounts.plan_at(row, start) > 0).astype(np.intp)[session]
        place = ((draw >> np.uint64(20)) & np.uint64(_ACTIVITY.shape[1] - 1)).astype(np.intp)
        kind = _ACTIVITY[paid, place]
        return Moments(time_ms, kind, who, device[session], picked(draw, _APP_PAGE), draw)

    # --- money ---

    def _money(self, day: int) -> Iterator[Moments]:
        accounts = self._accounts
        for kind, times in (
            (Kind.SUBSCRIPTION_STARTED, accounts.subscribed_ms),
            (Kind.SUBSCRIPTION_CHANGED, accounts.change_ms),
            (Kind.SUBSCRIPTION_CANCELLED, accounts.cancel_ms),
        ):
            row = np.flatnonzero(self._within(times, day))
            yield self._moments(kind, times[row], row)
            yield self._moments(Kind.IDENTIFY_PLAN, times[row] + 120, row)
        yield from self._payments(day)

    def _payments(self, day: int) -> Iterator[Moments]:
        """Return payments, their retries and refunds: all within a month of being due."""
        accounts, calendar, dice = self._accounts, self._calendar, self._dice
        day_end = calendar.start_ms + (day + 1) * DAY_MS
        row = np.flatnonzero(accounts.subscribed_ms < day_end)
        period = accounts.period_ms(row)
        number = (day_end - 1 - accounts.subscribed_ms[row]) // period
        due_ms = accounts.subscribed_ms[row] + number * period
        # A subscription that has ended has no more payments; from before the demo none is told.
        told = (due_ms < accounts.cancel_ms[row]) & (due_ms >= calendar.start_ms)
        row, number, due_ms = row[told], number[told], due_ms[told]

        failed, failed_twice = payment_attempts(dice, calendar, row, number, due_ms)
        first_ms = due_ms + 2 * SECOND_MS
        retry_ms = first_ms + story.PAYMENT_RETRY_DAYS * DAY_MS
        retried = failed & (retry_ms < accounts.cancel_ms[row])
        paid_ms = np.where(failed, retry_ms, first_ms)
        paid = ~failed | (retried & ~failed_twice)
        refund_ms = paid_ms + refund_waits(dice, row, number)
        refunded = paid & (dice.unit(Draw.REFUND, row, number) < story.REFUNDED)
        for kind, times, happens in (
            (Kind.PAYMENT_FAILED, first_ms, failed),
            (Kind.PAYMENT_FAILED, retry_ms, retried & failed_twice),
            (Kind.PAYMENT_SUCCEEDED, paid_ms, paid),
            (Kind.PAYMENT_REFUNDED, refund_ms, refunded),
        ):
            now = happens & self._within(times, day)
            yield self._moments(kind, times[now], row[now], None, number[now])


def habits(accounts: Accounts) -> Floats:
    """Return each account's chance to be used on a full working day."""
    return np.minimum(story.HABIT * np.sqrt(accounts.power.astype(np.float64)), story.HABIT_MAX)


def refund_waits(dice: Dice, row: Ints, number: Ints) -> Ints:
    """Return how long after a payment it would be given back."""
    share = dice.unit(Draw.REFUND_TIME, row, number)
    return HOUR_MS + (share * (story.REFUND_DAYS_MAX * DAY_MS - HOUR_MS)).astype(np.int64)


def _repeated(counts: Ints) -> tuple[Ints, Ints]:
    """Return for each of `counts[i]` repetitions of i the index i and the repetition's number."""
    index = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    return index, np.arange(len(index)) - first[index]


def _rounded_by_chance(value: Floats, bits: Bits) -> Ints:
    """Return whole numbers whose average is the value's: 1.3 is 1 mostly and 2 sometimes."""
    return (value + unit(bits)).astype(np.int64)
