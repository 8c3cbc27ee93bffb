"""`onboard_models`: who is asked what, what is learned, and what is never paid for twice."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tryage import Expert, Router
from tryage.core.perception import SecondStage
from tryage.errors import InputError, MeasurementError, PerceptionError
from tryage.onboarding.candidates import Candidate
from tryage.onboarding.config import OnboardingConfig
from tryage.onboarding.onboard import onboard_models
from tryage.testing import FixedPerception

OWN = OnboardingConfig(questions=(), rivals=False)


class ContentFilterError(Exception):
    status_code = 400


class RefusedError(Exception):
    status_code = 401


def run(router, models, prompts, config=OWN, **options):
    return onboard_models(
        router.perception,
        router.library,
        models,
        prompts=prompts,
        config=config,
        progress=False,
        **options,
    )


def priced(name, client, price=0.0):
    return Candidate(Expert(name, input_price=price, output_price=price), client)


def test_each_prompt_goes_to_the_model_that_answers_its_kind(router, prompts, make_model):
    poet, coder = make_model({"poem", "law"}), make_model({"code", "sum", "prove"})
    result = run(router, [priced("poet", poet), priced("coder-2", coder)], prompts)
    own = Router(result.perception, result.library.subset(["poet", "coder-2"]))
    assert own.route("poem oslo").expert.name == "poet"
    assert own.route("code oslo").expert.name == "coder-2"


def test_the_other_experts_stay_as_they_were_bit_for_bit(router, prompts, make_model):
    result = run(router, {"new": make_model({"law"})}, prompts)
    before, after = router.perception.abilities, result.perception.abilities
    assert result.perception.experts == (*router.perception.experts, "new")
    np.testing.assert_array_equal(after.means[:3], before.means)
    np.testing.assert_array_equal(after.covariances[:3], before.covariances)


def test_a_hopeless_model_is_asked_less_than_two_rivals_that_are_close(router, prompts, make_model):
    every = {"sum", "prove", "code", "poem", "law"}
    models = {"bad": make_model(()), "good": make_model(every), "other": make_model(every)}
    config = replace(OWN, max_prompts=40, min_prompts=5, tolerance=0.002)
    run(router, models, prompts, config)
    assert len(models["bad"].asked) < len(models["good"].asked)


def test_the_test_ends_before_all_prompts_when_the_ranking_is_settled(router, prompts, make_model):
    every = {"sum", "prove", "code", "poem", "law"}
    models = {"good": make_model(every), "bad": make_model(())}
    config = replace(OWN, tolerance=0.05)
    result = run(router, models, prompts, config)
    assert result.report.is_settled
    assert len(models["good"].asked) < len(prompts)
    assert result.report.models[0].name == "good"


def test_a_second_run_pays_for_no_answer_again(router, prompts, make_model, tmp_path):
    first, second = make_model({"law"}), make_model({"law"})
    journal = tmp_path / "answers.jsonl"
    before = run(router, {"new": first}, prompts, journal=journal)
    after = run(router, {"new": second}, prompts, journal=journal)
    assert first.asked
    assert not second.asked
    np.testing.assert_allclose(after.perception.abilities.means, before.perception.abilities.means)
    assert after.report.spent == pytest.approx(before.report.spent)


def test_a_run_goes_on_after_a_kill_in_the_middle_of_a_line(router, prompts, make_model, tmp_path):
    journal = tmp_path / "answers.jsonl"
    run(router, {"new": make_model({"law"})}, prompts, journal=journal)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:4]) + lines[4][:20])
    model = make_model({"law"})
    run(router, {"new": model}, prompts, journal=journal)
    kept = {json.loads(line)["question"] for line in lines[:4]}
    asked_again = [json.loads(line)["question"] for line in journal.read_bytes().splitlines()[4:]]
    assert len(model.asked) == len(asked_again)
    assert not kept.intersection(asked_again)


def test_the_budget_is_never_passed(router, prompts, make_model):
    models = [priced(name, make_model({"sum"}, cost=0.01), 20.0) for name in ("a", "b", "c")]
    result = run(router, models, prompts, budget=0.2)
    assert 0 < result.report.spent <= 0.2
    assert result.report.out_of_budget


def test_models_that_are_asked_at_once_do_not_pass_the_budget_together(router, prompts, make_model):
    models = [priced(f"model-{i}", make_model({"sum"}, cost=0.05), 60.0) for i in range(8)]
    with pytest.raises(MeasurementError, match="the budget pays for no question"):
        run(router, models, prompts, budget=0.06)
    assert not any(one.client.asked for one in models)


def test_a_budget_needs_every_price_before_the_first_request(router, prompts, make_model):
    model = make_model({"sum"})
    with pytest.raises(InputError, match="prices of mystery are unknown"):
        run(router, {"mystery": model}, prompts, budget=1.0)
    assert not model.asked


def test_a_model_that_fails_is_reported_and_the_others_go_on(router, prompts, make_model):
    def broken(_):
        raise RefusedError("invalid key sk-abcdefghijklmnopqrstuvwxyz0123456789")

    result = run(router, {"works": make_model({"sum"}), "broken": broken}, prompts)
    assert [one.name for one in result.report.models] == ["works"]
    assert "broken" in result.report.failed
    assert "sk-abc" not in result.report.to_markdown() + result.report.to_html()
    assert "broken" not in result.library


def test_a_model_whose_answers_all_fail_is_given_up_soon(router, prompts, make_model):
    asked = []

    def filtered(text):
        asked.append(text)
        raise ContentFilterError("not allowed")

    result = run(router, {"works": make_model({"sum"}), "filtered": filtered}, prompts)
    assert "not allowed" in result.report.failed["filtered"]
    assert len(asked) < 10


def test_no_answer_at_all_is_an_error_that_says_why(router, prompts):
    def broken(_):
        raise RefusedError("no entry")

    with pytest.raises(MeasurementError, match="no entry"):
        run(router, {"broken": broken}, prompts)


def test_models_compete_with_the_known_experts_of_the_library(router, prompts, make_model):
    config = OnboardingConfig(questions=(), rivals=True)
    every = {"sum", "prove", "code", "poem", "law"}
    best = run(router, {"new": make_model(every)}, prompts, config).report.models[0]
    worst = run(router, {"new": make_model(())}, prompts, config).report.models[0]
    assert best.share > worst.share


def test_measured_latency_and_answer_length_become_facts(router, prompts, make_model):
    result = run(router, {"new": make_model({"sum"}, tokens=77.0)}, prompts)
    assert result.library["new"].output_tokens == 77.0
    assert result.library["new"].latency is not None


def test_a_judge_rates_prompts_without_an_answer(router, make_model):
    def judge(text):
        return "Good. [[10]]" if "yes" in text.rpartition("[Answer]")[2] else "Bad. [[1]]"

    texts = [f"sum {place}" for place in ("paris", "tokyo", "lima", "oslo")]
    models = {"good": make_model({"sum"}), "judge": judge}
    result = run(router, models, texts, judge="judge")
    scores = {one.name: one.measured for one in result.report.models}
    assert scores["good"] == 1.0


def test_a_prompt_that_nothing_can_score_is_refused_before_any_request(router, make_model):
    model = make_model({"sum"})
    with pytest.raises(InputError, match="Nothing can score"):
        run(router, {"new": model}, ["sum paris"])
    assert not model.asked


@pytest.mark.parametrize("models", [[], {}, "gpt", None, 3, [None], [{"name": "x"}]])
def test_what_is_no_list_of_models_is_refused(router, prompts, models):
    with pytest.raises(InputError):
        run(router, models, prompts)


def test_two_models_of_one_name_are_refused(router, prompts, make_model):
    twice = [priced("same", make_model(())), priced("Same", make_model(()))]
    with pytest.raises(InputError, match="each its own name"):
        run(router, twice, prompts)


def test_a_string_needs_something_that_makes_a_client(router, prompts, make_model):
    with pytest.raises(InputError, match="make_client"):
        run(router, ["openai:gpt-x"], prompts)
    made = {}

    def make_client(name):
        return made.setdefault(name, make_model({"sum"}))

    result = run(router, ["openai:gpt-x"], prompts, make_client=make_client)
    assert result.report.models[0].name == "openai:gpt-x"
    assert made["openai:gpt-x"].asked


def test_a_perception_that_cannot_learn_is_refused(prompts, make_model):
    with pytest.raises(PerceptionError, match="cannot learn"):
        onboard_models(FixedPerception({"a": 0.5}), None, {"new": make_model(())}, prompts=prompts)


def test_the_second_stage_of_a_router_learns_the_model_too(router, prompts, make_model):
    stage = SecondStage(router.perception.replace(), 0.1, (1.0,), (0.5,))
    perception = router.perception.replace(second_stage=stage)
    two_stage = Router(perception, router.library)
    result = run(two_stage, {"new": make_model({"law"})}, prompts)
    assert result.perception.second_stage.perception.experts[-1] == "new"


def test_answers_that_another_method_scored_are_asked_again(router, make_model, tmp_path):
    journal, row = tmp_path / "answers.jsonl", {"prompt": "sum oslo", "prompt_id": "q"}
    run(router, {"new": make_model({"sum"})}, [row | {"answer": "yes"}], journal=journal)
    model = make_model({"sum"})
    run(router, {"new": model}, [row | {"answer": 42}], journal=journal)
    assert model.asked == ["sum oslo"]
