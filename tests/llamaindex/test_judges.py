"""TryageLLM with a log: ids, outcomes, signals and judged answers, in every way of calling."""

from __future__ import annotations

import pytest
from llama_index.core.evaluation import EvaluationResult, FaithfulnessEvaluator
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel

from tryage import Expert
from tryage.chat.judging import JudgedAnswer
from tryage.errors import InputError
from tryage_llamaindex import TryageLLM
from tryage_llamaindex._judges import read_judge
from tryage_llamaindex.testing import ScriptedLLM

EXPERTS = (
    Expert("small", input_price=2, output_price=8),
    Expert("big", input_price=10, output_price=50),
)
SMALL = (10 * 2 + 5 * 8) / 1e6  # scripted LLMs report 10 tokens of input and 5 of output


@pytest.fixture
def make_llm(router, traffic):
    def make(small=None, big=None, **settings):
        llms = {
            "small": small or ScriptedLLM(model="small"),
            "big": big or ScriptedLLM(model="big"),
        }
        return TryageLLM.from_llms(
            llms, router=router, experts=EXPERTS, traffic=traffic, **settings
        )

    return make


def rows(llm):
    """Return all decisions of the log with their outcomes and feedback."""
    log = llm._session.chat_router.router.log
    assert log.flush(10)
    return list(log.traffic.decisions())


async def test_every_answer_has_the_id_of_its_decision_and_the_log_its_outcome(
    make_llm, method, call, observer
):
    llm = make_llm()
    answers = await call(llm, method, "small question")
    ((decision, outcome, _),) = rows(llm)
    assert {one.additional_kwargs["tryage"]["id"] for one in answers} == {decision.id}
    assert (outcome.decision_id, outcome.served_by, outcome.error) == (decision.id, "small", None)
    assert (outcome.input_tokens, outcome.output_tokens) == (10, 5)
    assert outcome.cost == pytest.approx(SMALL)
    (event,) = [one for one in observer.events if one.class_name() == "RoutingDecisionEvent"]
    assert event.record["id"] == decision.id


def test_feedback_by_the_id_of_an_answer_reaches_its_decision(make_llm):
    llm = make_llm()
    answer = llm.complete("small question")
    assert llm.feedback(answer.additional_kwargs["tryage"]["id"], 0.5, kind="test")
    ((_, _, (feedback,)),) = rows(llm)
    assert (feedback.score, feedback.kind) == (0.5, "test")


def test_a_model_that_is_down_is_in_the_outcome_but_is_no_feedback(make_llm):
    llm = make_llm(small=ScriptedLLM(model="small", fails=[ConnectionError("down")]))
    llm.complete("small question")
    ((_, outcome, feedback),) = rows(llm)
    assert (outcome.served_by, outcome.failed) == ("big", ("small",))
    assert feedback == []


class Answer(BaseModel):
    number: int


def test_an_answer_that_does_not_parse_is_feedback_about_the_model_that_gave_it(make_llm):
    llm = make_llm(small=ScriptedLLM(model="small", calls_tools=False))
    llm.structured_predict(Answer, PromptTemplate("small question"))
    ((_, outcome, (feedback,)),) = rows(llm)
    assert outcome.served_by == "big"
    assert (feedback.kind, feedback.expert, feedback.score) == ("parse", "small", 0.0)


def test_keys_and_tags_of_a_block_are_in_the_log(make_llm):
    llm = make_llm()
    with llm.using(keys={"thread_id": "t7"}, tags=["critical"]):
        llm.complete("small question")
    ((decision, _, _),) = rows(llm)
    assert (decision.key, decision.tags) == ("t7", ("critical",))


def test_keys_of_a_block_are_a_mapping_and_numbers_become_texts(make_llm):
    llm = make_llm()
    with llm.using(keys={"thread_id": 7}):
        llm.complete("small question")
    ((decision, _, _),) = rows(llm)
    assert decision.key == "7"
    with pytest.raises(InputError, match="keys must be a mapping"), llm.using(keys="t7"):
        pass


def test_the_same_message_again_in_a_thread_is_a_retry_of_its_answer(make_llm):
    llm = make_llm()
    with llm.using(keys={"thread_id": "t1"}):
        llm.chat([ChatMessage("small question")])
        llm.chat([ChatMessage("small question")])
    (first, second) = rows(llm)
    assert [[one.kind for one in feedback] for _, _, feedback in (first, second)] == [["retry"], []]


async def test_a_share_of_the_answers_is_judged_in_the_background(make_llm, method, call):
    llm = make_llm(judge=lambda question, answer: "small" in question and "small" in answer,
                   judge_share=1.0)  # fmt: skip
    await call(llm, method, "small question")
    assert llm._answer_judge.flush(10)
    ((_, _, (feedback,)),) = rows(llm)
    assert (feedback.kind, feedback.score, feedback.expert) == ("judge", 1.0, "small")


def test_a_faithfulness_evaluator_reads_the_prompt_as_context():
    judge_llm = ScriptedLLM(model="judge", replies=["YES", "YES", "NO", "NO"])
    judge = read_judge(FaithfulnessEvaluator(llm=judge_llm))
    judged = JudgedAnswer("Which day?", "It is Monday.\n\nWhich day?", "Monday")
    assert judge(judged) == 1.0
    asked = str([one["messages"] for one in judge_llm.calls])
    assert "It is Monday." in asked


def test_an_answer_that_an_evaluator_finds_invalid_does_not_count(monkeypatch):
    evaluator = FaithfulnessEvaluator(llm=ScriptedLLM())
    invalid = EvaluationResult(score=0.0, invalid_result=True)
    monkeypatch.setattr(type(evaluator), "evaluate", lambda *_, **__: invalid)
    assert read_judge(evaluator)(JudgedAnswer("q", "q", "a")) is None


def test_a_judge_that_is_neither_function_nor_evaluator_is_refused():
    with pytest.raises(InputError, match="judge is a str"):
        read_judge("gpt-4")


def test_an_error_about_the_log_does_not_show_its_password(router):
    with pytest.raises(ValueError, match="traffic is a URL") as caught:
        TryageLLM.from_llms(
            [ScriptedLLM(model="small")], router=router, traffic="mysql://me:zebra4711@host/db"
        )
    assert "zebra4711" not in str(caught.value)
