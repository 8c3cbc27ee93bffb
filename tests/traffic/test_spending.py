"""What budgets have spent: each charge and each bill counts once, in whichever process."""

from __future__ import annotations

import copy
import pickle
import tracemalloc

import pytest

from tryage.errors import TrafficError
from tryage.traffic.spending import BILL_SECONDS, Bill, Charge, Purse, Spending, SpendingLedger

PURSE = Purse("day", "ann", 0.0, 86_400.0)


def charge(name, usd=2.0, purse=PURSE, costs=(4.0, 2.0)):
    return Charge(purse, name, 10.0, usd, usd, costs)


def bill(name, usd, time=11.0):
    return Bill(name, usd, time)


@pytest.fixture
def ledger():
    return SpendingLedger()


@pytest.fixture
def open_ledger(open_log, url):
    """Open the ledger of another process."""
    return lambda: open_log(url, flush_interval=60.0).spending


def test_a_charge_is_reserved_until_its_bill(ledger):
    ledger.charge(charge("d1"))
    ledger.charge(charge("d2"))
    assert ledger.view(PURSE) == Spending(4.0, 4.0, 2, (8.0, 4.0))
    ledger.bill(bill("d1", 3.0))
    assert ledger.view(PURSE) == Spending(5.0, 2.0, 2, (8.0, 4.0), 3.0, 2.0, 1)


def test_each_counts_once(ledger):
    for _ in range(2):
        ledger.charge(charge("d1"))
        ledger.bill(bill("d1", 3.0))
    ledger.bill(bill("d1", 9.0))
    assert ledger.view(PURSE).spent == 3.0
    assert ledger.view(PURSE).requests == 1


def test_a_charge_that_is_never_billed_keeps_none_of_its_costs_at_all_prices(ledger):
    tracemalloc.start()
    for i in range(500):
        ledger.charge(charge(f"d{i}", costs=tuple(i + one / 7 for one in range(122))))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 1_000_000  # the costs alone are 2 MB
    ledger.bill(bill("d1", 3.0))
    assert ledger.view(PURSE).spent == 2.0 * 499 + 3.0


def test_a_decision_is_paid_from_each_budget(ledger):
    other = Purse("month", "", 0.0)
    ledger.charge(charge("d1"))
    ledger.charge(charge("d1", 2.5, other))
    ledger.bill(bill("d1", 3.0))
    assert (ledger.view(PURSE).spent, ledger.view(other).spent) == (3.0, 3.0)


def test_old_bills_count_less_than_new_ones():
    old = Spending(billed=100.0, expected=50.0, bills=100)
    both = old.plus(Spending(billed=100.0, expected=100.0, bills=100))
    assert (both.billed, both.expected) == (150.0, 125.0)


def test_a_copy_and_a_pickle_start_anew(ledger):
    ledger.charge(charge("d1"))
    for other in (copy.deepcopy(ledger), pickle.loads(pickle.dumps(ledger))):  # noqa: S301 - our own
        assert other.view(PURSE) == Spending()


def test_processes_share_what_they_spend(open_ledger):
    first, second = open_ledger(), open_ledger()
    first.charge(charge("d1"))
    second.charge(charge("d2", 5.0))
    assert (first.view(PURSE).spent, second.view(PURSE).spent) == (2.0, 5.0)
    first.sync()
    second.sync()
    assert first.read(PURSE) == second.view(PURSE) == Spending(7.0, 7.0, 2, (8.0, 4.0))


def test_a_bill_from_another_process_replaces_the_charge(open_ledger):
    first, second = open_ledger(), open_ledger()
    first.charge(charge("d1"))
    first.sync()
    second.bill(bill("d1", 3.0))
    first.bill(bill("d1", 4.0))
    second.sync()
    first.sync()
    assert first.read(PURSE) == second.read(PURSE)
    assert first.view(PURSE).spent == 3.0


def test_a_bill_that_is_faster_than_its_charge_waits_for_it(open_ledger):
    now = 100.0
    first, second = open_ledger(), open_ledger()
    second._clock = lambda: now
    second.bill(bill("d1", 3.0, now))
    second.sync()
    first.charge(charge("d1"))
    first.sync()
    assert first.read(PURSE).spent == 2.0
    now += BILL_SECONDS - 1
    second.sync()
    assert first.read(PURSE).spent == 3.0


