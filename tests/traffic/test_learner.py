"""What is learned is a function of the log: the order of rows counts, their division does not."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.errors import InputError
from tryage.perception.abilities import MAX_SURPRISE, Gaussian, LogGapLink
from tryage.traffic.learner import MIN_JUDGED, MIN_REGAINED, UNDO, Learner
from tryage.traffic.learner_state import LearnerState
from tryage.traffic.records import Event

KNOWN, NEW = "adder", "unheard-of"


@pytest.fixture
def library(learned):
    return Library([*learned.experts, NEW])


@pytest.fixture
def learner(learned, library):
    return Learner(learned, library)


@pytest.fixture
def mixed_rows(rows):
    """Two hundred rows about two known experts and a new one, of several kinds."""
    rng = np.random.default_rng(0)
    experts, kinds = (KNOWN, "coder", NEW), ("test", "judge", "thumb", "retry")
    return [
        rows(
            experts[rng.integers(3)],
            float(rng.random() < 0.6),
            kinds[rng.integers(4)],
            prompt=int(rng.integers(4)),
            topic=("sum", "code")[rng.integers(2)],
        )
        for _ in range(200)
    ]


def predicted(learner, perception, library):
    live = perception.replace()
    learner.apply(live)
    return live.for_library(library).predict(["sum word1", "poem word3"]).losses


# One row


def test_rows_give_the_exact_posterior_of_all_experts_and_what_they_share(learned, learner, rows):
    """One Gaussian of the common difference and of two abilities, by Bishop's (3.50) and (3.51)."""
    k, names, common = len(learned.abilities.prior.mean), (KNOWN, NEW), learner.state.common
    size = 3 * k
    mean, covariance = np.zeros(size), np.zeros((size, size))
    covariance[:k, :k] = common.covariance
    for j, name in enumerate(names, 1):
        own, block = learner.prior_ability(name), slice(j * k, (j + 1) * k)
        mean[block], covariance[block, block] = own.mean, own.covariance
    to_ability = {
        name: np.hstack([np.eye(k), *(np.eye(k) * (i == j) for i in range(2))])
        for j, name in enumerate(names)
    }
    for name, score, prompt in ((KNOWN, 0.0, 0), (NEW, 1.0, 1), (NEW, 0.0, 0), (KNOWN, 1.0, 2)):
        x = rows.positions[prompt].astype(np.float64) @ to_ability[name]
        y = np.array([[x @ mean]])
        noise = learned.link.outcome_variance(y, y, learned.abilities.noise).item()
        posterior = Gaussian(mean, covariance).posterior(
            x[None], np.array([1 - score]), noise, MAX_SURPRISE
        )
        mean, covariance = posterior.mean, posterior.covariance
        learner.update([rows(name, score, prompt=prompt)])
    for name in names:
        ability = learner.ability(name)
        np.testing.assert_allclose(ability.mean, to_ability[name] @ mean, atol=1e-9)
        expected = to_ability[name] @ covariance @ to_ability[name].T
        np.testing.assert_allclose(ability.covariance, expected, atol=1e-8)


def test_what_all_experts_do_worse_in_this_traffic_is_expected_of_the_others_too(learner, rows):
    before = learner.level("poet")[0]
    for _ in range(30):
        learner.update([rows(KNOWN, 0.0), rows("coder", 0.0), rows(NEW, 0.0)])
    assert learner.level("poet")[0] > before + 0.05


def test_good_news_lowers_and_bad_news_raises_the_loss_of_known_and_new_experts(
    learned, learner, library, rows
):
    before = predicted(learner, learned, library)
    learner.update([rows(KNOWN, 0.0), rows(NEW, 1.0)])
    after = predicted(learner, learned, library)
    known, new = library.index(KNOWN), library.index(NEW)
    assert after[0, known] > before[0, known]
    assert after[0, new] < before[0, new]


def test_experts_without_feedback_keep_their_differences_from_each_other(learned, learner, rows):
    live = learned.replace()
    learner.update([rows(KNOWN, 0.0)])
    learner.apply(live)
    others = [i for i, name in enumerate(learned.experts) if name != KNOWN]
    shift = live.abilities.means[others] - learned.abilities.means[others]
    np.testing.assert_allclose(shift, np.repeat(shift[:1], len(others), axis=0), atol=1e-5)
    np.testing.assert_array_equal(
        live.abilities.covariances[others], learned.abilities.covariances[others]
    )


