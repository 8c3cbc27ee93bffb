"""The front against one constraint: what is drawn of it, and where."""

from __future__ import annotations

import pytest

from tryage import Expert, Library, Router
from tryage.core.preferences import Preferences
from tryage.learning.charts.chart import Line, Points
from tryage.learning.plots.pareto import _ticks, pareto_plot


@pytest.fixture
def sized(router):
    experts = [Expert("small", parameters=1e9), Expert("large", parameters=1e11)]
    return Router(router.perception, Library(experts))


def test_the_line_goes_through_the_breakpoints_with_their_weights(sized):
    """A hard prompt: large (.3) at weight 0; small (.9) from where its size makes up for that."""
    front = sized.pareto(["hard one"], "size")
    chart = pareto_plot(sized, ["hard one"], front, Preferences()).chart()
    marks = chart.panels[0].marks
    (line,) = (mark for mark in marks if isinstance(mark, Line))
    assert line.y == pytest.approx([0.3, 0.9])
    assert list(line.x) == pytest.approx(front.constraints.tolist())
    weights = next(mark for mark in marks if isinstance(mark, Points) and mark.name == "_weights")
    assert weights.labels[0] == "weight 0"
    assert chart.title == "Loss against size: one prompt"


def test_a_narrow_axis_has_several_ticks():
    assert [text for _, text in _ticks(0.62, 0.83)] == ["0.65", "0.7", "0.75", "0.8"]
    assert [text for _, text in _ticks(0.0, 1.0)] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]


def test_every_expert_is_a_point_at_its_constraint_and_predicted_loss(sized):
    prompts = ["hard one", "easy one"]
    plot = pareto_plot(sized, prompts, sized.pareto(prompts, "size"), Preferences())
    assert plot.points["small"][1] == pytest.approx(0.5)
    assert plot.points["large"][1] == pytest.approx(0.2)
    assert plot.points["small"][0] < plot.points["large"][0]
    assert plot.experts_without_constraint == []
    assert set(plot.to_dict()["experts"]) == {"small", "large"}
