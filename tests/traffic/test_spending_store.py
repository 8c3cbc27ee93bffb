"""The purses in the database: rows that count once, whatever a batch of changes holds."""

from __future__ import annotations

import pytest

from tryage.traffic.spending import Bill, Charge, Purse, Spending

PURSE, OTHER = Purse("day", "ann", 0.0, 86_400.0), Purse("day", "bob", 0.0, 86_400.0)


def charge(name, purse=PURSE, usd=2.0):
    return Charge(purse, name, 10.0, usd, usd, (4.0, 2.0))


@pytest.fixture
def store(log):
    return log.spending._store


def test_a_purse_that_is_not_there_is_empty(store):
    assert store.apply([], [PURSE]) == ({PURSE: Spending()}, [])


def test_purses_are_returned_as_they_are_after_the_changes(store):
    changes = [charge("d1"), charge("d2", OTHER), Bill("d1", 3.0, 11.0)]
    found, early = store.apply(changes, [])
    assert found == {
        PURSE: Spending(3.0, 0.0, 1, (4.0, 2.0), 3.0, 2.0, 1),
        OTHER: Spending(2.0, 2.0, 1, (4.0, 2.0)),
    }
    assert early == []
    assert store.apply([], [PURSE, OTHER]) == (found, [])


def test_what_comes_again_changes_nothing(store):
    changes = [charge("d1"), Bill("d1", 3.0, 11.0)]
    first, _ = store.apply(changes, [])
    again, _ = store.apply([*changes, *changes, Bill("d1", 9.0, 12.0)], [])
    assert again == first


def test_of_two_bills_in_a_batch_the_first_one_counts(store):
    found, _ = store.apply([charge("d1"), Bill("d1", 3.0, 11.0), Bill("d1", 9.0, 12.0)], [])
    assert found[PURSE].spent == 3.0


def test_bills_without_a_charge_are_returned(store):
    bill = Bill("nobody", 1.0, 11.0)
    assert store.apply([bill], [PURSE]) == ({PURSE: Spending()}, [bill])


def test_more_changes_than_a_statement_takes_are_stored(store):
    changes = [charge(f"d{i}", usd=1.0) for i in range(1_200)]
    bills = [Bill(f"d{i}", 2.0, 11.0) for i in range(1_200)]
    found, early = store.apply([*changes, *bills], [])
    assert (found[PURSE].spent, found[PURSE].requests, early) == (2_400.0, 1_200, [])
