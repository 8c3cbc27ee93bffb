"""Losses, shares and information by domain, worked by hand, and their picture."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tryage.errors import InputError
from tryage.learning.cotraining.specialization import (
    measure_losses,
    plot_specialization,
    summarize_specialization,
)

EXPERTS = ("one", "other")
DOMAINS = ("law", "code", "law", "code")
BEFORE = np.full((4, 2), 3.0)
AFTER = np.array([[1.0, 2.0], [2.5, 0.5], [1.2, 2.0], [2.5, 1.5]])


def found(chosen, after=AFTER):
    return summarize_specialization(EXPERTS, DOMAINS, BEFORE, after, np.array(chosen))


def test_losses_are_averaged_by_domain():
    result = found([0, 1, 0, 1])
    assert result.domains == ("code", "law")
    assert result.before.tolist() == [[3, 3], [3, 3]]
    assert result.after == pytest.approx(np.array([[2.5, 1.0], [1.1, 2.0]]))


def test_the_routed_loss_is_between_the_best_choice_and_the_best_expert():
    result = found([0, 1, 1, 1])
    assert result.loss == pytest.approx((1 + 0.5 + 2 + 1.5) / 4)
    assert result.oracle == pytest.approx((1 + 0.5 + 1.2 + 1.5) / 4)
    assert result.best_single == pytest.approx(1.5)
    assert result.shares == pytest.approx(np.array([[0, 1], [0.5, 0.5]]))


@pytest.mark.parametrize(
    ("chosen", "information"), [([0, 1, 0, 1], 1.0), ([0, 0, 0, 0], 0.0), ([0, 0, 1, 1], 0.0)]
)
def test_the_chosen_expert_reveals_everything_or_nothing_about_the_domain(chosen, information):
    assert found(chosen).information == pytest.approx(information)


def test_the_information_of_one_misrouted_prompt_is_worked_by_hand():
    """P(code, other) = 1/2, P(law, one) = P(law, other) = 1/4, in bits of one: .311."""
    assert found([0, 1, 1, 1]).information == pytest.approx(0.3113, abs=1e-4)


def test_a_prompt_without_a_loss_is_left_out():
    after = AFTER.copy()
    after[0, 1] = np.nan
    assert found([0, 1, 0, 1], after).after[1] == pytest.approx([1.2, 2.0])
    with pytest.raises(InputError, match="No prompt"):
        found([0, 1, 0, 1], np.full((4, 2), np.nan))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"expected \(4, 2\)"):
        summarize_specialization(EXPERTS, DOMAINS, BEFORE, AFTER[:3], np.zeros(4, int))


def test_the_result_is_json_and_a_table():
    result = found([0, 1, 0, 1])
    assert json.loads(json.dumps(result.to_dict()))["after"][0] == [2.5, 1.0]
    assert "law     1.100    2.000" in result.table()
    assert "oracle 1.0500" in result.table()


def test_every_expert_is_measured_on_every_text(letters, pool):
    learners = letters(3)
    assert measure_losses(learners, pool.texts[:5]).shape == (5, 3)


def test_the_picture_shows_all_three_matrices(tmp_path):
    pytest.importorskip("matplotlib")
    figure = plot_specialization(found([0, 1, 0, 1]), tmp_path / "it.png")
    assert (tmp_path / "it.png").stat().st_size > 5_000
    before, after, share = figure.axes[:3]
    assert not before.images[0].get_array().any()
    # the expert of the first domain, code, stands first, and is below the mean there
    assert after.images[0].get_array()[0].tolist() == pytest.approx([-0.75, 0.75])
    assert share.images[0].get_array()[0].tolist() == [1, 0]
    assert [label.get_text() for label in after.get_xticklabels()] == ["2", "1"]
