"""The test for changes: its false alarms are as rare as its threshold says, and it is quick."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.traffic.drift import (
    MIN_BASELINE,
    NO_EVIDENCE,
    REQUESTS_PER_FALSE_ALARM,
    DriftDetector,
    DriftProcess,
    ExpectedLoss,
)


def expected(mean, std=0.0):
    return ExpectedLoss(mean, std, 0.0, 1.0)


def losses_until_alarm(detector, losses, mean, *, kind="code"):
    for i, loss in enumerate(losses):
        found = detector.update("a", kind, float(loss), expected(mean))
        if found is not None:
            return i + 1, found
    return None, None


def after_baseline(bound=0.4):
    """A process whose losses so far were as expected."""
    bounds = np.array([bound, 1.1 - bound]) * MIN_BASELINE
    return DriftProcess(NO_EVIDENCE.evidence, bounds, 0.0, MIN_BASELINE)


def test_evidence_is_the_process_of_shiryaev_and_roberts_by_hand():
    """One failure where .35 is expected: bound .4, stakes .5, 1.25, 2.25 times .6."""
    process = after_baseline().update(1.0, expected(0.35))
    np.testing.assert_allclose(process.evidence[0], [1 + 0.3, 1 + 0.75, 1 + 1.35])
    # The surprise of .65 in 51 losses raises the next bound.
    bound = 0.4 + 0.65 / 51
    stakes = np.array([0.2, 0.5, 0.9]) * 52 / (0.4 * 51 + bound)
    second = process.update(0.0, expected(0.35))
    np.testing.assert_allclose(second.evidence[0], (process.evidence[0] + 1) * (1 - stakes * bound))


def test_the_expectation_of_the_evidence_is_at_most_the_count_at_the_bound():
    """That is what makes alarms rare (Shin, Ramdas and Rinaldo, 2024): E[M_n] <= n."""
    rng, n = np.random.default_rng(0), 20
    found = []
    for _ in range(1000):
        process = after_baseline()
        for mean in rng.choice([0.1, 0.5], size=n):
            # The worst case that is no change: the mean of a loss is at its bound.
            process = process.update(float(rng.random() < mean + 0.05), expected(float(mean)))
        found.append(process.evidence.mean(axis=1))
    mean, error = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(len(found))
    assert (mean <= n + 3 * error).all()


def test_a_prediction_that_was_always_wrong_is_no_change():
    rng = np.random.default_rng(6)
    assert losses_until_alarm(DriftDetector(), rng.random(2_000) < 0.7, 0.2) == (None, None)


def test_the_first_losses_are_a_baseline():
    detector = DriftDetector()
    assert losses_until_alarm(detector, np.ones(MIN_BASELINE), 0.3) == (None, None)
    assert not detector.processes["a", None].evidence.any()


def test_the_default_is_one_false_alarm_a_year_at_ten_thousand_requests_a_day():
    assert DriftDetector().threshold == 4 * 10_000 * 365
    assert REQUESTS_PER_FALSE_ALARM == 3_650_000


@pytest.mark.parametrize("mean", [0.05, 0.3, 0.6])
def test_a_long_quiet_time_gives_no_alarm(mean):
    rng = np.random.default_rng(1)
    assert losses_until_alarm(DriftDetector(), rng.random(2_000) < mean, mean) == (None, None)


@pytest.mark.parametrize(("mean", "most"), [(0.05, 20), (0.3, 30), (0.5, 50), (0.6, 80)])
def test_an_expert_that_always_fails_is_noticed_soon(mean, most):
    rng, detector = np.random.default_rng(2), DriftDetector()
    losses_until_alarm(detector, rng.random(500) < mean, mean)
    count, (direction, kind) = losses_until_alarm(detector, np.ones(200), mean)
    assert count <= most
    assert (direction, kind) == ("worse", None)


def test_an_expert_that_is_well_again_is_noticed_soon():
    rng, detector = np.random.default_rng(3), DriftDetector()
    losses_until_alarm(detector, rng.random(100) < 0.95, 0.95)
    count, (direction, _) = losses_until_alarm(detector, rng.random(200) < 0.3, 0.95)
    assert count <= 40
    assert direction == "better"


def test_a_change_on_one_kind_of_prompts_is_told_with_the_kind():
    rng, detector = np.random.default_rng(4), DriftDetector()
    found = None
    for i in range(3000):
        kind = "poem" if i % 10 == 0 else "code"
        is_broken = kind == "poem" and i > 1000
        loss = float(is_broken or rng.random() < 0.3)
        found = found or detector.update("a", kind, loss, expected(0.3))
    assert found == ("worse", "poem")


def test_an_alarm_starts_the_test_again():
    rng, detector = np.random.default_rng(7), DriftDetector()
    losses_until_alarm(detector, rng.random(100) < 0.3, 0.3)
    assert losses_until_alarm(detector, np.ones(200), 0.3)[0] is not None
    assert detector.processes == {}


def test_what_is_uncertain_is_no_change():
    detector = DriftDetector()
    for loss in np.random.default_rng(5).random(2000) < 0.6:
        assert detector.update("a", None, float(loss), expected(0.3, std=0.3)) is None


def test_real_valued_losses_count_by_their_range():
    detector, found = DriftDetector(), None
    for i in range(300):
        loss = 3.0 if i < 100 else 12.0
        found = found or detector.update("a", None, loss, ExpectedLoss(3.0, 0.0, 0.0, 12.0))
    assert found == ("worse", None)


def test_losses_and_predictions_outside_of_the_range_keep_the_evidence_finite():
    detector = DriftDetector()
    for loss, mean in [(-1.0, 2.0), (5.0, -3.0), (0.5, 9.0)] * 40:
        detector.update("a", None, loss, expected(mean))
        for process in detector.processes.values():
            assert np.isfinite(process.evidence).all()