def test_without_feedback_nothing_changes(learned, learner):
    live = learned.replace()
    learner.apply(live)
    assert live.abilities is learned.abilities
    assert live.observed_experts is learned.observed_experts


def test_a_check_counts_more_than_a_thumb_and_a_thumb_more_than_a_retry(learned, library, rows):
    moves = []
    for kind in ("test", "judge", "thumb", "retry"):
        learner = Learner(learned, library)
        before = learner.level(NEW)[0]
        learner.update([rows(NEW, 0.0, kind)])
        moves.append(learner.level(NEW)[0] - before)
    assert moves == sorted(moves, reverse=True)
    assert moves[-1] > 0


def test_the_level_is_as_good_as_the_plain_mean_after_three_hundred_answers(learned, library, rows):
    rng, errors = np.random.default_rng(1), []
    for _ in range(6):
        learner, scores = Learner(learned, library), (rng.random(300) < 0.3).astype(float)
        # One prompt, where the belief says nothing of how prompts differ.
        learner.update(
            [rows(NEW, float(score), prompt=int(i % 4)) for i, score in enumerate(scores)]
        )
        errors.append((learner.level(NEW)[0] - 0.7, (1 - scores).mean() - 0.7))
    model_error, mean_error = np.sqrt(np.mean(np.square(errors), axis=0))
    assert model_error < 1.3 * mean_error + 0.02


def test_real_valued_losses_are_learned_with_their_gaps_compressed(learned, library, rows):
    knots = np.array([0.0, 1.0, 5.0])
    perception = learned.replace(link=LogGapLink(0.5, knots, knots * 2, (0.0, 12.0)))
    learner = Learner(perception, library)
    before = learner.level(NEW)[0]
    learner.update([rows(NEW, 1.0 - loss) for loss in (4.0, 5.0, 6.0) * 5])
    assert before < learner.level(NEW)[0] < 6.0
    assert np.isfinite(learner.ability(NEW).mean).all()


# The order and the division of rows


def final_bytes(learner, rows, size):
    for start in range(0, len(rows), size):
        learner.update(rows[start : start + size])
    return learner.state.to_bytes()


def test_readers_of_different_batches_end_bit_for_bit_alike(learned, library, mixed_rows):
    states = {final_bytes(Learner(learned, library), mixed_rows, size) for size in (1, 7, 64, 200)}
    assert len(states) == 1


def test_ten_threads_end_bit_for_bit_where_one_does(learned, library, mixed_rows):
    found = []

    def work(size):
        found.append(final_bytes(Learner(learned, library), mixed_rows, size))

    threads = [threading.Thread(target=work, args=(1 + 3 * i,)) for i in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {final_bytes(Learner(learned, library), mixed_rows, 50)}


def send_bytes(connection, learner, rows, size):
    connection.send_bytes(final_bytes(learner, rows, size))


def test_processes_end_bit_for_bit_where_one_does(learned, library, mixed_rows):
    context, found = get_context("fork"), set()
    for size in (3, 40):
        here, there = context.Pipe()
        arguments = (there, Learner(learned, library), mixed_rows, size)
        process = context.Process(target=send_bytes, args=arguments)
        process.start()
        found.add(here.recv_bytes())
        process.join()
    assert found == {final_bytes(Learner(learned, library), mixed_rows, 50)}


def test_a_row_that_was_read_counts_once(learner, mixed_rows):
    once = final_bytes(learner, mixed_rows, 50)
    learner.update(mixed_rows[40:])
    assert learner.state.to_bytes() == once


def test_a_snapshot_continues_bit_for_bit(learned, library, mixed_rows):
    first, second = Learner(learned, library), Learner(learned, library)
    first.update(mixed_rows[:80])
    second.restore(LearnerState.from_bytes(first.state.to_bytes()))
    assert final_bytes(second, mixed_rows, 9) == final_bytes(first, mixed_rows, 50)


def test_an_undo_brings_back_an_earlier_state_and_learning_goes_on(learned, library, mixed_rows):
    def state_at(sequence):
        learner = Learner(learned, library)
        learner.update([row for row in mixed_rows if row.sequence <= sequence])
        return learner.state

    learner = Learner(learned, library)
    learner.update([*mixed_rows, Event(201, "e", 0.0, UNDO, {"sequence": 120})], state_at)
    expected = state_at(120)
    expected.sequence = 201
    assert learner.state.to_bytes() == expected.to_bytes()


# Rows that cannot teach


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"decision": None}, "decision is not in the log"),
        ({"expert": "nobody"}, "unknown expert"),
    ],
)
def test_a_row_that_cannot_teach_is_counted(learner, rows, change, reason):
    learner.update([replace(rows(KNOWN, 0.0), **change)])
    assert learner.state.skipped == {reason: 1}
    assert not learner.has_learned


