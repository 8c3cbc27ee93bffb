"""ChatTryage with a log: ids, outcomes, signals and judged answers, in every way of calling."""

from __future__ import annotations

import pickle

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from pydantic import BaseModel

from tryage import Expert, Router
from tryage.chat.judging import JudgedAnswer
from tryage.errors import InputError
from tryage_langchain import ChatTryage, TryageMiddleware, TryageRouter
from tryage_langchain._judges import read_judge
from tryage_langchain.testing import ScriptedChatModel

EXPERTS = (
    Expert("small", input_price=2, output_price=8),
    Expert("big", input_price=10, output_price=50),
)
SMALL = (10 * 2 + 5 * 8) / 1e6  # scripted models report 10 tokens of input and 5 of output


@pytest.fixture
def chat(make_chat, traffic):
    return make_chat(traffic=traffic, experts=EXPERTS)


def rows(chat):
    """Return all decisions of the log with their outcomes and feedback."""
    log = chat._session.chat_router.router.log
    assert log.flush(10)
    return list(log.traffic.decisions())


async def call(chat, how, value="small question", config=None):
    """Call a chat model in one way, and return the record of its answer."""
    if how == "invoke":
        answer = chat.invoke(value, config)
    elif how == "ainvoke":
        answer = await chat.ainvoke(value, config)
    elif how == "batch":
        (answer,) = chat.batch([value], config)
    elif how == "stream":
        answer = sum_chunks(list(chat.stream(value, config)))
    elif how == "astream":
        answer = sum_chunks([chunk async for chunk in chat.astream(value, config)])
    elif how == "generate":
        answer = chat.generate([[HumanMessage(value)]]).generations[0][0].message
    return answer.response_metadata["tryage"]


def sum_chunks(chunks):
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    return total


WAYS = ("invoke", "ainvoke", "batch", "stream", "astream", "generate")


@pytest.mark.parametrize("how", WAYS)
async def test_every_answer_has_the_id_of_its_decision_and_the_log_its_outcome(chat, how):
    record = await call(chat, how)
    ((decision, outcome, _),) = rows(chat)
    assert decision.id == record["id"] == outcome.decision_id
    assert (decision.chosen, outcome.served_by, outcome.error) == ("small", "small", None)
    assert (outcome.input_tokens, outcome.output_tokens) == (10, 5)
    assert outcome.cost == pytest.approx(SMALL)
    assert outcome.latency >= 0
    assert decision.prompt is None


async def test_feedback_by_the_id_of_an_answer_reaches_its_decision(chat):
    record = await call(chat, "invoke")
    assert chat.feedback(record["id"], 1.0, comment="thanks")
    ((_, _, (feedback,)),) = rows(chat)
    assert (feedback.score, feedback.kind, feedback.comment) == (1.0, "thumb", "thanks")


def test_route_and_explain_ask_nobody_and_leave_no_record(chat):
    chat.route("small question")
    chat.explain("small question")
    assert rows(chat) == []


@pytest.mark.parametrize("how", ["invoke", "stream"])
async def test_a_model_that_is_down_is_in_the_outcome_but_is_no_feedback(chat, small, how):
    small.fails = [ConnectionError("down")]
    await call(chat, how)
    ((decision, outcome, feedback),) = rows(chat)
    assert (decision.chosen, outcome.served_by) == ("small", "big")
    assert (outcome.failed, outcome.error) == (("small",), "ConnectionError")
    assert feedback == []


async def test_a_call_without_any_answer_has_an_outcome_with_its_error(chat, small, big):
    small.fails, big.fails = [ConnectionError("down")], [ConnectionError("down")]
    with pytest.raises(Exception, match="All 2 experts"):
        await call(chat, "invoke")
    ((_, outcome, _),) = rows(chat)
    assert (outcome.served_by, outcome.error) == (None, "ConnectionError")
    assert outcome.failed == ("small", "big")


def test_a_stream_that_breaks_off_has_its_error_in_the_outcome(chat, small):
    small.breaks_after = 2
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the client raises
        list(chat.stream("small question"))
    ((_, outcome, _),) = rows(chat)
    assert outcome.served_by == "small"
    assert outcome.error is not None


class Answer(BaseModel):
    number: int


