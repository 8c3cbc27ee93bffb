"""`tryage pareto --plot`: where the experts and the front are on the picture."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tryage import Router
from tryage.core.preferences import Preferences
from tryage.learning.charts.chart import Points
from tryage.learning.plots.pareto import pareto_plot, single_expert_points

drawing = pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs matplotlib")


@drawing
@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_pareto_draws_the_front(tryage, saved, tmp_path, suffix):
    picture = tmp_path / "new" / f"front.{suffix}"
    done = tryage("pareto", "--router", saved, "law oslo", "sum lima", "--plot", picture)
    assert done.exit_code == 0
    assert picture.stat().st_size > 5_000


@drawing
@pytest.mark.parametrize(
    ("constraint", "last_line"),
    [
        ("size", "Drawn to "),
        ("recency", "Of chat-70b, code-7b the recency is unknown: drawn apart, and counted as 1"),
        ("cost", "Drawn to "),  # the table that the router was trained on has a column of costs
    ],
)
def test_experts_of_unknown_constraint_are_drawn_apart_and_named(
    tryage, saved, tmp_path, constraint, last_line
):
    words = ("pareto", "--router", saved, "law oslo", "--plot", tmp_path / "front.png")
    done = tryage(*words, "-c", constraint)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(last_line)


def test_experts_of_unknown_constraint_are_drawn_right_of_all_others(saved):
    router = Router.from_pretrained(saved)
    front = router.pareto(["law oslo"], "recency")
    plot = pareto_plot(router, ["law oslo"], front, Preferences())
    assert plot.experts_without_constraint == ["chat-70b", "code-7b"]
    (panel,) = plot.chart().panels
    known, unknown, _ = (mark for mark in panel.marks if isinstance(mark, Points))
    assert len(known.x) == 1
    assert len(unknown.x) == 2
    assert min(unknown.x) > max(*known.x, front.constraints.max())
    assert panel.x.ticks[-1] == (unknown.x[0], "unknown")
    assert unknown.name == "its recency is unknown: counted as 1"
    assert plot.to_dict()["experts"]["chat-70b"]["constraint"] is None


@drawing
def test_an_unknown_image_format_is_refused(tryage, saved, tmp_path):
    done = tryage("pareto", "--router", saved, "law oslo", "--plot", tmp_path / "front.xls")
    assert done.exit_code == 2
    assert "expected .png, .svg, .pdf or .html" in done.stderr


def test_drawing_without_matplotlib_names_the_command_that_installs_it(
    tryage, saved, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "tryage.core.validation.find_spec",
        lambda name: None if name == "matplotlib" else find_spec(name),
    )
    done = tryage("pareto", "--router", saved, "law oslo", "--plot", tmp_path / "front.png")
    assert done.exit_code == 2
    assert done.stderr == (
        "tryage: matplotlib is not installed. Install it with: pip install 'tryage[plot]'\n"
    )


def test_the_point_of_an_expert_is_its_constraint_and_its_predicted_loss(saved):
    router = Router.from_pretrained(saved)
    points = single_expert_points(router, ["law oslo"], "size", Preferences(max_parameters=50e9))
    decision = router.route("law oslo")
    assert set(points) == {"tiny-1b", "code-7b"}
    assert points["tiny-1b"] == (0.5, decision.ranking.entry("tiny-1b").predicted_loss)
