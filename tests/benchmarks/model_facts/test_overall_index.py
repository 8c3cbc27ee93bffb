"""The index finds abilities again from results of which most are missing."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "benchmarks" / "model_facts"


@pytest.fixture
def overall_index(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import overall_index

    yield overall_index
    del sys.modules["overall_index"]


def test_abilities_are_found_again_though_two_of_three_results_are_missing(overall_index):
    rng = np.random.default_rng(0)
    ability = rng.normal(size=200)
    results = ability[:, None] * rng.uniform(0.5, 1, 15) + rng.normal(0, 0.4, (200, 15))
    results[rng.random(results.shape) < 0.67] = np.nan
    standardized = overall_index.standardize(results, [False] * 15)
    index = overall_index.fit_index(standardized, np.ones(15))
    known = ~np.isnan(results).all(axis=1)
    assert np.corrcoef(index.mean[known], ability[known])[0, 1] > 0.9
    z = (index.mean - ability)[known] / index.std[known]
    assert 0.7 < (np.abs(z) < 1.28).mean() < 0.9  # an interval of 80%


def test_a_model_with_fewer_results_is_less_certain(overall_index):
    results = np.random.default_rng(1).normal(size=(50, 1)) * np.ones(6)
    results[0, 1:] = np.nan
    index = overall_index.fit_index(results, np.ones(6))
    assert index.std[0] > index.std[1:].max()


def test_benchmarks_that_only_strong_models_took_do_not_make_them_look_weak(overall_index):
    ability = np.linspace(-2, 2, 41)
    easy, middle, hard = ability + 1.5, ability.copy(), ability - 1.5
    easy[ability > 1], hard[ability < 0] = np.nan, np.nan
    matrix = overall_index.standardize(np.stack([easy, middle, hard], axis=1), [False] * 3)
    index = overall_index.fit_index(matrix, np.ones(3))
    assert (np.diff(index.mean) > 0).all()


def test_a_share_becomes_its_logit(overall_index):
    column = np.array([[0.02], [0.5], [0.98]])
    scaled = overall_index.standardize(column, [True])[:, 0]
    assert scaled[1] == pytest.approx(0, abs=1e-9)
    assert scaled[2] == pytest.approx(-scaled[0])