class ProseModel(ScriptedChatModel):
    """Never calls a tool, so its structured answers do not parse."""

    def _reply(self, _messages, _kwargs):
        return "prose", []


def test_an_answer_that_does_not_parse_is_feedback_about_the_model_that_gave_it(
    router, big, traffic
):
    models = {"small": ProseModel(model="small"), "big": big}
    chat = ChatTryage(models=models, router=router, traffic=traffic)
    assert isinstance(chat.with_structured_output(Answer).invoke("small question"), Answer)
    ((_, outcome, (feedback,)),) = rows(chat)
    assert outcome.served_by == "big"
    assert (feedback.kind, feedback.expert, feedback.score) == ("parse", "small", 0.0)


def test_signals_can_be_switched_off(router, big, traffic):
    models = {"small": ProseModel(model="small"), "big": big}
    chat = ChatTryage(models=models, router=router, traffic=traffic, signals=["retry"])
    chat.with_structured_output(Answer).invoke("small question")
    ((_, _, feedback),) = rows(chat)
    assert feedback == []


def test_an_unknown_signal_is_refused(make_chat):
    with pytest.raises(ValueError, match="signals is"):
        make_chat(signals=["thumb"])


def test_the_same_message_again_in_a_thread_is_a_retry_of_its_answer(chat):
    config = {"configurable": {"thread_id": "t1"}}
    first = chat.invoke("small question", config)
    chat.invoke("small question", config)
    feedback = {record.id: given for record, _, given in rows(chat)}
    ((retry,), nothing) = feedback.values()
    assert retry.decision_id == first.response_metadata["tryage"]["id"]
    assert (retry.kind, retry.score, nothing) == ("retry", 0.0, [])


def test_the_same_message_after_its_answer_is_a_retry(chat):
    question = HumanMessage("small question")
    answer = chat.invoke([question])
    chat.invoke([question, answer, HumanMessage("Small  question")])
    (first, second) = rows(chat)
    assert [one.kind for one in first[2]] == ["retry"]
    assert second[2] == []


def test_equal_messages_without_a_thread_are_of_two_users(chat):
    chat.invoke("small question")
    chat.invoke("small question")
    assert [feedback for _, _, feedback in rows(chat)] == [[], []]


def test_thread_and_tags_of_the_config_are_in_the_log(chat):
    chat.invoke("small q", {"configurable": {"thread_id": "t7"}, "tags": ["critical"]})
    ((decision, _, _),) = rows(chat)
    assert (decision.key, decision.tags) == ("t7", ("critical",))


def test_the_run_of_the_model_has_the_id_in_its_metadata(chat, recorder):
    answer = chat.invoke("small question", {"callbacks": [recorder]})
    (run,) = recorder.of_kind("model")
    assert run["metadata"]["tryage_id"] == answer.response_metadata["tryage"]["id"]


# Judges


class LengthEvaluator:
    def evaluate_strings(self, *, prediction, input):  # noqa: A002 - LangChain's word
        return {"score": float(len(prediction) <= len(input))}


@pytest.mark.parametrize("how", WAYS)
async def test_a_share_of_the_answers_is_judged_in_the_background(make_chat, traffic, how):
    seen = []

    def judge(question, answer):
        seen.append((question, answer))
        return 0.25

    chat = make_chat(traffic=traffic, judge=judge, judge_share=1.0)
    await call(chat, how)
    assert chat._answer_judge.flush(10)
    ((_, _, (feedback,)),) = rows(chat)
    assert (feedback.kind, feedback.score, feedback.expert) == ("judge", 0.25, "small")
    ((question, answer),) = seen
    assert question == "small question"
    assert "scripted-small" in answer


def test_an_evaluator_of_langchain_is_a_judge():
    class Evaluator:
        def evaluate_strings(self, *, prediction, input):  # noqa: A002 - LangChain's word
            return {"score": int(input in prediction)}

    class Judged:
        question, prompt, answer = "yes", "yes", "yes, of course"

    assert read_judge(Evaluator())(Judged()) == 1.0


