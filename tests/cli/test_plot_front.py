"""`tryage pareto --plot`: where the experts and the front are on the picture."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from tryage import Router
from tryage.cli.plot import draw_front, single_expert_points
from tryage.core.preferences import Preferences

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


@drawing
def test_experts_of_unknown_constraint_are_drawn_right_of_all_others(saved, tmp_path):
    router = Router.from_pretrained(saved)
    points = single_expert_points(router, ["law oslo"], "recency", Preferences())
    assert np.isnan(points["chat-70b"][0])
    assert not np.isnan(points["tiny-1b"][0])
    front = router.pareto(["law oslo"], "recency")
    (axes,) = draw_front(front, points, tmp_path / "front.png").axes
    known, unknown = (drawn.get_offsets() for drawn in axes.collections)
    assert len(known) == 1
    assert len(unknown) == 2
    assert unknown[:, 0].min() > max(known[:, 0].max(), front.constraints.max())
    assert axes.get_xticklabels()[-1].get_text() == "unknown"
    assert "its recency is unknown: counted as 1" in axes.get_legend_handles_labels()[1]


@drawing
def test_an_unknown_image_format_is_refused(tryage, saved, tmp_path):
    done = tryage("pareto", "--router", saved, "law oslo", "--plot", tmp_path / "front.xls")
    assert done.exit_code == 2
    assert "expected .png, .svg or .pdf" in done.stderr


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
        "tryage: matplotlib is not installed. Install it with: pip install 'tryage[evaluate]'\n"
    )


def test_the_point_of_an_expert_is_its_constraint_and_its_predicted_loss(saved):
    router = Router.from_pretrained(saved)
    points = single_expert_points(router, ["law oslo"], "size", Preferences(max_parameters=50e9))
    decision = router.route("law oslo")
    assert set(points) == {"tiny-1b", "code-7b"}
    assert points["tiny-1b"] == (0.5, decision.ranking.entry("tiny-1b").predicted_loss)
