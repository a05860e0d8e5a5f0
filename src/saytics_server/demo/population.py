"""Who there is: visitors by day of arrival, and the life of everyone who opens an account.

Visitors are not kept: their day follows from their number (they are numbered by arrival) and all
else from the dice. Accounts are kept as columns, about 120 bytes each, in order of sign-up; a
person's row in them is also the number in their `userId`.

    persons  0 … visitors-1                 came to the site during the demo
             visitors … persons-1           had an account before its first day
    rows     0 … accounts-1                 accounts, by time of sign-up
    devices  person * 2 + slot              a browser and its anonymous id; slot 1 is a second one
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from saytics_server.demo import story
from saytics_server.demo.dice import (
    EXPONENTIAL,
    Dice,
    Draw,
    Flags,
    Floats,
    Ints,
    log_normal_table,
    share_table,
    unit,
)

SECOND_MS = 1000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
# A twelfth of a year: subscriptions renew after this, or after twelve of it.
MONTH_MS = int(365.25 * DAY_MS) // 12
NEVER = np.int64(2**62)

_VISITS_MAX = len(story.VISIT_COUNTS)
# A person's last visit is at most so many days after the first.
VISIT_SPAN_DAYS = (_VISITS_MAX - 1) * story.DAYS_BETWEEN_VISITS_MAX
_PACE_MS = (15 * SECOND_MS, 75 * SECOND_MS)  # between two page views of a visitor
_ACCOUNT_AGE_DAYS_MAX = 700

_COUNTRY = share_table([country.share for country in story.COUNTRIES])
_CHANNEL = share_table([channel.share for channel in story.CHANNELS])
_SIGN_UP_RATE = np.array([channel.sign_up_rate for channel in story.CHANNELS])
_VISIT_COUNT = share_table(story.VISIT_COUNTS) + 1
_COMPANY_SIZE = share_table(list(story.COMPANY_SIZES.values()))
_PLAN = share_table(story.PAID_PLAN_SHARES) + 1
_POWER = log_normal_table(story.POWER_SPREAD)
_REACHED = np.array([share for _, share in story.ONBOARDING])
# Local hours at which shares of a day's starts have passed; the last half hour is left free, so
# that a visit ends on the day it began.
_HOUR_SHARES = np.concatenate([[0.0], np.cumsum(story.HOURS) / sum(story.HOURS)])
_HOUR_EDGES_MS = np.minimum(np.arange(25) * HOUR_MS, 24 * HOUR_MS - HOUR_MS // 2).astype(np.float64)


class Calendar:
    """Days of the demo and when they begin where: day 0 is the UTC day of the first event."""

    def __init__(self, days: int, end_ms: int) -> None:
        self.end_ms = end_ms
        self.days = days
        self.start_ms = (end_ms // DAY_MS - days + 1) * DAY_MS
        first = datetime.fromtimestamp(self.start_ms / 1000, UTC)
        # One more day than asked: east of UTC tomorrow has begun already.
        dates = [first + timedelta(days=day) for day in range(days + 1)]
        self.weekdays = [date.weekday() for date in dates]
        noons = [date.replace(hour=12) for date in dates]
        zones = [ZoneInfo(country.zone) for country in story.COUNTRIES]
        offsets = [[_offset_ms(noon, zone) for zone in zones] for noon in noons]
        self._midnights = (
            self.start_ms + np.arange(days + 1)[:, None] * DAY_MS - np.array(offsets, np.int64)
        )

    def midnight(self, day: Ints | int, country: Ints) -> Ints:
        """Return when the day begins in each country, by the offset of its noon."""
        times: Ints = self._midnights[day, country]
        return times


def _offset_ms(noon: datetime, zone: ZoneInfo) -> int:
    offset = noon.astimezone(zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds()) * SECOND_MS


def time_of_day(share: Floats) -> Ints:
    """Return milliseconds after local midnight at which this share of a day's starts has passed."""
    return np.interp(share, _HOUR_SHARES, _HOUR_EDGES_MS).astype(np.int64)