@pytest.mark.parametrize("judge", [max, LengthEvaluator()])
def test_a_judge_travels_in_a_pickle(judge):
    judged = JudgedAnswer("a", "a", "b")
    again = pickle.loads(pickle.dumps(read_judge(judge)))  # noqa: S301 - our own pickle
    assert again(judged) == read_judge(judge)(judged)


def test_a_judge_without_a_log_is_refused(make_chat, router, small):
    with pytest.raises(ValueError, match="judge has no log"):  # of pydantic
        make_chat(judge=lambda _question, _answer: 1.0)
    with pytest.raises(InputError, match="judge has no log"):
        TryageMiddleware({"small": small}, router, judge=lambda _question, _answer: 1.0)


def test_a_judge_that_is_neither_function_nor_evaluator_is_refused():
    with pytest.raises(InputError, match="judge is a str"):
        read_judge("gpt-4")


# Agents and runnables


@pytest.mark.parametrize("is_async", [False, True])
async def test_agents_have_the_id_in_their_state_and_outcomes_in_the_log(
    router, small, big, traffic, is_async
):
    middleware = TryageMiddleware(
        {"small": small, "big": big}, router, experts=EXPERTS, traffic=traffic
    )
    agent = create_agent(ScriptedChatModel(model="own"), [], middleware=[middleware])
    question = {"messages": [("user", "small question")]}
    state = await agent.ainvoke(question) if is_async else agent.invoke(question)
    ((decision, outcome, _),) = rows(middleware)
    assert state["tryage"]["id"] == decision.id
    assert state["messages"][-1].response_metadata["tryage"]["id"] == decision.id
    assert (outcome.served_by, outcome.cost) == ("small", pytest.approx(SMALL))
    assert middleware.feedback(decision.id, 0.0)


def test_every_step_of_a_tool_loop_is_in_the_log(router, small, big, traffic):
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    middleware = TryageMiddleware({"small": small, "big": big}, router, traffic=traffic)
    agent = create_agent(ScriptedChatModel(model="own"), [add], middleware=[middleware])
    agent.invoke({"messages": [("user", "small question")]})
    found = rows(middleware)
    assert [decision.chosen for decision, _, _ in found] == ["small", "small"]
    assert len({decision.id for decision, _, _ in found}) == 2
    assert all(outcome.served_by == "small" for _, outcome, _ in found)
    assert all(feedback == [] for _, _, feedback in found)


def test_the_later_steps_of_a_turn_teach_as_the_first_does(small, big, traffic):
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    middleware = TryageMiddleware({"gpt-4o-mini": small, "gpt-4o": big}, traffic=traffic)
    agent = create_agent(ScriptedChatModel(model="own"), [add], middleware=[middleware])
    state = agent.invoke({"messages": [("user", "What is 2 + 3?")]})
    (first, _, _), (second, _, _) = rows(middleware)
    assert second.id == state["tryage"]["id"]
    assert second.position.tolist() == first.position.tolist()
    assert second.kind == first.kind
    assert middleware.feedback(second.id, 0.0)
    router = middleware._session.chat_router.router
    assert router.log.has_learned


def test_a_routed_runnable_has_an_outcome_and_its_run_the_id(perception, traffic, recorder):
    router = Router(perception, EXPERTS, traffic=traffic)
    models = {name: ScriptedChatModel(model=name) for name in ("small", "big")}
    runnable = TryageRouter(router, models)
    answers = [runnable.invoke("small question", {"callbacks": [recorder]})]
    answers += [sum_chunks(list(runnable.stream("big question")))]
    answers += runnable.batch(["small question", "big question"])
    router.log.flush(10)
    found = list(traffic.decisions())
    assert [outcome.served_by for _, outcome, _ in found] == ["small", "big"] * 2
    assert all(outcome.cost and outcome.latency is not None for _, outcome, _ in found)
    (run,) = recorder.of_kind("model")
    assert run["metadata"]["tryage_id"] == found[0][0].id
    records = [answer.response_metadata["tryage"] for answer in answers]
    assert [one["id"] for one in records] == [decision.id for decision, _, _ in found]


def test_an_error_about_the_log_does_not_show_its_password(make_chat):
    with pytest.raises(ValueError, match="traffic is a URL") as caught:
        make_chat(traffic="mysql://me:zebra4711@host/db")
    assert "zebra4711" not in str(caught.value)