@pytest.mark.parametrize(
    "position", [None, np.ones(2, np.float32), np.full(50, np.nan, np.float32)]
)
def test_a_row_without_a_position_of_this_router_is_counted(learner, rows, position):
    learner.update([rows(KNOWN, 0.0, position=position)])
    assert learner.state.skipped == {"no position": 1}


def test_a_row_of_another_router_is_counted(learned, library, rows):
    learner = Learner(learned, library, router="mine")
    learner.update([rows(KNOWN, 0.0)])
    assert learner.state.skipped == {"decision of another router": 1}


def test_feedback_about_an_alias_is_about_the_expert(learned, library, rows):
    learner = Learner(learned, library, aliases={"azure/adder": KNOWN})
    learner.update([rows("azure/adder", 0.0)])
    assert list(learner.state.beliefs) == [KNOWN]


# Changes of an expert


@pytest.fixture
def broken(learner, rows):
    """A learner of an expert that was good for 200 answers, and fails since."""
    rng = np.random.default_rng(3)
    learner.update([rows(NEW, float(rng.random() < 0.8)) for _ in range(200)])
    alarms, count = [], 0
    while not alarms:
        alarms, count = learner.update([rows(NEW, 0.0)]), count + 1
    return learner, alarms, count


def test_a_broken_expert_is_noticed_within_forty_failures_and_told(broken):
    _, (alarm,), count = broken
    assert count <= 40
    assert (alarm.kind, alarm.expert, alarm.direction) == ("drift", NEW, "worse")
    assert alarm.message == f"{NEW} has become worse."


def test_an_alarm_widens_the_belief(broken, rows):
    learner, _, _ = broken
    assert learner.level(NEW)[1] > 0.1
    learner.update([rows(NEW, 0.0) for _ in range(5)])
    assert learner.level(NEW)[0] > 0.75


def test_an_expert_under_suspicion_gets_a_small_share_until_it_is_well(broken, rows):
    learner, _, _ = broken
    assert learner.probes(KNOWN, choice=KNOWN) == {NEW: 0.01}
    assert learner.probes(KNOWN, choice=NEW) == {KNOWN: 0.01}
    learner.update([rows(NEW, 0.0) for _ in range(20)])
    alarms = learner.update([rows(NEW, float(i % 5 > 0)) for i in range(4 * MIN_REGAINED)])
    assert [alarm.message for alarm in alarms] == [f"{NEW} is as good again as it was before."]
    assert learner.level(NEW, rows.positions[0])[0] < 0.4
    assert learner.probes(KNOWN, choice=KNOWN) == {}


def test_an_expert_that_is_well_again_is_known_as_well_as_before(learner, rows):
    learner.update([rows(NEW, float(i % 5 > 0)) for i in range(300)])
    before = learner.ability(NEW)
    learner.update([rows(NEW, 0.0) for _ in range(40)])
    assert NEW in learner.state.suspects
    while NEW in learner.state.suspects:
        alarms = learner.update([rows(NEW, 1.0)])
    assert [alarm.direction for alarm in alarms] == ["recovered"]
    x, after = rows.positions[0].astype(np.float64), learner.ability(NEW)
    assert x @ after.mean == pytest.approx(x @ before.mean, abs=0.05)
    variance_before, variance = (x @ one.covariance @ x for one in (before, after))
    assert variance < variance_before + 0.06**2


def test_an_expert_that_failed_ten_times_by_chance_gets_a_second_chance(learner, rows):
    learner.update([rows(NEW, 0.0) for _ in range(10)])
    assert learner.probes(None, choice=KNOWN) == {NEW: 0.01}
    assert learner.probes(None, choice=NEW) == {}
    learner.update([rows(NEW, 0.0) for _ in range(MIN_JUDGED)])
    assert learner.probes(None, choice=KNOWN) == {}