def waiting(dice: Dice, draw: Draw, decider: Ints, mean_ms: float) -> Ints:
    """Return exponential waiting times in milliseconds."""
    return (dice.pick(draw, decider, EXPONENTIAL) * mean_ms).astype(np.int64)


class Visitors:
    """Everyone who comes to the site: numbered by arrival, computed when asked."""

    def __init__(self, count: int, calendar: Calendar, dice: Dice) -> None:
        self.count = count
        self._calendar = calendar
        self._dice = dice
        weights = np.array(
            [
                story.WEEKLY_GROWTH ** (day / 7)
                * story.VISIT_WEEK[weekday]
                * story.VISIT_SPIKES.get(calendar.days - 1 - day, 1.0)
                for day, weekday in enumerate(calendar.weekdays)
            ]
        )
        edges = np.concatenate([[0.0], np.cumsum(weights) / weights.sum()])
        self._first_of_day = np.rint(edges * count).astype(np.int64)

    def arrived(self, day: int) -> Ints:
        """Return the persons whose first visit is on that local day."""
        return np.arange(self._first_of_day[day], self._first_of_day[day + 1])

    def country(self, person: Ints) -> Ints:
        """Return indexes into story.COUNTRIES. Holds for customers from before, too."""
        return self._dice.pick(Draw.COUNTRY, person, _COUNTRY)

    def channel(self, person: Ints) -> Ints:
        """Return indexes into story.CHANNELS."""
        return self._dice.pick(Draw.CHANNEL, person, _CHANNEL)

    def visit_days(self, person: Ints, arrival_day: int) -> Ints:
        """Return the local day of each possible visit, persons by visits; -1 for none."""
        number = np.arange(_VISITS_MAX)
        count = self._dice.pick(Draw.VISIT_COUNT, person, _VISIT_COUNT)
        gaps = self._dice.bits(Draw.VISIT_GAP, person[:, None], number[None, :])
        days = 1 + (gaps % np.uint64(story.DAYS_BETWEEN_VISITS_MAX)).astype(np.int64)
        days[:, 0] = arrival_day
        return np.where(number < count[:, None], np.cumsum(days, axis=1), -1)

    def visit(self, person: Ints, number: Ints, day: int | Ints) -> tuple[Ints, Ints, Ints]:
        """Return start, page views and milliseconds between them of visits on a local day."""
        share = self._dice.unit(Draw.VISIT_TIME, person, number)
        start = self._calendar.midnight(day, self.country(person)) + time_of_day(share)
        # East of UTC the first day began before the demo did: those come a day later.
        start += np.where(start < self._calendar.start_ms, DAY_MS, 0)
        length = self._dice.pick(Draw.VISIT_PAGES, person, EXPONENTIAL, number)
        pages = 1 + (length * (story.PAGES_PER_VISIT_MEAN - 0.5)).astype(np.int64)
        low, high = _PACE_MS
        spread = self._dice.bits(Draw.VISIT_PACE, person, number) % np.uint64(high - low)
        return start, np.minimum(pages, story.PAGES_PER_VISIT_MAX), low + spread.astype(np.int64)

    def sign_ups(self, arrival_day: int) -> tuple[Ints, Ints]:
        """Return who of a day's arrivals opens an account on the last visit, and when."""
        person = self.arrived(arrival_day)
        rate = _SIGN_UP_RATE[self.channel(person)]
        person = person[self._dice.unit(Draw.SIGN_UP, person) < rate]
        days = self.visit_days(person, arrival_day)
        number = (days >= 0).sum(axis=1) - 1
        day = days[np.arange(len(person)), number]
        reached = day <= self._calendar.days
        person, number, day = person[reached], number[reached], day[reached]
        start, pages, pace = self.visit(person, number, day)
        # One more page than in other visits: the form itself (see history.visits).
        sign_up_ms = start + (pages + 1) * pace
        in_time = sign_up_ms <= self._calendar.end_ms
        return person[in_time], sign_up_ms[in_time]


