"""The sample company is believable: coherent histories and curves like a real company's."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime

import pytest

DAY_MS = 86_400_000
SETTLED_MS = 20 * DAY_MS  # who came so long ago has had the time for the next step


def ms(item) -> int:
    return round(datetime.fromisoformat(item["timestamp"]).timestamp() * 1000)


def by_user(items):
    histories = defaultdict(list)
    for item in items:
        if "userId" in item:
            histories[item["userId"]].append(item)
    return histories


def is_sign_up(history) -> bool:
    """Whether the account was opened during the demo, not before it."""
    return not history[0]["messageId"].startswith("import_")


def first_time(history, event):
    return next((ms(item) for item in history if item.get("event") == event), None)


@pytest.fixture(scope="module")
def histories(company):
    return by_user(company)


@pytest.fixture(scope="module")
def end_ms(company):
    return ms(company[-1])


# --- coherence --------------------------------------------------------------------------------


def test_events_come_in_order_and_never_from_the_future(company, end_ms):
    """Items are ordered by time, and the last day is filled as far as it has got."""
    times = [item["timestamp"] for item in company]
    assert times == sorted(times)
    assert end_ms % DAY_MS == pytest.approx(15.5 * 3_600_000, abs=10 * 60_000)


def test_message_ids_differ(company):
    """No two items share a messageId, so all of them count."""
    assert len({item["messageId"] for item in company}) == len(company)


def test_accounts_begin_with_signing_up(histories):
    """A user is first identified: as an old customer by import, else on signing up."""
    for history in histories.values():
        first = history[0]
        assert first["type"] == "identify"
        if not is_sign_up(history):
            assert "Signed Up" not in [item.get("event") for item in history]
            assert ms(first) > ms({"timestamp": first["traits"]["signed_up_at"]})
        else:
            assert first["traits"]["signed_up_at"] == first["timestamp"]
            assert history[1]["event"] == "Signed Up"
            assert [item.get("event") for item in history].count("Signed Up") == 1


def test_backend_events_name_no_device(company):
    """Money comes from a backend: no anonymousId, the provider's id; all else from a browser."""
    for item in company:
        is_money = item.get("event", "").startswith(("Payment", "Subscription"))
        if is_money:
            assert "anonymousId" not in item
            assert item["messageId"].startswith("pe_")
            assert item["context"] == {"library": {"name": "@saytics/node", "version": "0.1.0"}}
        elif "event" in item:
            assert "anonymousId" in item
            assert "userAgent" in item["context"]


def test_money_flows_only_while_a_subscription_runs(histories):
    """Nobody new pays before subscribing or after cancelling, and nobody cancels twice."""
    for history in histories.values():
        plan = history[0]["traits"]["plan"]
        running = plan != "free"
        for item in history:
            event = item.get("event", "")
            if event == "Subscription Started":
                assert not running
                running, plan = True, item["properties"]["plan"]
            elif event in ("Subscription Upgraded", "Subscription Downgraded"):
                assert running
                assert item["properties"]["previous_plan"] == plan
                plan = item["properties"]["plan"]
                assert (item["properties"]["mrr_change"] > 0) == event.endswith("Upgraded")
            elif event == "Subscription Cancelled":
                assert running
                assert item["properties"]["plan"] == plan
                running = False
            elif event in ("Payment Succeeded", "Payment Failed"):
                assert running


def test_refunds_follow_their_payment_and_stay_below_it(company):
    """A refund names an earlier payment of the same user, not refunded yet, and gives no more."""
    payments = {}
    refunds = 0
    for item in company:
        if item.get("event") == "Payment Succeeded":
            payments[item["properties"]["payment_id"]] = item
        elif item.get("event") == "Payment Refunded":
            refund = item["properties"]
            payment = payments.pop(refund["payment_id"])
            assert payment["userId"] == item["userId"]
            assert ms(payment) < ms(item)
            assert 0 < refund["amount"] <= payment["properties"]["amount"]
            assert refund["full"] == (refund["amount"] == payment["properties"]["amount"])
            assert refund["currency"] == payment["properties"]["currency"]
            refunds += 1
    assert refunds > 5


def test_failed_payments_are_tried_again_once(histories, end_ms):
    """A failed payment is tried again three days later; failing twice ends the subscription."""
    retries = 0
    for history in histories.values():
        attempts = defaultdict(list)
        for item in history:
            if item.get("event") in ("Payment Succeeded", "Payment Failed"):
                attempts[item["properties"]["payment_id"]].append(item)
        for tries in attempts.values():
            assert len(tries) <= 2
            if len(tries) == 2:
                assert tries[0]["properties"]["attempt"] == 1
                assert ms(tries[1]) - ms(tries[0]) == 3 * DAY_MS
                retries += 1
            if tries[-1]["event"] == "Payment Failed" and ms(tries[-1]) < end_ms - 4 * DAY_MS:
                assert first_time(history, "Subscription Cancelled") > ms(tries[-1])
    assert retries > 20


def test_traits_follow_the_plan(histories):
    """After a change of subscription the trait `plan` says so; cancelling removes `mrr`."""
    changes = 0
    for history in histories.values():
        for place, item in enumerate(history):
            if not item.get("event", "").startswith("Subscription"):
                continue
            said = {name: item["properties"][name] for name in ("billing_cycle", "mrr", "plan")}
            if item["event"] == "Subscription Cancelled":
                said = {"billing_cycle": None, "mrr": None, "plan": "free"}
            later = (i["traits"] for i in history[place:] if "plan" in i.get("traits", {}))
            # The demo may end between the two.
            assert next(later, said) == said
            changes += 1
    assert changes > 100


