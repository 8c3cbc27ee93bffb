"""Which answers a store keeps, against hand-worked cases and an exhaustive rule."""

from __future__ import annotations

import pytest

from tryage.core.policy_change import CachedAnswer
from tryage.errors import InputError
from tryage.policies.answer_store import (
    AnswerStore,
    RequestUse,
    expected_saving,
    frequency,
    last_use,
)


def ask(store: AnswerStore, key: str, saving: float = 1.0) -> bool:
    """Ask once, and store the answer if there is none; return whether there was one."""
    is_hit = key in store
    store.count(key)
    if not is_hit:
        store.put(key, CachedAnswer("a", f"answer to {key}"), saving)
    return is_hit


def test_the_request_that_saves_least_goes_first() -> None:
    store = AnswerStore(2, expected_saving)
    for key, saving in [("dear", 10.0), ("cheap", 1.0), ("cheap", 1.0), ("middle", 5.0)]:
        ask(store, key, saving)
    assert set(store) == {"dear", "middle"}  # 10 and 5, against 2 x 1


def test_a_request_that_saves_less_than_all_others_is_not_stored() -> None:
    store = AnswerStore(1, expected_saving)
    ask(store, "dear", 10.0)
    store.count("cheap")
    assert store.put("cheap", CachedAnswer("a", ""), 1.0) is None
    assert list(store) == ["dear"]


def test_what_is_asked_again_and_again_is_stored_in_the_end() -> None:
    store = AnswerStore(1, expected_saving, half_life=1e6)
    ask(store, "dear", 2.5)
    assert [ask(store, "often") for _ in range(4)] == [False, False, False, True]


def test_last_use_drops_the_least_recently_used_as_lru_caches_do() -> None:
    store = AnswerStore(2, last_use)
    for key in ("a", "b", "a", "c"):
        ask(store, key)
    assert set(store) == {"a", "c"}


def test_frequency_drops_the_least_frequently_used() -> None:
    store = AnswerStore(2, frequency)
    for key in ("a", "a", "b", "b", "c"):
        ask(store, key)
    assert set(store) == {"a", "b"}


def test_an_old_habit_is_forgotten() -> None:
    store = AnswerStore(1, frequency, half_life=2.0)
    for _ in range(10):
        ask(store, "old")
    assert [ask(store, "new") for _ in range(4)] == [False, False, True, True]


@pytest.mark.parametrize("half_life", [1.3, 3.3, 1e9])
def test_the_kept_requests_are_those_of_an_exhaustive_search(half_life) -> None:
    store, counts, kept = AnswerStore(5, expected_saving, half_life), {}, {}
    for step in range(1, 3_000):
        key = (step * step * 7 + step // 13) % 23
        saving = 1.0 + key % 4
        counts = {k: c * 0.5 ** (1 / half_life) for k, c in counts.items()}
        counts[key] = counts.get(key, 0.0) + 1.0
        ask(store, key, saving)
        if key not in kept:
            if len(kept) < 5:
                kept[key] = saving
            else:
                victim = min(kept, key=lambda k: counts[k] * kept[k])
                if counts[key] * saving >= counts[victim] * kept[victim] * (1 + 1e-9):
                    del kept[victim]
                    kept[key] = saving
        if abs(half_life - 1e9) > 1:  # without ties
            assert set(store) == set(kept), step
    assert len(store) == 5


def test_the_memory_of_counts_is_bounded() -> None:
    store = AnswerStore(3)
    for i in range(10_000):
        ask(store, str(i))
    assert len(store) == 3
    assert len(store._counts) <= 8 * 3 + 3
    assert len(store._heap) <= 4 * 3 + 65


def test_a_function_of_the_user_decides_what_is_kept() -> None:
    store = AnswerStore(1, lambda use: -use.saving)
    ask(store, "dear", 9.0)
    ask(store, "cheap", 1.0)
    assert list(store) == ["cheap"]
    assert expected_saving(RequestUse(3.0, 2.0, 7)) == 6.0


@pytest.mark.parametrize("size", [0, -1, 1.5, None, True])
def test_a_size_below_one_is_refused(size) -> None:
    with pytest.raises(InputError, match="size"):
        AnswerStore(size)