@dataclass(frozen=True)
class Accounts:
    """The lives of all accounts, as columns in order of sign-up. Times in ms, NEVER if not."""

    person: Ints
    sign_up_ms: Ints
    country: npt.NDArray[np.int8]
    company_size: npt.NDArray[np.int8]
    steps: npt.NDArray[np.int8]  # how many steps of the onboarding are reached
    activated_ms: Ints
    power: npt.NDArray[np.float32]  # how much they do, mean 1
    second_device: Ints  # the device key
    second_device_ms: Ints
    leave_ms: Ints  # last moment of using the product
    # The subscription: PAID_PLANS[plan - 1] until change_ms, then changed_plan.
    plan: npt.NDArray[np.int8]
    changed_plan: npt.NDArray[np.int8]
    annual: Flags
    subscribed_ms: Ints
    change_ms: Ints
    cancel_ms: Ints
    unpaid: Flags  # whether the subscription ends because a payment failed twice

    def __len__(self) -> int:
        return len(self.person)

    def plan_at(self, row: Ints, time_ms: Ints) -> Ints:
        """Return the plan of each row at a time: 0 is free, else PAID_PLANS[plan - 1]."""
        paid = np.where(time_ms >= self.change_ms[row], self.changed_plan[row], self.plan[row])
        runs = (time_ms >= self.subscribed_ms[row]) & (time_ms < self.cancel_ms[row])
        return np.where(runs, paid, 0).astype(np.int64)

    def period_ms(self, row: Ints) -> Ints:
        """Return the time between two payments."""
        return np.where(self.annual[row], 12 * MONTH_MS, MONTH_MS)


def step_times(dice: Dice, row: Ints, sign_up_ms: Ints) -> Ints:
    """Return when each step of the onboarding would be done, rows by steps."""
    number = np.arange(len(story.ONBOARDING))[None, :]
    decider = row[:, None]
    minutes = dice.pick(Draw.STEP_TIME, decider, EXPONENTIAL, number)
    delayed = dice.unit(Draw.STEP_DELAYED, decider, number) < story.ONBOARDING_DELAYED
    hours = dice.pick(Draw.STEP_DELAY, decider, EXPONENTIAL, number)
    gaps = 20 * SECOND_MS + minutes * (story.ONBOARDING_MINUTES_MEAN * MINUTE_MS)
    gaps += delayed * hours * (story.ONBOARDING_DELAY_HOURS_MEAN * HOUR_MS)
    return sign_up_ms[:, None] + np.cumsum(gaps.astype(np.int64), axis=1)


def make_accounts(visitors: Visitors, before: int, calendar: Calendar, dice: Dice) -> Accounts:
    """Decide the life of every account: `before` from earlier days, the others from visitors."""
    old = visitors.count + np.arange(before)
    age = (dice.unit(Draw.ACCOUNT_AGE, old) * _ACCOUNT_AGE_DAYS_MAX * DAY_MS).astype(np.int64)
    found = [visitors.sign_ups(day) for day in range(calendar.days + 1)]
    person = np.concatenate([old, *(persons for persons, _ in found)])
    sign_up_ms = np.concatenate([calendar.start_ms - DAY_MS - age, *(times for _, times in found)])
    order = np.argsort(sign_up_ms, kind="stable")
    person, sign_up_ms = person[order], sign_up_ms[order]
    row = np.arange(len(person))
    is_old = person >= visitors.count

    reach = dice.unit(Draw.ONBOARDING, row)
    steps = (reach[:, None] < _REACHED).sum(axis=1)
    steps[is_old] = len(_REACHED)
    activated = steps == len(_REACHED)
    done_ms = step_times(dice, row, sign_up_ms)[:, -1]
    activated_ms = np.where(activated, done_ms, NEVER)

    subscription = _subscriptions(dice, calendar, row, activated_ms, is_old)
    since_ms = np.where(is_old, calendar.start_ms, sign_up_ms)
    leave_ms = _leave_times(dice, since_ms, activated, is_old, subscription)
    second_device, second_device_ms = _second_devices(dice, row, person, sign_up_ms, leave_ms)
    return Accounts(
        person=person,
        sign_up_ms=sign_up_ms,
        country=visitors.country(person).astype(np.int8),
        company_size=dice.pick(Draw.COMPANY_SIZE, row, _COMPANY_SIZE).astype(np.int8),
        steps=steps.astype(np.int8),
        activated_ms=activated_ms,
        power=dice.pick(Draw.POWER, row, _POWER).astype(np.float32),
        second_device=second_device,
        second_device_ms=second_device_ms,
        leave_ms=leave_ms,
        plan=subscription.plan,
        changed_plan=subscription.changed_plan,
        annual=subscription.annual,
        subscribed_ms=subscription.subscribed_ms,
        change_ms=subscription.change_ms,
        cancel_ms=subscription.cancel_ms,
        unpaid=subscription.unpaid,
    )


