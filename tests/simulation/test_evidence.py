"""Simulated evidence has the strength that is asked for, and is calibrated."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.errors import InputError
from tryage.simulation.evidence import simulated_evidence

LOSSES = np.repeat([[0.0], [1.0]], 20_000, axis=0)


@pytest.mark.parametrize("auc", [0.5, 0.7, 0.95])
def test_the_area_under_the_curve_is_as_asked(auc):
    metrics = pytest.importorskip("sklearn.metrics")
    evidence = simulated_evidence(LOSSES, auc)
    assert metrics.roc_auc_score(1 - LOSSES[:, 0], evidence[:, 0]) == pytest.approx(auc, abs=0.01)


def test_of_answers_with_evidence_of_seven_tenths_seven_in_ten_are_right():
    evidence = simulated_evidence(LOSSES, 0.8)
    near = abs(evidence - 0.7) < 0.05
    assert 1 - LOSSES[near].mean() == pytest.approx(0.7, abs=0.02)


def test_a_partly_right_answer_is_right_as_often_as_its_score_says():
    half = simulated_evidence(np.full((20_000, 1), 0.5), 0.999)
    assert (half > 0.5).mean() == pytest.approx(0.5, abs=0.02)


def test_nothing_is_known_of_what_was_not_measured():
    assert np.isnan(simulated_evidence(np.array([[np.nan]]), 0.8)).all()


@pytest.mark.parametrize("auc", [0.4, 1.0, 2.0])
def test_evidence_that_is_worse_than_chance_or_never_wrong_is_refused(auc):
    with pytest.raises(InputError, match="auc"):
        simulated_evidence(LOSSES, auc)
