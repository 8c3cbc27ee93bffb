"""What each verifier reads from an answer."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from tryage.errors import InputError
from tryage.policies.evidence import (
    Agreement,
    AnswerEvidence,
    AnswerTest,
    FormatCheck,
    Judge,
    LogProbability,
    Reading,
    said,
)
from tryage.scoring.scorers import ScoreResult

TOOL_CALL = {"name": "search", "args": {"q": "a"}, "id": "1"}


def test_log_probability_is_the_mean_over_the_tokens() -> None:
    answer = AnswerEvidence(text="ab", log_probabilities=(-0.25, -0.75))
    assert LogProbability().read(answer) == Reading(-0.5)


def test_without_log_probabilities_there_is_no_evidence() -> None:
    for verifier in (LogProbability(), LogProbability(margin=True)):
        assert verifier.read(AnswerEvidence(text="ab")) == Reading(None)
    silent = AnswerEvidence(log_probabilities=(float("-inf"),))
    assert LogProbability().read(silent) == Reading(None)


def test_the_margin_is_between_the_two_most_likely_tokens() -> None:
    answer = AnswerEvidence(top_log_probabilities=((-0.5, -1.5, -9.0), (-0.25, -3.25), (-0.1,)))
    assert LogProbability(margin=True).read(answer) == Reading(2.0)


def test_a_stream_may_go_on_when_the_tokens_that_count_have_come() -> None:
    verifier = LogProbability(tokens=2)
    beginning = AnswerEvidence(log_probabilities=(-1.0,))
    assert not verifier.is_complete(beginning)
    whole = AnswerEvidence(log_probabilities=(-1.0, -2.0, -30.0))
    assert verifier.is_complete(whole)
    assert verifier.read(whole) == Reading(-1.5)
    assert not LogProbability().is_complete(whole)


def test_agreement_is_the_share_of_samples_that_say_the_same() -> None:
    samples = (AnswerEvidence(text="It is **42**"), AnswerEvidence(text="41"))
    answer = AnswerEvidence(text="The answer is 42.", samples=samples)
    assert Agreement(samples=3).samples == 2
    assert Agreement(samples=3).read(answer) == Reading(0.5)
    assert Agreement(agree=lambda *_: True).read(answer) == Reading(1.0)


def test_agreement_without_samples_is_no_evidence() -> None:
    assert Agreement().read(AnswerEvidence(text="42")) == Reading(None)
    failed = AnswerEvidence(text="42", samples=(AnswerEvidence(),))
    assert Agreement().read(failed) == Reading(None)


def test_tool_calls_agree_whatever_their_ids_are() -> None:
    other = AnswerEvidence(tool_calls=({**TOOL_CALL, "id": "2"},))
    answer = AnswerEvidence(tool_calls=(TOOL_CALL,), samples=(other,))
    assert Agreement().read(answer) == Reading(1.0)
    assert said(AnswerEvidence(parsed=SimpleNamespace(a=1))) == '{"a": 1}'


@pytest.mark.parametrize(
    ("check", "text", "value"),
    [
        ("json", '{"a": 1}', 1),
        ("json", "no json", 0),
        ("python", "```python\nx = 1\n```", 1),
        ("python", "Here is the code you want", 0),
        ({"type": "object", "required": ["a"]}, '{"a": 1}', 1),
        ({"type": "object", "required": ["a"]}, '{"b": 1}', 0),
        (None, " ", 0),
        (None, "text", 1),
        (lambda answer: None if answer.text == "?" else True, "?", None),
    ],
)
def test_format_check_says_whether_the_form_is_valid(check, text, value) -> None:
    pytest.importorskip("jsonschema")
    assert FormatCheck(check).read(AnswerEvidence(text=text)).value == value


@pytest.mark.parametrize(
    "reason",
    ["length", "MAX_TOKENS", "max_output_tokens", "model_length", "content_filter"],
)
def test_what_was_cut_off_is_not_valid_in_whatever_words_of_a_provider(reason) -> None:
    answer = AnswerEvidence(text="{}", finish_reason=reason)
    assert FormatCheck().read(answer) == Reading(0.0)
    assert FormatCheck().read(replace(answer, finish_reason="stop")) == Reading(1.0)


def test_what_was_not_parsed_is_not_valid_and_a_call_of_a_tool_is() -> None:
    answer = AnswerEvidence(text="{}", parsing_error="no field a")
    assert FormatCheck().read(answer) == Reading(0.0)
    assert FormatCheck().read(AnswerEvidence(tool_calls=(TOOL_CALL,))) == Reading(1.0)


def test_a_judge_reads_question_and_answer_and_is_billed() -> None:
    seen = []

    def judge(question, answer):
        seen.append((question, answer))
        return ScoreResult(0.75, cost=0.002)

    answer = AnswerEvidence(question="2 + 2?", text="4")
    assert Judge(judge, cost=0.001).read(answer) == Reading(0.75, 0.002)
    assert seen == [("2 + 2?", "4")]
    assert Judge(lambda *_: None, cost=0).read(answer) == Reading(None)


def test_a_test_may_be_true_a_score_or_unknown() -> None:
    answer = AnswerEvidence(text="4")
    assert AnswerTest(lambda one: one.text == "4").read(answer) == Reading(1.0)
    assert AnswerTest(lambda _: 0.25).read(answer) == Reading(0.25)
    assert AnswerTest(lambda _: None).read(answer) == Reading(None)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Agreement(samples=1),
        lambda: Agreement(agree="exact"),
        lambda: LogProbability(tokens=0),
        lambda: FormatCheck("xml"),
        lambda: Judge("model", cost=1),
        lambda: Judge(lambda *_: 1.0, cost=-1),
        lambda: AnswerTest(None),
    ],
)
def test_wrong_arguments_are_refused(make) -> None:
    with pytest.raises(InputError):
        make()


def test_a_score_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match="from 0 to 1"):
        AnswerTest(lambda _: 7).read(AnswerEvidence(text="4"))