def test_a_bill_without_a_charge_is_forgotten_after_a_minute(open_ledger):
    now = 100.0
    ledger = open_ledger()
    ledger._clock = lambda: now
    ledger.bill(bill("nobody", 3.0, now))
    ledger.sync()
    assert ledger._waiting
    now += BILL_SECONDS + 1
    ledger.sync()
    assert not ledger._waiting


def test_a_restart_finds_what_was_spent(open_log, url):
    with open_log(url) as log:
        log.spending.charge(charge("d1"))
        log.spending.charge(charge("d2"))
        log.spending.bill(bill("d2", 1.0))
    restarted = open_log(url).spending
    restarted.charge(charge("d1"))
    assert restarted.read(PURSE) == Spending(3.0, 2.0, 2, (8.0, 4.0), 1.0, 2.0, 1)


def test_a_store_that_fails_loses_nothing(open_ledger, monkeypatch):
    ledger = open_ledger()
    apply = ledger._store.apply
    ledger.charge(charge("d1"))

    def fail(*_):
        raise TrafficError("down")

    monkeypatch.setattr(ledger._store, "apply", fail)
    with pytest.raises(TrafficError):
        ledger.sync()
    ledger.bill(bill("d1", 3.0))
    assert ledger.view(PURSE).spent == 3.0
    monkeypatch.setattr(ledger._store, "apply", apply)
    assert ledger.read(PURSE) == Spending(3.0, 0.0, 1, (4.0, 2.0), 3.0, 2.0, 1)


def test_what_waits_is_stored_in_the_background(open_log, url):
    log = open_log(url)
    log.spending.charge(charge("d1"))
    assert log.flush()
    assert open_log(url).spending.read(PURSE).spent == 2.0


def test_an_old_view_asks_for_a_new_one(open_log, url):
    log, other = open_log(url), open_log(url).spending
    assert log.spending.view(PURSE).spent == 0.0
    assert log.flush()
    other.charge(charge("d1"))
    other.sync()
    log.spending._clock = lambda: 1e12
    assert log.spending.view(PURSE).spent == 0.0  # it does not wait
    assert log.flush()
    assert log.spending.view(PURSE).spent == 2.0


def test_a_clock_that_is_set_back_hides_nothing_that_others_spend(open_log, url):
    log, other = open_log(url), open_log(url).spending
    log.spending._clock = lambda: 1e12
    assert log.spending.read(PURSE).spent == 0.0
    log.spending._clock = lambda: 1e9
    other.charge(charge("d1"))
    other.sync()
    log.spending.view(PURSE)
    assert log.flush()
    assert log.spending.view(PURSE).spent == 2.0


def test_a_bill_of_a_clock_that_was_ahead_does_not_wait_for_ever(open_ledger):
    ledger = open_ledger()
    ledger._clock = lambda: 1_000.0
    ledger.bill(bill("nobody", 3.0, 1_000.0 + 86_400.0))
    ledger.sync()
    assert not ledger._waiting


def test_a_fork_leaves_what_waits_to_its_parent(open_ledger, finishes_in_child):
    ledger = open_ledger()
    ledger.charge(charge("d1"))

    def spend():
        assert ledger.read(PURSE).spent == 0.0
        ledger.charge(charge("d2", 5.0))
        ledger.sync()

    assert finishes_in_child(spend)
    assert ledger.read(PURSE).spent == 7.0


def test_pruning_leaves_the_period_that_goes_on(open_log, url):
    log = open_log(url)
    endless = Purse("average", "ann", 0.0)
    log.spending.charge(charge("d1"))
    log.spending.charge(charge("d2", purse=endless))
    assert log.flush()
    assert log.prune(days=1, key="bob") == {}
    assert log.prune(days=1) == {"charges": 2, "purses": 1}
    assert open_log(url).spending.read(endless).spent == 2.0
    assert log.prune(days=1, key="ann") == {"purses": 1}
    assert open_log(url).spending.read(endless).spent == 0.0
