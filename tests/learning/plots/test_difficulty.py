"""Difficulty and choices against cases worked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tryage.errors import InputError
from tryage.learning.charts.chart import Bars
from tryage.learning.plots.difficulty import difficulty_plot

PROMPTS = [*(f"easy {i}" for i in range(5)), *(f"hard {i}" for i in range(5))]


def test_the_difficulty_is_the_mean_predicted_loss_of_all_experts(router):
    found = difficulty_plot(router, ["easy one", "hard one"])
    assert found.difficulties == pytest.approx((0.1, 0.6))


def test_bins_say_who_is_chosen_for_easy_and_for_hard_prompts(router):
    """With dollars the cheaper one is chosen of equals, and the large one where it is better."""
    found = difficulty_plot(router.with_preferences("balanced"), PROMPTS)
    assert [(one.n, dict(one.shares)) for one in found.bins] == [
        (5, {"small": 1.0}),
        (5, {"large": 1.0}),
    ]
    assert found.title() == "large gets 100% of the hardest prompts and 0% of the easiest"


def test_categories_are_sorted_from_easy_to_hard(router):
    kinds = [None, "sums", "sums", "sums", "sums", *["proofs"] * 5]
    found = difficulty_plot(router, PROMPTS, kinds)
    assert [(one.name, one.n) for one in found.categories] == [
        ("sums", 4),
        ("without a category", 1),
        ("proofs", 5),
    ]
    assert found.categories[2].median == pytest.approx(0.6)
    panel = found.chart().panels[0]
    assert [text for _, text in panel.y.ticks] == [
        "sums (4)",
        "without a category (1)",
        "proofs (5)",
    ]


def test_without_categories_there_is_a_histogram_of_all_prompts(router):
    found = difficulty_plot(router, PROMPTS, [None] * 10)
    (bars,) = found.chart().panels[0].marks
    assert isinstance(bars, Bars)
    assert sum(bars.y) == 10


def test_shares_of_each_bin_fill_the_bar(router):
    chart = difficulty_plot(router.with_preferences("balanced"), PROMPTS).chart()
    bars = [mark for mark in chart.panels[1].marks if isinstance(mark, Bars)]
    assert [sum(values) for values in zip(*(bar.y for bar in bars), strict=True)] == [1, 1]


def test_one_prompt_is_told_as_one(router):
    assert difficulty_plot(router, ["easy one"]).chart().note.startswith("1 prompt; ")


def test_bins_of_nearly_equal_difficulty_have_different_edges(router):
    found = difficulty_plot(router, PROMPTS)
    low, high = found.bins
    close = replace(found, bins=(replace(low, low=0.101), replace(high, low=0.1044)))
    texts = [text for _, text in close.chart().panels[1].x.ticks]
    assert texts[:2] == ["0.101", "0.104"]


def test_titles_say_what_there_is(router):
    one = difficulty_plot(router.subset(["small"]), PROMPTS, name="ours")
    assert one.title() == "ours: All prompts, easy or hard, go to small"
    few = difficulty_plot(router.with_preferences("balanced"), ["easy one", "hard one"])
    assert len(few.bins) == 1
    assert few.title().startswith("2 models share the prompts")


@pytest.mark.parametrize(
    ("prompts", "categories"), [([], None), ("easy one", None), (["easy one"], ["a", "b"])]
)
def test_what_cannot_be_drawn_is_refused(router, prompts, categories):
    with pytest.raises(InputError):
        difficulty_plot(router, prompts, categories)
