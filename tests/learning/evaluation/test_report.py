"""Results as text, JSON and pictures; a picture without data is refused with a reason."""

import json

import pytest

from tryage.errors import InputError
from tryage.learning.charts.chart import Bars
from tryage.learning.evaluation.evaluator import BASELINES, evaluate
from tryage.learning.evaluation.report import plot_calibration, plot_front, plot_shares
from tryage.learning.evaluation.splits import EvaluationConfig

QUICK = EvaluationConfig(inner_folds=2, draws=200)
NO_MLP = {name: run for name, run in BASELINES.items() if name != "MLP"}


@pytest.fixture(scope="module")
def found(ridge, two_kinds):
    return evaluate(*two_kinds(120), {"ridge": ridge}, baselines=NO_MLP, config=QUICK)


def test_the_results_are_json_and_an_aligned_table(ridge, two_kinds):
    found = evaluate(
        *two_kinds(), {"ridge": ridge}, baselines=NO_MLP, config=QUICK, name="two kinds"
    )
    read = json.loads(json.dumps(found.to_dict()))
    assert read["results"][0]["name"] == "ridge"
    lines = found.table().splitlines()
    assert "two kinds: 400 prompts x 3 experts" in lines[0]
    assert lines[2].startswith("method")
    assert len(found.table().split("cost at parity")) == 2
    assert "APGR" not in found.table()


def legend(chart):
    return [mark.name for mark in chart.panels[0].marks if not mark.name.startswith("_")]


def test_the_front_shows_the_router_and_the_baselines_and_is_written(found, tmp_path):
    chart = plot_front(found, tmp_path / "front.png")
    assert {"ridge", "category table", "best single expert", "chosen for parity"} <= set(
        legend(chart)
    )
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")


def test_calibration_names_the_error_of_each_method(found):
    labels = legend(plot_calibration(found))
    assert any(label.startswith("ridge (ECE 0.") for label in labels)
    assert any(label.startswith("nearest neighbours (ECE") for label in labels)


def test_the_shares_of_every_category_fill_the_bar(found):
    bars = [mark for mark in plot_shares(found).panels[0].marks if isinstance(mark, Bars)]
    widths = [sum(values) for values in zip(*(bar.y for bar in bars), strict=True)]
    assert widths == [pytest.approx(1), pytest.approx(1)]


def test_without_costs_there_is_no_front_and_without_a_router_no_shares(two_kinds):
    table, embeddings = two_kinds(60, costs=False)
    bare = evaluate(table, embeddings, {}, baselines=NO_MLP, config=QUICK)
    with pytest.raises(InputError, match="no costs"):
        plot_front(bare)
    with pytest.raises(InputError, match="name a method"):
        plot_shares(bare)
    assert plot_shares(bare, method="category table")
    with pytest.raises(InputError, match="forecasts a score"):
        plot_calibration(bare, methods=["random"])
