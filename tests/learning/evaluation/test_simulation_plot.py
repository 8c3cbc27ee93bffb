"""The picture of a simulation shows every way to answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tryage.errors import InputError
from tryage.learning.evaluation.simulation_plot import plot_simulation
from tryage.simulation.metrics import Interval
from tryage.simulation.result import RunSummary, SettingPoint, Simulation

pytest.importorskip("matplotlib")


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


def test_the_legend_names_what_is_drawn_and_policies_come_first(tmp_path):
    figure = plot_simulation(make_simulation(), tmp_path / "picture.svg", "ours")
    (axes,) = figure.axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[:2] == ["Budget\n(10% refused)", "plain routing"]
    assert "best single model:\nlarge" in labels
    assert axes.get_xscale() == "log"
    assert axes.get_title(loc="left") == "ours: 1,000 requests"
    assert (tmp_path / "picture.svg").stat().st_size > 0


def test_an_expert_far_below_everything_else_is_left_out():
    (axes,) = plot_simulation(make_simulation()).axes
    assert axes.get_ylim()[0] > 0.3
    assert [text.get_text() for text in axes.texts] == ["small"]


def test_without_costs_there_is_nothing_to_draw():
    with pytest.raises(InputError, match="No cost is known"):
        plot_simulation(make_simulation(cost=None))


def test_a_long_name_has_several_lines_in_the_legend():
    name = "threshold strong=claude-opus-4-8 weak=gpt-5.4-nano share=0.3"
    simulation = replace(make_simulation(), policies=(summary(name, 0.7, 0.002),))
    (axes,) = plot_simulation(simulation).axes
    label = axes.get_legend().get_texts()[0].get_text()
    assert label.replace("\n", " ") == name
    assert max(map(len, label.splitlines())) <= 28