@dataclass
class _Subscriptions:
    """The columns of Accounts that are about money."""

    plan: npt.NDArray[np.int8]
    changed_plan: npt.NDArray[np.int8]
    annual: Flags
    subscribed_ms: Ints
    change_ms: Ints
    cancel_ms: Ints
    unpaid: Flags


def _subscriptions(
    dice: Dice, calendar: Calendar, row: Ints, activated_ms: Ints, is_old: Flags
) -> _Subscriptions:
    rate = np.where(is_old, story.PAYING_OF_CUSTOMERS_BEFORE, story.PAYING_OF_ACTIVATED)
    pays = (dice.unit(Draw.PAYS, row) < rate) & (activated_ms < NEVER)
    # At once means within a day; the others decide in the days before the trial ends.
    share = dice.unit(Draw.TRIAL_DAYS, row)
    at_once = dice.unit(Draw.TRIAL, row) < story.DECIDES_AT_ONCE
    trial_days = np.where(at_once, share, story.TRIAL_DAYS - 3.5 * share * share)
    decided_ms = activated_ms + (trial_days * DAY_MS).astype(np.int64)
    subscribed_ms = np.where(pays, decided_ms, NEVER)

    # What comes later waits from the demo's first day on: who pays then has not cancelled yet.
    since = np.maximum(subscribed_ms, calendar.start_ms)
    cancel_wait = waiting(dice, Draw.CANCEL_TIME, row, MONTH_MS / story.CANCELS_MONTHLY)
    change_wait = waiting(dice, Draw.CHANGE_TIME, row, MONTH_MS / story.CHANGES_PLAN_MONTHLY)
    plan = np.where(pays, dice.pick(Draw.PLAN, row, _PLAN), 0)
    upgrades = dice.unit(Draw.CHANGE_KIND, row) < story.CHANGE_IS_UPGRADE
    changed = np.where(upgrades, plan + 1, plan - 1)
    can_change = pays & (changed >= 1) & (changed <= len(story.PAID_PLANS))
    subscriptions = _Subscriptions(
        plan=plan.astype(np.int8),
        changed_plan=np.where(can_change, changed, plan).astype(np.int8),
        annual=dice.unit(Draw.ANNUAL, row) < story.ANNUAL_SHARE,
        subscribed_ms=subscribed_ms,
        change_ms=np.where(can_change, since + HOUR_MS + change_wait, NEVER),
        cancel_ms=np.where(pays, since + DAY_MS + cancel_wait, NEVER),
        unpaid=np.zeros(len(row), np.bool_),
    )
    _end_unpaid(dice, calendar, row, subscriptions)
    too_late = subscriptions.change_ms >= subscriptions.cancel_ms
    subscriptions.change_ms[too_late] = NEVER
    return subscriptions


def payment_attempts(
    dice: Dice, calendar: Calendar, row: Ints, number: Ints, due_ms: Ints
) -> tuple[Flags, Flags]:
    """Return whether the first attempt at each payment fails, and whether the second does, too.

    `number` counts a subscription's payments; the very first never fails, it made the customer.
    """
    outage_day = calendar.days - 1 - story.PAYMENT_OUTAGE_DAYS_AGO
    is_outage = (due_ms - calendar.start_ms) // DAY_MS == outage_day
    rate = np.where(is_outage, story.PAYMENT_OUTAGE_FAILURES, story.PAYMENT_FAILS)
    failed = (dice.unit(Draw.PAYMENT, row, number) < rate) & (number > 0)
    failed_twice = failed & (dice.unit(Draw.RETRY, row, number) < story.RETRY_FAILS)
    return failed, failed_twice


