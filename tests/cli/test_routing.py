"""route, explain and pareto: what they print, and how they refuse."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pytest

from tryage import Router


def test_the_first_word_of_each_line_is_the_chosen_expert_in_the_order_of_the_prompts(
    tryage, saved
):
    prompts = ("law oslo", "code paris", "sum lima")
    done = tryage("route", "--router", saved, *prompts)
    assert done.exit_code == 0
    router = Router.from_pretrained(saved)
    expected = [decision.expert.name for decision in router.route_batch(prompts)]
    assert [line.split()[0] for line in done.stdout.splitlines()] == expected


def test_a_dash_stands_for_the_lines_of_stdin_that_hold_something(tryage, saved):
    piped = tryage("route", "--router", saved, "-", stdin="law oslo\n\n  \ncode paris\n")
    assert piped.stdout == tryage("route", "--router", saved, "law oslo", "code paris").stdout


def test_no_prompt_on_stdin_is_told_in_one_line(tryage, saved):
    done = tryage("route", "--router", saved, "-", stdin="\n")
    assert done.exit_code == 2
    assert done.stderr.startswith("tryage: No prompt was given.")


def test_json_is_the_whole_decision_one_object_a_line(tryage, saved):
    done = tryage("route", "--router", saved, "--json", "law oslo", "code paris")
    decision = Router.from_pretrained(saved).route_batch(["law oslo", "code paris"])[1]
    assert json.loads(done.stdout.splitlines()[1]) == json.loads(json.dumps(decision.to_dict()))


def test_a_weight_moves_the_choice_and_is_told(tryage, saved):
    assert tryage("route", "--router", saved, "law oslo").stdout.startswith("chat-70b")
    moved = tryage("route", "--router", saved, "law oslo", "--weight", "size=5").stdout
    assert moved.startswith("tiny-1b")
    assert " + size 0.000" in moved


def test_a_requirement_is_written_as_in_a_flag(tryage, saved):
    for item, left in (
        ("size<3B", "tiny-1b"),
        ("license=apache-2.0|bsd", "code-7b"),
        ("context>=32k", "chat-70b"),
        ("since=2025", "tiny-1b"),
        ("model=CODE-7B", "code-7b"),
    ):
        done = tryage("route", "--router", saved, "prove oslo", "--require", item)
        assert done.stdout.split()[0] == left, item


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--require", "sise<3B"], "--require 'sise<3B' is not a requirement"),
        (["--require", "size=0.5"], "write --weight size=0.5"),
        (["--require", "smallest model"], "write --weight size=1"),
        (["--require", "most accurate"], "is not a requirement"),
        (["--weight", "size"], "'size' is not NAME=NUMBER"),
        (["--weight", "size=big"], "'size=big' is not NAME=NUMBER"),
        (["--weight", "size=-1"], "-1"),
        (["--weight", "colour=1"], "colour"),
        (["--require", "size<1"], "None of the 3 experts is left to choose."),
    ],
)
def test_what_cannot_be_done_is_one_line_on_stderr_and_exit_code_2(tryage, saved, words, told):
    done = tryage("route", "--router", saved, "law oslo", *words)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("tryage: ")
    assert done.stderr.count("\n") == 1
    assert told in done.stderr


def test_a_router_that_is_not_there_is_told_in_one_line(tryage, tmp_path):
    done = tryage("route", "--router", tmp_path / "nowhere", "law oslo")
    assert done.exit_code == 2
    assert "nowhere is not a folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_flags_in_the_prompt_count_only_when_allowed(tryage, saved):
    prompt = "law oslo [Flag: size<3B]"
    assert tryage("route", "--router", saved, prompt).stdout.startswith("chat-70b")
    assert tryage("route", "--router", saved, "--flags", prompt).stdout.startswith("tiny-1b")


def test_a_malformed_flag_warns_on_stderr_and_leaves_stdout_clean(tryage, saved):
    done = tryage("route", "--router", saved, "--flags", "law oslo [Flag: smalest]")
    assert done.exit_code == 0
    assert "The nearest valid form" in done.stderr
    assert "The nearest" not in done.stdout


def test_explain_is_what_the_decision_says_of_itself(tryage, saved):
    done = tryage("explain", "--router", saved, "law oslo", "-w", "size=0.1", "-r", "size<50B")
    assert "is chosen: the lowest total of 2 experts." in done.stdout
    assert "parameters 70B is not < 50B" in done.stdout


def test_explain_of_several_prompts_says_which_is_which(tryage, saved):
    done = tryage("explain", "--router", saved, "law oslo", "code paris")
    assert "> law oslo\n" in done.stdout
    assert "\n\n> code paris\n" in done.stdout


def test_pareto_prints_every_breakpoint_of_the_front(tryage, saved):
    prompts = ("law oslo", "code paris", "sum lima")
    front = Router.from_pretrained(saved).pareto(prompts, "size")
    lines = tryage("pareto", "--router", saved, *prompts).stdout.splitlines()
    assert [float(line.split()[0]) for line in lines[1:]] == pytest.approx(
        front.weights.tolist(), rel=1e-3
    )
    assert lines[-1].endswith("tiny-1b")


def test_pareto_obeys_flags_only_when_allowed(tryage, saved):
    words = ("pareto", "--router", saved, "law oslo [Flag: size<10B]")
    assert "chat-70b" in tryage(*words).stdout
    assert "chat-70b" not in tryage(*words, "--flags").stdout


def test_pareto_as_json_is_the_front(tryage, saved):
    done = tryage("pareto", "--router", saved, "law oslo", "--constraint", "size", "--json")
    front = Router.from_pretrained(saved).pareto(["law oslo"], "size")
    assert json.loads(done.stdout) == json.loads(json.dumps(front.to_dict()))


def test_pareto_of_an_unknown_constraint_names_the_near_one(tryage, saved):
    done = tryage("pareto", "--router", saved, "law oslo", "--constraint", "sise")
    assert done.exit_code == 2
    assert "size" in done.stderr


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_pareto_draws_the_front(tryage, saved, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "new" / f"front.{suffix}"
    done = tryage("pareto", "--router", saved, "law oslo", "sum lima", "--plot", picture)
    assert done.exit_code == 0
    assert picture.stat().st_size > 5_000


@pytest.mark.parametrize(
    ("constraint", "told"),
    [
        ("size", "Drawn to "),
        ("recency", "Of chat-70b, code-7b the recency is unknown: drawn apart, and counted as 1"),
        ("cost", "Of chat-70b, code-7b, tiny-1b the cost is unknown: drawn apart, and counted"),
    ],
)
def test_experts_of_unknown_constraint_are_drawn_apart_and_named(
    tryage, saved, tmp_path, constraint, told
):
    pytest.importorskip("matplotlib")
    words = ("pareto", "--router", saved, "law oslo", "--plot", tmp_path / "front.png")
    done = tryage(*words, "-c", constraint)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(told)


def test_on_the_picture_they_stand_right_of_all_others(saved, tmp_path):
    pytest.importorskip("matplotlib")
    from tryage.cli.plot import draw_front, single_expert_points
    from tryage.core.preferences import Preferences

    router = Router.from_pretrained(saved)
    lone = single_expert_points(router, ["law oslo"], "recency", Preferences())
    assert np.isnan(lone["chat-70b"][0])
    assert not np.isnan(lone["tiny-1b"][0])
    front = router.pareto(["law oslo"], "recency")
    (axes,) = draw_front(front, lone, tmp_path / "front.png").axes
    known, unknown = (drawn.get_offsets() for drawn in axes.collections)
    assert len(known) == 1
    assert len(unknown) == 2
    assert unknown[:, 0].min() > max(known[:, 0].max(), front.constraints.max())
    assert axes.get_xticklabels()[-1].get_text() == "unknown"
    assert "its recency is unknown: counted as 1" in axes.get_legend_handles_labels()[1]


def test_a_picture_of_no_known_kind_is_refused(tryage, saved, tmp_path):
    pytest.importorskip("matplotlib")
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


def test_one_prompt_draws_every_expert_where_the_router_sees_it(saved):
    from tryage.cli.plot import single_expert_points
    from tryage.core.preferences import Preferences

    router = Router.from_pretrained(saved)
    lone = single_expert_points(router, ["law oslo"], "size", Preferences(max_parameters=50e9))
    decision = router.route("law oslo")
    assert set(lone) == {"tiny-1b", "code-7b"}
    assert lone["tiny-1b"] == (0.0, decision.ranking.entry("tiny-1b").predicted_loss)


def test_the_help_lists_every_command_and_the_version_is_the_packages(tryage):
    import tryage as package

    listed = tryage("--help").stdout
    for name in ("route", "explain", "pareto", "train", "evaluate", "experts", "onboard"):
        assert f"\n  {name} " in listed
    assert tryage("--version").stdout == f"tryage {package.__version__}\n"