def test_a_second_chance_takes_nothing_from_an_expert_that_became_worse(broken, rows):
    learner, _, _ = broken
    learner.update([rows(KNOWN, 0.0) for _ in range(10)])
    assert learner.state.unlucky == {KNOWN}
    assert learner.probes(None, choice="coder") == {NEW: 0.01}


def test_an_expert_that_fails_as_often_as_expected_gets_no_second_chance(learner, rows):
    learner.update([rows(NEW, float(i % 2)) for i in range(10)])
    assert learner.probes(None, choice=KNOWN) == {}


def test_a_probe_has_the_name_that_the_library_uses(learned, rows):
    library = Library([Expert("my-adder", aliases=(KNOWN,)), NEW])
    learner, rng = Learner(learned, library), np.random.default_rng(3)
    learner.update([rows("my-adder", float(rng.random() < 0.8)) for _ in range(100)])
    learner.update([rows("my-adder", 0.0) for _ in range(60)])
    assert learner.probes(None, choice=NEW) == {"my-adder": 0.01}
    assert learner.probes(None, choice="my-adder") == {}


def test_one_sided_signals_never_alarm(learner, rows):
    learner.update([rows(NEW, 1.0) for _ in range(100)])
    assert learner.update([rows(NEW, 0.0, "retry") for _ in range(300)]) == []


def test_a_thousand_retries_say_no_more_than_their_ratio(learner, rows):
    first, _ = learner.level(NEW)
    learner.update([rows(NEW, 0.0, "retry", prompt=i % 4) for i in range(1000)])
    bound = 3 * first / (3 * first + 1 - first)
    assert first < learner.level(NEW)[0] < bound + 0.1


def test_an_undo_without_what_was_known_is_refused(learner):
    with pytest.raises(InputError, match="pass rewind"):
        learner.update([Event(1, "e", 0.0, UNDO, {"sequence": 0})])


# Harm


def test_an_answer_in_place_of_another_expert_says_nothing_of_harm(learner, rows):
    for _ in range(100):
        row = rows("coder", 0.0, frozen_choice=KNOWN, propensity=0.5)
        learner.update([replace(row, expert=KNOWN)])
    assert learner.state.guard.count == 0


def test_learning_that_loses_to_the_frozen_router_is_rolled_back(learned, learner, rows):
    """The frozen router chose KNOWN, which is right; learning has led to another one."""
    rng, alarms = np.random.default_rng(5), []
    for _ in range(2000):
        is_probe = rng.random() < 0.1
        candidates, chances = ("coder", KNOWN), (0.9, 0.1)
        alarms += learner.update(
            [
                rows(
                    KNOWN if is_probe else "coder",
                    float(rng.random() < (0.9 if is_probe else 0.4)),
                    frozen_choice=KNOWN,
                    propensity=0.1 if is_probe else 0.9,
                    candidates=candidates,
                    propensities=chances,
                )
            ]
        )
        if any(alarm.kind == "rollback" for alarm in alarms):
            break
    assert alarms[-1].kind == "rollback"
    assert not learner.has_learned
    live = learned.replace()
    learner.apply(live)
    np.testing.assert_array_equal(live.abilities.means, learned.abilities.means)


def test_an_ability_of_float32_is_learned_in_float64(learner, rows):
    learner.update([rows(KNOWN, 0.0)])
    ability = learner.ability(KNOWN)
    assert isinstance(ability, Gaussian)
    assert ability.mean.dtype == np.float64


def test_probes_are_found_while_another_thread_learns(learned):
    """A router asks for them in each decision, and the log is read in the background."""
    learner = Learner(learned, Library(learned.experts))
    suspects, is_over = learner.state.suspects, threading.Event()

    def learn():
        while not is_over.is_set():
            for i in range(50):
                suspects[f"expert {i}"] = None
            for i in range(50):
                del suspects[f"expert {i}"]

    thread, interval = threading.Thread(target=learn), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for _ in range(1_000):
            learner.probes(None, choice=KNOWN)
            assert not learner.has_learned
    finally:
        is_over.set()
        thread.join()
        sys.setswitchinterval(interval)