def _end_unpaid(dice: Dice, calendar: Calendar, row: Ints, subscriptions: _Subscriptions) -> None:
    """Cancel the subscriptions that end because a payment fails twice before they are cancelled."""
    paying = np.flatnonzero(subscriptions.subscribed_ms < calendar.end_ms)
    subscribed_ms = subscriptions.subscribed_ms[paying]
    period = np.where(subscriptions.annual[paying], 12 * MONTH_MS, MONTH_MS)
    first = np.maximum((calendar.start_ms - subscribed_ms) // period, 0)
    for turn in range(calendar.days * DAY_MS // MONTH_MS + 2):
        number = first + turn
        due_ms = subscribed_ms + number * period
        _, failed_twice = payment_attempts(dice, calendar, row[paying], number, due_ms)
        ends_ms = due_ms + story.PAYMENT_RETRY_DAYS * DAY_MS + HOUR_MS
        ends = failed_twice & (due_ms >= calendar.start_ms)
        ends &= ends_ms <= subscriptions.cancel_ms[paying]
        subscriptions.cancel_ms[paying[ends]] = ends_ms[ends]
        subscriptions.unpaid[paying[ends]] = True


def _leave_times(
    dice: Dice, since_ms: Ints, activated: Flags, is_old: Flags, subscriptions: _Subscriptions
) -> Ints:
    """Return when each account is last used; `since_ms` is when it began to be told about."""
    row = np.arange(len(since_ms))
    stays = (story.STAY_NOT_ACTIVATED, story.STAY_ACTIVATED, story.STAY_CUSTOMER_BEFORE)
    group = np.where(is_old, 2, activated.astype(np.int64))
    edges = np.array([np.cumsum(stay.shares) for stay in stays])[group]
    kind = (dice.unit(Draw.STAY_KIND, row)[:, None] >= edges[:, :2]).sum(axis=1)
    mean_days = np.array([stay.mean_days for stay in stays])[group, kind]
    wait = dice.pick(Draw.STAY_DAYS, row, EXPONENTIAL) * mean_days * DAY_MS
    leave_ms = since_ms + wait.astype(np.int64)
    # Who pays uses it until the end of the subscription; a few go on with the free plan.
    pays = subscriptions.subscribed_ms < NEVER
    goes_on = dice.unit(Draw.AFTER_CANCEL, row) < story.STAYS_AFTER_CANCELLING
    after_ms = np.where(goes_on, wait.astype(np.int64), 0) + HOUR_MS
    last_ms: Ints = np.where(pays, subscriptions.cancel_ms + after_ms, leave_ms)
    return last_ms


def _second_devices(
    dice: Dice, row: Ints, person: Ints, sign_up_ms: Ints, leave_ms: Ints
) -> tuple[Ints, Ints]:
    """Return each account's second device and when it is first used; a few are another's first."""
    wait = waiting(dice, Draw.DEVICE_TIME, row, story.SECOND_DEVICE_DAYS_MEAN * DAY_MS)
    first_ms = sign_up_ms + HOUR_MS + wait
    has_one = dice.unit(Draw.SECOND_DEVICE, row) < story.SECOND_DEVICE
    first_ms = np.where(has_one & (first_ms < leave_ms), first_ms, NEVER)
    bits = dice.bits(Draw.DEVICE_SHARED, row)
    # The other person signed up a few accounts earlier, so the device was in use before.
    other = np.maximum(row - 1 - (bits % np.uint64(16)).astype(np.int64), 0)
    shared = (unit(bits) < story.SHARED_DEVICE) & (other < row)
    return np.where(shared, person[other] * 2, person * 2 + 1), first_ms
