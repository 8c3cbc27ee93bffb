"""Bars as numbers and decisions in plain words, against hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import Expert, Preferences, Router
from tryage.core.ranking import RankedExpert
from tryage.policies import QualityGap
from tryage.testing import FixedPerception
from tryage_playground.view import (
    compare_in_words,
    explain_plainly,
    legend,
    make_rows,
    make_segments,
    prompt_facts,
)

PRICES = {"output_tokens": 1_000}
LIBRARY = [
    Expert("small", parameters=1e9, input_price=0, output_price=1.0, **PRICES),
    Expert("large", parameters=1e11, input_price=0, output_price=50.0, **PRICES),
    Expert("unpriced"),
]


@pytest.fixture
def router():
    return Router(FixedPerception({"small": 0.30, "large": 0.25, "unpriced": 0.9}), LIBRARY)


def test_the_parts_of_a_bar_are_shares_of_the_total_on_one_scale():
    one = RankedExpert("a", 0.3, None, {"size": 0.1, "answer_value": 0.1}, 0.5, ())
    parts = make_segments(one, longest=2.0)
    assert [part.name for part in parts] == ["loss", "size", "answer_value"]
    assert [part.share for part in parts] == pytest.approx([0.6, 0.2, 0.2])
    assert [part.start for part in parts] == pytest.approx([0, 15, 20])
    assert [part.width for part in parts] == pytest.approx([15, 5, 5])


def test_a_total_of_nothing_has_no_width():
    parts = make_segments(RankedExpert("a", 0.0, None, {}, 0.0, ()), longest=0.0)
    assert [(part.share, part.width) for part in parts] == [(0.0, 0.0)]


def test_rows_are_best_first_with_prices_in_words(router):
    decision = router.route("x", Preferences({"size": 0.1}, answer_value=1.0))
    rows = make_rows(decision, measured={"large": (0.8, 12)})
    assert [row.name for row in rows] == ["small", "large", "unpriced"]
    assert [row.is_winner for row in rows] == [True, False, False]
    assert [row.cost for row in rows] == ["$0.001", "$0.05", "unknown"]
    assert rows[0].quality == pytest.approx(0.7)
    assert rows[0].interval is None  # this perception has measured none
    assert rows[1].measured == (0.8, 12)
    assert set(rows[2].unknown) == {"large", "dollars"}
    assert dict(legend(rows))["size"] == "large"
    assert sum(part.share for part in rows[0].segments) == pytest.approx(1)
    assert len(make_rows(decision, limit=1)) == 1


def test_the_words_say_what_a_dearer_model_would_gain_and_cost(router):
    first, second, third = explain_plainly(router.route("x", Preferences(answer_value=0.1)))
    assert first == "small answers: a quality of 70.0% is expected, for $0.001."
    assert second == (
        "large is expected to be 5.0% better and costs $0.049 more, which counts as 49.0% at $0.1 "
        "for a right answer."
    )
    assert third.startswith("Second is large, 0.440 behind")


def test_the_words_name_the_tolerance_where_it_decides(router):
    sentences = explain_plainly(router.route("x", Preferences(answer_value=1.0, tolerance=0.02)))
    assert "small answers" in sentences[0]
    assert "The rest is within the tolerance, so the cheaper one answers." in sentences[1]


def test_the_words_name_other_weights_where_they_decide(router):
    sentences = explain_plainly(router.route("x", Preferences({"size": 0.3}, answer_value=10.0)))
    # a hundred times as large: two of the six decades of the scale, at a weight of .3
    assert sentences[1] == (
        "large is expected to be 5.0% better and costs $0.049 more, which counts as 0.5% at $10 "
        "for a right answer. Other weights count 10.0% against it."
    )


def test_the_words_name_a_policy_and_whether_it_changes_anything(router):
    gap = router.with_policy(QualityGap(0.1))
    decided = explain_plainly(gap.route("x", Preferences(answer_value=100.0)), "QualityGap")
    assert decided[1].startswith("The policy QualityGap decides: the cheapest of")
    same = explain_plainly(gap.route("x", Preferences(answer_value=0.1)), "QualityGap")
    assert same[1] == "The policy QualityGap changes nothing here."


def test_a_default_says_that_it_is_one(router):
    exempt = Router(
        router.perception, LIBRARY, default="large", default_exempt=True, preferences="best"
    )
    decision = exempt.route("x", Preferences(max_cost=1e-9))
    assert explain_plainly(decision)[0].startswith("large is the declared default: ")


def test_two_decisions_are_compared_in_one_sentence(router):
    cheap, best = (router.route("x", Preferences(answer_value=worth)) for worth in (0.1, 100.0))
    assert compare_in_words(cheap, cheap) == "Both choose small."
    assert compare_in_words(cheap, best) == (
        "A chooses small, B chooses large: B's quality is expected to be 5.0% higher, for $0.049 "
        "more per request."
    )
    assert "5.0% lower, for $0.049 less" in compare_in_words(best, cheap)


@pytest.mark.parametrize(
    ("losses", "word"),
    [([0.1, 0.1, 0.9], "easy"), ([0.3, np.nan], "of medium difficulty"), ([0.6, 0.7], "hard")],
)
def test_difficulty_is_the_loss_of_the_middle_model(router, losses, word):
    facts = prompt_facts(router.route("x"), np.array(losses))
    assert facts.difficulty == pytest.approx(np.nanmedian(losses))
    assert facts.difficulty_text.startswith(word)


def test_what_is_unknown_of_a_prompt_is_called_unknown(router):
    facts = prompt_facts(router.route("x"), None)
    assert (facts.difficulty, facts.difficulty_text, facts.typicality_text) == (
        None,
        "unknown",
        "unknown",
    )
