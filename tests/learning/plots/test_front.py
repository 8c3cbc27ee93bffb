"""The front: numbers worked by hand, and a picture that shows every way to answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tryage.errors import InputError
from tryage.learning.charts.chart import Line, Points
from tryage.learning.plots.front import FrontPlot, front_of_prompts, front_of_table
from tryage.simulation.metrics import Interval
from tryage.simulation.result import RunSummary, SettingPoint, Simulation


def summary(name: str, score: float, cost: float | None, **fields) -> RunSummary:
    price = None if cost is None else Interval(cost, cost, cost)
    return RunSummary(name, Interval(score, score - 0.01, score + 0.01), price, 1.0, 1.0, **fields)


def make_simulation(cost: float | None = 0.002) -> Simulation:
    return Simulation(
        n_requests=1_000,
        policies=(summary("Budget", 0.7, cost, outcomes={"refused": 0.1}),),
        plain=summary("plain routing", 0.8, cost),
        thresholds=(SettingPoint(0.0, 0.004, 0.8), SettingPoint(1.0, 0.001, 0.5)),
        experts=(
            summary("org/large", 0.75, 0.005),
            summary("org/small", 0.5, 0.001),
            summary("hopeless", 0.01, 0.002),
        ),
        random=summary("random", 0.6, 0.003),
        oracle=summary("oracle", 0.9, 0.002),
    )


def marks(plot, kind):
    return {mark.name: mark for mark in plot.chart().panels[0].marks if isinstance(mark, kind)}


def test_every_way_to_answer_is_drawn_and_named():
    points = marks(FrontPlot(make_simulation()), Points)
    assert set(points) == {
        "one model for all",
        "best single model: large",
        "best answer to each (oracle)",
        "your preferences now",
        "Budget (10% refused)",
    }
    budget = points["Budget (10% refused)"]
    assert (budget.x, budget.y) == ((2.0,), (0.7,))
    assert (budget.low[0], budget.high[0]) == pytest.approx((0.69, 0.71))
    assert marks(FrontPlot(make_simulation()), Line)["routing, any weight of costs"].x[0] == 1.0


def test_an_expert_far_below_everything_else_is_left_out():
    plot = FrontPlot(make_simulation())
    assert marks(plot, Points)["one model for all"].names == ["org/small"]
    assert plot.chart().panels[0].y.limits[0] > 0.3


def test_the_models_that_a_table_lacks_are_not_listed_in_the_picture():
    notes = (
        "Left out, because the table does not have them: a, b.",
        "2% of the costs are guessed.",
    )
    note = FrontPlot(replace(make_simulation(), notes=notes)).chart().note
    assert "Left out" not in note
    assert note.endswith("2% of the costs are guessed.")


def test_without_costs_there_is_nothing_to_draw():
    with pytest.raises(InputError, match="No cost above 0 is known"):
        FrontPlot(make_simulation(cost=None)).chart()


def test_the_title_says_for_which_share_of_the_cost_routing_matches_the_best_model():
    """The front is straight from .5 for $1 to .8 for $4: .745 costs $3.45, the best one $5."""
    assert FrontPlot(make_simulation(), "ours").title() == (
        "ours: routing matches large, the best single model, for 69% of its cost"
    )
    lower = replace(make_simulation(), thresholds=(SettingPoint(0.0, 0.004, 0.6),))
    assert FrontPlot(lower).title() == "No weight of costs comes within 0.005 of large"
    unknown = replace(make_simulation(), experts=())
    assert FrontPlot(unknown).title() == "What 1,000 requests cost and score"


def test_of_a_table_the_front_is_the_measured_score_at_every_weight(router, table):
    """Only what is hard goes to large: 3 of 4 right for 5.5 mUSD each. All small: 2 of 4."""
    found = front_of_table(router, table)
    points = {(round(p.cost, 6), p.score) for p in found.simulation.thresholds}
    assert points == {(0.001, 0.5), (0.0055, 0.75)}  # of equals the cheaper one is chosen
    single = found.simulation.best_single
    assert (single.name, single.score.value) == ("large", 0.75)
    assert single.cost.value == pytest.approx(0.010)
    # .745 lies at 98% of the way from 1 to 5.5 mUSD: 5.41 of 10.
    assert "large, the best single model, for 54% of its cost" in found.title()
    assert not found.to_dict()["is_predicted"]


def test_of_prompts_everything_is_as_predicted_and_the_picture_says_so(router):
    found = front_of_prompts(router, ["easy one", "hard one"])
    points = {(round(p.cost, 6), round(p.score, 6)) for p in found.simulation.thresholds}
    assert points == {(0.001, 0.5), (0.0055, 0.8)}
    assert "is predicted to match large" in found.title()
    chart = found.chart()
    assert chart.panels[0].y.label == "predicted score"
    assert "best answer to each (oracle)" not in marks(found, Points)
    assert "nobody has answered them" in chart.note


def test_one_prompt_and_one_expert_are_enough(router):
    found = front_of_prompts(router.subset(["small"]), ["easy one"])
    assert found.chart().panels
    assert found.chart().note.startswith("1 request; ")


@pytest.mark.parametrize("prompts", [[], "one text", [1], None])
def test_anything_but_prompts_is_refused(router, prompts):
    with pytest.raises(InputError):
        front_of_prompts(router, prompts)


def test_a_table_of_unknown_models_is_refused(router, table):
    strange = replace(table, experts=("a", "b"))
    with pytest.raises(InputError, match="none of them is an expert of this router"):
        front_of_table(router, strange)
