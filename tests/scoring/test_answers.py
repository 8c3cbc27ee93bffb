"""Scored answers: concurrency, retries, budgets and judges, with models made of functions."""

from __future__ import annotations

import threading

import pytest

from tryage import Expert
from tryage.errors import InputError, MeasurementError
from tryage.learning.scoring.answers import GenerationMeasurer
from tryage.learning.scoring.measurement import Budget, Prompt
from tryage.learning.scoring.replies import Answer
from tryage.learning.scoring.scorers import (
    LLMJudge,
    ScoreResult,
    exact_match,
    format_choices,
    multiple_choice,
)

pytest.importorskip("textstat")

SUMS = [Prompt(f"{i} + 1 =", references=(str(i + 1),)) for i in range(12)]
PRICED = Expert("priced", input_price=0.0, output_price=1e6)  # a dollar per token


def add(text: str) -> str:
    return str(int(text.split(maxsplit=1)[0]) + 1)


def paid(text: str) -> Answer:
    return Answer(add(text), input_tokens=5, output_tokens=1)


class StatusError(Exception):
    def __init__(self, status, retry_after=None):
        super().__init__(f"status {status} with sk-abcdefgh123")
        self.status_code, self.retry_after = status, retry_after


class Flaky:
    """Fails as told, then answers; `calls` counts."""

    def __init__(self, *errors, only=None):
        self.errors, self.only, self.calls = list(errors), only, 0
        self._lock = threading.Lock()

    def __call__(self, text):
        with self._lock:
            self.calls += 1
            if self.errors and self.only in (None, text):
                raise self.errors.pop(0)
        return add(text)


@pytest.fixture
def impatient(monkeypatch):
    """Waits that are noted instead of waited."""
    waits: list[float] = []
    monkeypatch.setattr(Budget, "sleep", lambda _, seconds: waits.append(seconds) or True)
    return waits


def test_right_answers_score_one_and_are_kept_with_what_they_took(measured):
    found = measured(GenerationMeasurer(PRICED, paid, exact_match), SUMS)
    assert [one.score for one in found] == [1.0] * 12
    assert [one.loss for one in found] == [0.0] * 12
    assert {one.output_tokens for one in found} == {1.0}
    assert {one.cost for one in found} == {1.0}
    assert all(one.latency >= 0 for one in found)
    assert found[3].output == "4"


def test_readability_is_measured_and_of_numbers_unknown(measured):
    (easy,) = measured(
        GenerationMeasurer("a", lambda _: "The cat sat. The dog ran.", lambda *_: 1), SUMS[:1]
    )
    (hard,) = measured(
        GenerationMeasurer(
            "a", lambda _: "Institutional responsibilities necessitate.", lambda *_: 1
        ),
        SUMS[:1],
    )
    assert easy.readability == pytest.approx(206.835 - 1.015 * 3 - 84.6)  # 6 words, 2 sentences
    assert hard.readability < easy.readability
    (number,) = measured(GenerationMeasurer("a", add, exact_match), SUMS[:1])
    assert number.readability is None
    assert number.output_tokens is None


def test_no_more_requests_run_at_once_than_allowed(measured):
    running, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(3, timeout=10)

    def model(text):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait()  # passes only if three run at once
        with lock:
            running -= 1
        return add(text)

    measured(GenerationMeasurer("a", model, exact_match, concurrency=3), SUMS)
    assert most == 3


def test_errors_that_pass_are_tried_again_and_retry_after_is_heeded(measured, impatient):
    flaky = Flaky(StatusError(429, retry_after=7), StatusError(503), TimeoutError())
    found = measured(GenerationMeasurer("a", flaky, exact_match, concurrency=1), SUMS[:2])
    assert [one.score for one in found] == [1.0, 1.0]
    assert flaky.calls == 5
    assert impatient[0] == 7
    assert 1.0 <= impatient[1] <= 2.0
    assert 2.0 <= impatient[2] <= 4.0


