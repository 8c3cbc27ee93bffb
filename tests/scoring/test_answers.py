"""Scored answers: concurrency, retries and budgets, with models made of functions."""

from __future__ import annotations

import threading

import pytest

from tryage.core.expert import Expert
from tryage.errors import InputError, MeasurementError
from tryage.scoring.answers import GenerationMeasurer
from tryage.scoring.measurement import Budget, Prompt
from tryage.scoring.replies import Answer
from tryage.scoring.scorers import (
    LLMJudge,
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
    """Raises the given errors first, then answers; `calls` counts."""

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
def waits(monkeypatch):
    """Records the waits of a budget instead of waiting; returns the seconds."""
    seconds: list[float] = []
    monkeypatch.setattr(Budget, "sleep", lambda _, wait: seconds.append(wait) or True)
    return seconds


def test_right_answers_score_one_and_have_tokens_cost_and_latency(measure):
    found = measure(GenerationMeasurer(PRICED, paid, exact_match), SUMS)
    assert [one.score for one in found] == [1.0] * 12
    assert [one.loss for one in found] == [0.0] * 12
    assert {one.output_tokens for one in found} == {1.0}
    assert {one.cost for one in found} == {1.0}
    assert all(one.latency >= 0 for one in found)
    assert found[3].output == "4"


def test_readability_is_measured_and_is_unknown_for_numbers(measure):
    (easy,) = measure(
        GenerationMeasurer("a", lambda _: "The cat sat. The dog ran.", lambda *_: 1), SUMS[:1]
    )
    (hard,) = measure(
        GenerationMeasurer(
            "a", lambda _: "Institutional responsibilities necessitate.", lambda *_: 1
        ),
        SUMS[:1],
    )
    assert easy.readability == pytest.approx(206.835 - 1.015 * 3 - 84.6)  # 6 words, 2 sentences
    assert hard.readability < easy.readability
    (number,) = measure(GenerationMeasurer("a", add, exact_match), SUMS[:1])
    assert number.readability is None
    assert number.output_tokens is None


def test_no_more_requests_run_at_once_than_allowed(measure):
    running, peak, lock = 0, 0, threading.Lock()
    barrier = threading.Barrier(3, timeout=10)

    def model(text):
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        barrier.wait()  # passes only if three run at once
        with lock:
            running -= 1
        return add(text)

    measure(GenerationMeasurer("a", model, exact_match, concurrency=3), SUMS)
    assert peak == 3


def test_transient_errors_are_retried_and_retry_after_is_respected(measure, waits):
    flaky = Flaky(StatusError(429, retry_after=7), StatusError(503), TimeoutError())
    found = measure(GenerationMeasurer("a", flaky, exact_match, concurrency=1), SUMS[:2])
    assert [one.score for one in found] == [1.0, 1.0]
    assert flaky.calls == 5
    assert waits[0] == 7
    assert 1.0 <= waits[1] <= 2.0
    assert 2.0 <= waits[2] <= 4.0


def test_a_refused_prompt_stays_a_gap_and_the_others_are_answered(measure, waits):
    flaky = Flaky(StatusError(400), only=SUMS[1].text)
    found = measure(GenerationMeasurer("a", flaky, exact_match), SUMS[:4])
    assert [one.score for one in found] == [1.0, None, 1.0, 1.0]
    assert "400" in found[1].error
    assert "sk-abc" not in found[1].error
    assert flaky.calls == 4
    assert waits == []


def test_an_error_that_outlasts_all_retries_leaves_a_gap(measure, waits):
    flaky = Flaky(*[StatusError(503)] * 3, only=SUMS[0].text)
    found = measure(GenerationMeasurer("a", flaky, exact_match, retries=2), SUMS[:3])
    assert [one.score for one in found] == [None, 1.0, 1.0]
    assert len(waits) == 2


@pytest.mark.parametrize("error", [StatusError(401), StatusError(404), TypeError("a mistake")])
@pytest.mark.usefixtures("waits")
def test_a_client_that_refuses_every_prompt_is_given_up_at_once(error, measure):
    flaky = Flaky(*[error] * 99)
    with pytest.raises(MeasurementError, match="a cannot be measured"):
        measure(GenerationMeasurer("a", flaky, exact_match, concurrency=2), SUMS)
    assert flaky.calls <= 2


@pytest.mark.usefixtures("waits")
def test_an_expert_that_fails_ten_times_in_a_row_is_given_up():
    flaky = Flaky(*[StatusError(500)] * 99)
    measurer = GenerationMeasurer("a", flaky, exact_match, concurrency=1, retries=0)
    found = []
    with pytest.raises(MeasurementError, match="10 prompts in a row"):
        found.extend(measurer.measure(SUMS, Budget()))
    assert len(found) == 10 == flaky.calls


def test_answers_that_were_paid_for_are_kept_when_another_request_ends_the_expert():
    flaky = Flaky(StatusError(401), only=SUMS[2].text)
    found = []
    with pytest.raises(MeasurementError):
        found.extend(
            GenerationMeasurer("a", flaky, exact_match, concurrency=3).measure(SUMS, Budget())
        )
    assert len(found) == flaky.calls - 1


@pytest.mark.parametrize(("usd", "answered"), [(0.0, 0), (3.0, 3), (3.9, 3), (99.0, 12)])
def test_a_budget_is_never_exceeded_when_answers_cost_the_same(measure, usd, answered):
    budget = Budget(usd)
    found = measure(GenerationMeasurer(PRICED, paid, exact_match, concurrency=8), SUMS, budget)
    assert len(found) == answered
    assert budget.spent == answered <= max(usd, 0)
    assert budget.exhausted == (answered < 12)


def test_the_first_request_runs_alone_until_its_price_is_known(measure):
    running = []

    def model(text):
        running.append(threading.active_count())
        return paid(text)

    budget = Budget(1.5)
    assert (
        len(measure(GenerationMeasurer(PRICED, model, exact_match, concurrency=8), SUMS, budget))
        == 1
    )
    assert len(running) == 1


def test_a_budget_cannot_be_kept_when_the_cost_is_unknown():
    found = []
    with pytest.raises(MeasurementError, match="input_price"):
        found.extend(GenerationMeasurer("unpriced", paid, exact_match).measure(SUMS, Budget(1.0)))
    assert len(found) == 1  # what was answered is kept


def test_no_request_is_sent_if_a_prompt_lacks_its_reference():
    flaky = Flaky()
    with pytest.raises(InputError, match="references"):
        list(GenerationMeasurer("a", flaky, exact_match).measure([*SUMS, Prompt("why?")], Budget()))
    assert flaky.calls == 0


def test_a_scorer_of_the_user_may_return_anything_from_0_to_1(measure):
    def half(prompt, answer):
        return 0.5 if answer and prompt.text else 0.0

    assert {one.loss for one in measure(GenerationMeasurer("a", add, half), SUMS)} == {0.5}
    assert GenerationMeasurer("a", add, half).identify().method == "answers scored by half"
    with pytest.raises(InputError, match="from 0 to 1"):
        measure(GenerationMeasurer("a", add, lambda *_: 7), SUMS)


def test_an_error_of_the_scorer_is_in_the_message():
    def broken(_, answer):
        raise KeyError(answer)

    with pytest.raises(MeasurementError, match="KeyError"):
        list(GenerationMeasurer("a", add, broken).measure(SUMS, Budget()))


def test_choices_are_in_the_text_that_is_sent(measure):
    asked = []
    prompt = Prompt("Capital of Peru?", references=("B",), choices=("Paris", "Lima"))

    def model(text):
        asked.append(text)
        return "B"

    (found,) = measure(
        GenerationMeasurer("a", model, multiple_choice, ask=format_choices), [prompt]
    )
    assert found.score == 1.0
    assert "B. Lima" in asked[0]


def test_a_langchain_runnable_and_a_llamaindex_llm_can_be_measured(measure):
    fakes = pytest.importorskip("langchain_core.language_models.fake_chat_models")
    llms = pytest.importorskip("llama_index.core.llms")
    runnable = fakes.FakeListChatModel(responses=["1"])
    llm = llms.MockLLM(max_tokens=1)
    assert measure(GenerationMeasurer("a", runnable, exact_match), SUMS[:1])[0].score == 1.0
    assert measure(GenerationMeasurer("a", llm, lambda _, text: text == "0"), SUMS[:1])[0].output


def test_the_cost_of_the_judge_is_in_the_budget_and_not_in_the_cost_of_the_expert(measure):
    judge = LLMJudge(lambda _: Answer("[[C]]", 1, 1), Expert("j", input_price=1e6, output_price=0))
    budget = Budget(10.0)
    found = measure(GenerationMeasurer(PRICED, paid, judge), SUMS, budget)
    assert {(one.cost, one.scoring_cost) for one in found} == {(1.0, 2.0)}
    assert budget.spent == 9.0
    assert len(found) == 3


def test_a_judge_without_a_verdict_leaves_a_gap(measure):
    judge = LLMJudge(lambda _: "I cannot say.")
    found = measure(GenerationMeasurer("a", add, judge), SUMS[:2])
    assert all("no verdict" in one.error for one in found)