def test_some_people_use_several_devices_and_a_few_share_one(company):
    """Users have up to two devices; a few devices have two users, the second one later."""
    users_of, devices_of = defaultdict(list), defaultdict(set)
    for item in company:
        if "userId" in item and "anonymousId" in item:
            devices_of[item["userId"]].add(item["anonymousId"])
            if item["userId"] not in users_of[item["anonymousId"]]:
                users_of[item["anonymousId"]].append(item["userId"])
    counts = Counter(len(devices) for devices in devices_of.values())
    assert set(counts) == {1, 2}
    assert 0.1 < counts[2] / sum(counts.values()) < 0.5
    shared = [users for users in users_of.values() if len(users) > 1]
    assert 3 < len(shared) < 0.03 * len(devices_of)


# --- proportions ------------------------------------------------------------------------------


def test_the_funnel_is_plausible(company, histories, end_ms):
    """Of visitors 5-15 % sign up, of those about 45 % activate, of those about 20 % pay."""
    visitors = {}
    for item in company:
        if "userId" not in item:
            visitors.setdefault(item["anonymousId"], ms(item))
    signed_up = {
        history[1]["anonymousId"]: history for history in histories.values() if is_sign_up(history)
    }
    settled = [who for who, since in visitors.items() if since < end_ms - SETTLED_MS]
    accounts = [signed_up[who] for who in settled if who in signed_up]
    assert 0.05 < len(accounts) / len(settled) < 0.15

    accounts = [history for history in accounts if ms(history[0]) < end_ms - SETTLED_MS]
    activated = [a for a in accounts if first_time(a, "Onboarding Completed")]
    assert len(activated) / len(accounts) == pytest.approx(0.45, abs=0.05)

    old = [a for a in activated if first_time(a, "Onboarding Completed") < end_ms - SETTLED_MS]
    paying = [a for a in old if first_time(a, "Subscription Started")]
    assert len(paying) / len(old) == pytest.approx(0.2, abs=0.05)


def test_onboarding_loses_people_step_by_step(histories):
    """Each step of the onboarding is done by fewer people than the one before, in order."""
    reached = Counter()
    for history in histories.values():
        steps = [
            item["properties"]["step"]
            for item in history
            if item.get("event") == "Onboarding Step Completed"
        ]
        assert steps == list(range(1, len(steps) + 1))
        reached.update(steps)
    assert reached[1] > 1.1 * reached[2] > 1.2 * reached[3] > 1.2 * reached[4] > 0


def test_retention_decays_to_a_plateau(histories, end_ms):
    """Weekly retention of sign-ups falls fast at first and hardly after two months."""
    weeks = 9
    active, size = Counter(), 0
    for history in histories.values():
        start = ms(history[0])
        if is_sign_up(history) and start < end_ms - weeks * 7 * DAY_MS:
            size += 1
            active.update({(ms(item) - start) // (7 * DAY_MS) for item in history[1:]})
    share = {week: active[week] / size for week in range(weeks)}
    assert share[0] == 1.0
    assert 0.35 < share[1] < 0.65
    assert share[1] > share[2] > share[4] > share[8]
    assert share[8] / share[6] > 0.88
    assert 0.18 < share[8] < 0.45


def test_churn_is_about_four_per_cent_a_month(histories, end_ms, company):
    """Of the subscriptions that run, about 4 % are cancelled per month."""
    start_ms, running_ms, cancelled = ms(company[0]), 0, 0
    for history in histories.values():
        since = first_time(history, "Subscription Started")
        if since is None and history[0]["traits"].get("plan") not in (None, "free"):
            since = start_ms
        if since is None:
            continue
        until = first_time(history, "Subscription Cancelled")
        cancelled += until is not None
        running_ms += (until or end_ms) - since
    assert 0.03 < cancelled / (running_ms / (30.4 * DAY_MS)) < 0.055


def test_a_few_people_do_a_lot(histories):
    """The busiest 1 % of users do 5-20 % of what users do."""
    counts = sorted((len(history) for history in histories.values()), reverse=True)
    assert 0.05 < sum(counts[: len(counts) // 100]) / sum(counts) < 0.2


def test_weeks_days_and_growth_have_their_rhythm(company):
    """Work rests at night and at week-ends, by the local clock, and visits grow."""
    german_hours, weekdays, weeks = Counter(), Counter(), Counter()
    start_ms = ms(company[0])
    for item in company:
        if "event" not in item or "userAgent" not in item["context"]:
            continue
        when = datetime.fromisoformat(item["timestamp"])
        if "userId" in item:
            weekdays[when.weekday()] += 1
            if item["context"]["locale"] == "de-DE" and when.month == 11:
                german_hours[(when.hour + 1) % 24] += 1
        elif item["event"] == "Session Started":
            weeks[(ms(item) - start_ms) // (7 * DAY_MS)] += 1
    night = sum(german_hours[hour] for hour in range(6))
    work = sum(german_hours[hour] for hour in range(9, 18))
    assert night < 0.03 * work
    assert weekdays[6] < 0.45 * weekdays[1]
    assert weeks[11] > weeks[1]


def test_properties_have_every_shape(company):
    """Among the properties are texts, numbers, booleans, arrays, nested objects and non-ASCII."""
    seen = set()
    texts = set()
    for item in company:
        for value in item.get("properties", {}).values():
            seen.add(type(value))
            if isinstance(value, list):
                texts.update(value)
    assert seen == {str, int, float, bool, list, dict}
    assert "später" in texts
