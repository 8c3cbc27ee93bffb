"""`tryage route`, `explain` and `pareto`: what they print."""

from __future__ import annotations

import json

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


def test_json_is_the_whole_decision_one_object_per_line(tryage, saved):
    done = tryage("route", "--router", saved, "--json", "law oslo", "code paris")
    decision = Router.from_pretrained(saved).route_batch(["law oslo", "code paris"])[1]
    printed = json.loads(done.stdout.splitlines()[1])
    assert len(printed.pop("id")) == 16
    assert printed | {"id": decision.id} == json.loads(json.dumps(decision.to_dict()))


def test_a_weight_changes_the_choice_and_is_printed(tryage, saved):
    assert tryage("route", "--router", saved, "law oslo").stdout.startswith("chat-70b")
    moved = tryage("route", "--router", saved, "law oslo", "--weight", "size=5").stdout
    assert moved.startswith("tiny-1b")
    assert " + size 2.500" in moved


def test_rules_of_a_file_hold_and_the_explanation_names_them(tryage, saved, tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rules]]\nname = "no giants"\nmax_tokens = 5\nban = "chat-70b"\n', "utf-8")
    done = tryage("route", "--router", saved, "--rules", rules, "law oslo", "law oslo " * 9)
    first, second = done.stdout.splitlines()
    assert not first.startswith("chat-70b")
    assert second.startswith("chat-70b")
    explained = tryage("explain", "--router", saved, "--rules", rules, "law oslo").stdout
    assert "no giants: not chat-70b" in explained
    rules.write_text("[[rules]]\nbann = 3\n", "utf-8")
    failed = tryage("route", "--router", saved, "--rules", rules, "law oslo")
    assert failed.exit_code == 2
    assert "rule 1 (line 1): 'bann' is no word of a rule" in failed.stderr


def test_flags_in_the_prompt_count_only_with_the_option(tryage, saved):
    prompt = "law oslo [Flag: size<3B]"
    assert tryage("route", "--router", saved, prompt).stdout.startswith("chat-70b")
    assert tryage("route", "--router", saved, "--flags", prompt).stdout.startswith("tiny-1b")


def test_a_malformed_flag_warns_on_stderr_and_not_on_stdout(tryage, saved):
    done = tryage("route", "--router", saved, "--flags", "law oslo [Flag: smalest]")
    assert done.exit_code == 0
    assert "The nearest valid form" in done.stderr
    assert "The nearest" not in done.stdout


def test_explain_prints_the_explanation_of_the_decision(tryage, saved):
    done = tryage("explain", "--router", saved, "law oslo", "-w", "size=0.1", "-r", "size<50B")
    assert "is chosen: the lowest total of 2 experts." in done.stdout
    assert "parameters 70B is not < 50B" in done.stdout


def test_explain_of_several_prompts_prints_each_prompt(tryage, saved):
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


def test_pareto_obeys_flags_only_with_the_option(tryage, saved):
    words = ("pareto", "--router", saved, "law oslo [Flag: size<10B]")
    assert "chat-70b" in tryage(*words).stdout
    assert "chat-70b" not in tryage(*words, "--flags").stdout


def test_pareto_as_json_is_the_front(tryage, saved):
    done = tryage("pareto", "--router", saved, "law oslo", "--constraint", "size", "--json")
    front = Router.from_pretrained(saved).pareto(["law oslo"], "size")
    assert json.loads(done.stdout) == json.loads(json.dumps(front.to_dict()))


def test_pareto_of_an_unknown_constraint_suggests_a_similar_one(tryage, saved):
    done = tryage("pareto", "--router", saved, "law oslo", "--constraint", "sise")
    assert done.exit_code == 2
    assert "size" in done.stderr


def test_models_by_name_are_those_that_are_chosen_among(tryage):
    done = tryage("route", "Prove it.", "-m", "gpt-5.4-nano", "-m", "openai:gpt-5.6", "--json")
    names = {one["name"] for one in json.loads(done.stdout)["ranking"]}
    assert names == {"gpt-5.4-nano", "openai:gpt-5.6"}
    only = tryage("explain", "Prove it. [Flag: cheapest model]", "-m", "gpt-5.4-nano", "--flags")
    assert only.stdout.startswith("gpt-5.4-nano is chosen")
    assert "Taken from the prompt: cheapest model" in only.stdout
    front = tryage("pareto", "Prove it.", "-c", "cost", "-m", "gpt-5.4-nano", "-m", "gpt-5.4")
    assert front.exit_code == 0
    assert "gpt-5.4-nano" in front.stdout


def test_models_of_a_saved_router_are_predicted_by_it(tryage, saved):
    done = tryage("route", "law oslo", "-m", "tiny-1b", "--router", saved)
    assert done.stdout.startswith("tiny-1b ")


def test_models_and_a_file_of_settings_are_not_given_both(tryage):
    done = tryage("route", "x", "-m", "gpt-5.4", "--config", "tryage.toml")
    assert done.exit_code == 2
    assert "not both" in done.stderr