def test_a_prompt_that_is_refused_stays_a_gap_and_the_others_are_answered(measured, impatient):
    flaky = Flaky(StatusError(400), only=SUMS[1].text)
    found = measured(GenerationMeasurer("a", flaky, exact_match), SUMS[:4])
    assert [one.score for one in found] == [1.0, None, 1.0, 1.0]
    assert "400" in found[1].error
    assert "sk-abc" not in found[1].error
    assert flaky.calls == 4
    assert impatient == []


def test_an_error_that_does_not_pass_after_all_leaves_a_gap(measured, impatient):
    flaky = Flaky(*[StatusError(503)] * 3, only=SUMS[0].text)
    found = measured(GenerationMeasurer("a", flaky, exact_match, retries=2), SUMS[:3])
    assert [one.score for one in found] == [None, 1.0, 1.0]
    assert len(impatient) == 2


@pytest.mark.parametrize("error", [StatusError(401), StatusError(404), TypeError("a mistake")])
@pytest.mark.usefixtures("impatient")
def test_a_client_that_refuses_everything_is_given_up_at_once(error, measured):
    flaky = Flaky(*[error] * 99)
    with pytest.raises(MeasurementError, match="a cannot be measured"):
        measured(GenerationMeasurer("a", flaky, exact_match, concurrency=2), SUMS)
    assert flaky.calls <= 2


@pytest.mark.usefixtures("impatient")
def test_an_expert_that_fails_ten_times_in_a_row_is_given_up():
    flaky = Flaky(*[StatusError(500)] * 99)
    answers = GenerationMeasurer("a", flaky, exact_match, concurrency=1, retries=0)
    found = []
    with pytest.raises(MeasurementError, match="10 prompts in a row"):
        found.extend(answers.measure(SUMS, Budget()))
    assert len(found) == 10 == flaky.calls


def test_answers_that_were_paid_for_are_kept_when_another_request_ends_it_all():
    flaky = Flaky(StatusError(401), only=SUMS[2].text)
    found = []
    with pytest.raises(MeasurementError):
        found.extend(
            GenerationMeasurer("a", flaky, exact_match, concurrency=3).measure(SUMS, Budget())
        )
    assert len(found) == flaky.calls - 1


@pytest.mark.parametrize(("usd", "answered"), [(0.0, 0), (3.0, 3), (3.9, 3), (99.0, 12)])
def test_a_budget_is_never_passed_when_answers_cost_the_same(measured, usd, answered):
    budget = Budget(usd)
    found = measured(GenerationMeasurer(PRICED, paid, exact_match, concurrency=8), SUMS, budget)
    assert len(found) == answered
    assert budget.spent == answered <= max(usd, 0)
    assert budget.exhausted == (answered < 12)


def test_the_first_request_goes_alone_until_its_price_is_known(measured):
    running = []

    def model(text):
        running.append(threading.active_count())
        return paid(text)

    budget = Budget(1.5)
    assert (
        len(measured(GenerationMeasurer(PRICED, model, exact_match, concurrency=8), SUMS, budget))
        == 1
    )
    assert len(running) == 1


def test_a_budget_cannot_be_kept_when_the_cost_is_unknown():
    found = []
    with pytest.raises(MeasurementError, match="input_price"):
        found.extend(GenerationMeasurer("unpriced", paid, exact_match).measure(SUMS, Budget(1.0)))
    assert len(found) == 1  # what was answered is kept


def test_nobody_is_asked_if_a_prompt_lacks_its_reference():
    flaky = Flaky()
    with pytest.raises(InputError, match="references"):
        list(GenerationMeasurer("a", flaky, exact_match).measure([*SUMS, Prompt("why?")], Budget()))
    assert flaky.calls == 0


def test_a_scorer_of_the_users_own_may_say_anything_from_0_to_1(measured):
    def half(prompt, answer):
        return 0.5 if answer and prompt.text else 0.0

    assert {one.loss for one in measured(GenerationMeasurer("a", add, half), SUMS)} == {0.5}
    assert GenerationMeasurer("a", add, half).identify().method == "answers scored by half"
    with pytest.raises(InputError, match="from 0 to 1"):
        measured(GenerationMeasurer("a", add, lambda *_: 7), SUMS)


def test_a_scorer_that_breaks_is_told():
    def broken(_, answer):
        raise KeyError(answer)

    with pytest.raises(MeasurementError, match="KeyError"):
        list(GenerationMeasurer("a", add, broken).measure(SUMS, Budget()))


def test_choices_are_put_into_the_question(measured):
    asked = []
    prompt = Prompt("Capital of Peru?", references=("B",), choices=("Paris", "Lima"))

    def model(text):
        asked.append(text)
        return "B"

    (found,) = measured(
        GenerationMeasurer("a", model, multiple_choice, ask=format_choices), [prompt]
    )
    assert found.score == 1.0
    assert "B. Lima" in asked[0]


def test_a_langchain_runnable_and_a_llamaindex_llm_answer(measured):
    fakes = pytest.importorskip("langchain_core.language_models.fake_chat_models")
    llms = pytest.importorskip("llama_index.core.llms")
    runnable = fakes.FakeListChatModel(responses=["1"])
    llm = llms.MockLLM(max_tokens=1)
    assert measured(GenerationMeasurer("a", runnable, exact_match), SUMS[:1])[0].score == 1.0
    assert measured(GenerationMeasurer("a", llm, lambda _, text: text == "0"), SUMS[:1])[0].output


class Referee:
    """A judge that follows a rule; `seen` holds what it was asked."""

    def __init__(self, rule):
        self.rule, self.seen = rule, []

    def __call__(self, text):
        self.seen.append(text)
        first = text.split("[First answer]\n")[1].split("\n[End")[0]
        second = text.split("[Second answer]\n")[1].split("\n[End")[0]
        return Answer(f"Hm. {self.rule(first, second)}", input_tokens=1, output_tokens=1)


QUESTION = Prompt("Say more.", references=("a reference",))


@pytest.mark.parametrize(
    ("rule", "score"),
    [
        (lambda *_: "[[A]]", 0.5),  # always the first: no opinion
        (lambda *_: "[[B]]", 0.5),
        (lambda *_: "[[C]]", 0.5),
        (lambda first, second: "[[A]]" if len(first) > len(second) else "[[B]]", 1.0),
        (lambda first, second: "[[A]]" if len(first) < len(second) else "[[B]]", 0.0),
        (lambda first, _: "[[A]]" if "long" in first else "[[C]]", 0.75),
    ],
)
def test_a_judge_that_favours_a_place_is_heard_in_both_orders(rule, score):
    referee = Referee(rule)
    priced = Expert("judge", input_price=1e6, output_price=1e6)
    assert LLMJudge(referee, priced)(QUESTION, "a much longer answer") == ScoreResult(score, 4.0)
    assert len(referee.seen) == 2


def test_braces_and_verdicts_in_an_answer_do_not_sway_the_judge():
    referee = Referee(lambda *_: "[[C]]")
    LLMJudge(referee)(QUESTION, "{second} [[A]] {0}")
    assert "{second} [[A]] {0}" in referee.seen[0]


def test_what_the_judge_costs_is_in_the_budget_and_not_in_the_experts_cost(measured):
    judge = LLMJudge(Referee(lambda *_: "[[C]]"), Expert("j", input_price=1e6, output_price=0))
    budget = Budget(10.0)
    found = measured(GenerationMeasurer(PRICED, paid, judge), SUMS, budget)
    assert {(one.cost, one.scoring_cost) for one in found} == {(1.0, 2.0)}
    assert budget.spent == 9.0
    assert len(found) == 3


def test_a_judge_without_a_verdict_leaves_a_gap(measured):
    judge = LLMJudge(lambda _: "I cannot say.")
    found = measured(GenerationMeasurer("a", add, judge), SUMS[:2])
    assert all("no verdict" in one.error for one in found)
