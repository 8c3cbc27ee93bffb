"""An answer that does not follow the schema asks the next model, by all three methods of LangChain.

Two real clients of OpenAI's protocol ask a server on loopback. One of them answers nonsense.
"""

from __future__ import annotations

import json

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, ValidationError

from tryage.errors import AllFailedError, InvalidAnswerError
from tryage.testing.hub.http import LoopbackServer, json_response
from tryage_langchain import ChatTryage
from tryage_langchain._answers import check_structured_output
from tryage_langchain.testing import ScriptedChatModel

METHODS = ("json_schema", "function_calling", "json_mode")


class Person(BaseModel):
    """A person."""

    name: str
    age: int


GOOD = json.dumps({"name": "Ada", "age": 36})
NOT_JSON, WRONG_TYPE, NO_CALL = "Ada is 36.", json.dumps({"name": "Ada"}), None
ADA = Person(name="Ada", age=36)


def completion(body, text):
    """Return a completion with a tool call if the request has a tool, else with plain text."""
    message = {"role": "assistant", "content": text or "I will not."}
    if body.get("tools") and text is not None:
        function = {"name": "Person", "arguments": text}
        calls = [{"id": "1", "type": "function", "function": function}]
        message = {"role": "assistant", "content": None, "tool_calls": calls}
    return {
        "id": "1", "object": "chat.completion", "created": 1, "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }  # fmt: skip


class Answers:
    """Answers each model with the text in `texts`, and keeps the names of the models in `asked`."""

    def __init__(self):
        self.texts, self.asked = {}, []

    def __call__(self, request):
        body = request.json()
        self.asked.append(body["model"])
        return json_response(completion(body, self.texts[body["model"]]))


@pytest.fixture
def server():
    answers = Answers()
    with LoopbackServer(answers) as running:
        answers.url = f"{running.url}/v1"
        yield answers


@pytest.fixture
def make_chat(server, router):
    """Return ChatTryage over models whose answers are given, and their server."""

    def make(**texts):
        server.texts = texts
        models = {name: ChatOpenAI(model=name, api_key="x", base_url=server.url) for name in texts}
        return ChatTryage.from_models(models, router=router, sticky="call"), server

    return make


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("bad", [NOT_JSON, WRONG_TYPE, NO_CALL])
@pytest.mark.parametrize("method", ["invoke", "ainvoke", "batch", "abatch"])
async def test_the_next_model_answers_if_one_does_not_follow_the_schema(
    make_chat, method, call_runnable, kind, bad
):
    chat, server = make_chat(big=bad, small=GOOD)
    person = chat.with_structured_output(Person, method=kind)
    answer = await call_runnable(person, method, "big question")
    assert (answer[0] if isinstance(answer, list) else answer) == ADA
    assert server.asked == ["big", "small"]


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("bad", [NOT_JSON, WRONG_TYPE, NO_CALL])
def test_with_the_raw_answer_the_next_model_is_asked_too(make_chat, kind, bad):
    chat, server = make_chat(big=bad, small=GOOD)
    answer = chat.with_structured_output(Person, method=kind, include_raw=True).invoke("big one")
    assert (answer["parsed"], answer["parsing_error"]) == (ADA, None)
    record = answer["raw"].response_metadata["tryage"]
    assert (record["model"], list(record["failed"])) == ("small", ["big"])
    assert server.asked == ["big", "small"]


@pytest.mark.parametrize("include_raw", [False, True])
@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("bad", [NOT_JSON, WRONG_TYPE, NO_CALL])
def test_if_nobody_follows_the_schema_it_ends_as_with_one_model_alone(
    make_chat, kind, bad, include_raw
):
    """LangChain raises, returns None, or returns a `parsing_error`: the methods differ."""
    chat, _ = make_chat(big=bad, small=bad)
    arguments = {"schema": Person, "method": kind, "include_raw": include_raw}
    try:
        expected = chat._clients["big"].with_structured_output(**arguments).invoke("big one")
    except (OutputParserException, ValidationError) as error:
        with pytest.raises(AllFailedError, match=r"big: InvalidAnswerError[^$]*small: Invalid"):
            chat.with_structured_output(**arguments).invoke("big one")
        only_big = {"configurable": {"tryage_model": "big"}}
        with pytest.raises(type(error)):
            chat.with_structured_output(**arguments).invoke("big one", only_big)
        return
    answer = chat.with_structured_output(**arguments).invoke("big one")
    if expected is None:
        assert answer is None
    else:
        assert answer["parsed"] is expected["parsed"] is None
        assert type(answer["parsing_error"]) is type(expected["parsing_error"])
        assert answer["raw"].content == expected["raw"].content


def test_an_answer_without_a_tool_call_is_none_as_in_langchain(make_chat):
    chat, _ = make_chat(big=NO_CALL)
    bound = chat.with_structured_output(Person, method="function_calling")
    assert bound.invoke("big one") is None


def test_a_schema_as_a_dict_is_checked_for_json(make_chat):
    schema = {"title": "Person", "description": "A person.", **Person.model_json_schema()}
    chat, server = make_chat(big=NOT_JSON, small=GOOD)
    answer = chat.with_structured_output(schema, method="json_mode").invoke("big one")
    assert answer == json.loads(GOOD)
    assert server.asked == ["big", "small"]


# What is not an error of the answer --------------------------------------------------------------


class Other(BaseModel):
    """Arguments of a client, which pydantic checks, too."""

    wanted: int


@pytest.mark.parametrize("mistake", [TypeError("mine"), KeyError("mine")])
async def test_a_mistake_in_a_program_is_raised(mistake):
    checked = check_structured_output(ScriptedChatModel(fails=[mistake] * 4), Person)
    with pytest.raises(type(mistake)):
        checked.invoke("x")
    with pytest.raises(type(mistake)):
        await checked.ainvoke("x")
    with pytest.raises(type(mistake)):
        list(checked.stream("x"))


def test_an_error_of_another_schema_is_not_one_of_the_answer():
    with pytest.raises(ValidationError) as error:
        Other.model_validate({})
    checked = check_structured_output(ScriptedChatModel(fails=[error.value]), Person)
    with pytest.raises(ValidationError):
        checked.invoke("x")
    same = check_structured_output(ScriptedChatModel(fails=[error.value]), Other)
    with pytest.raises(InvalidAnswerError):
        same.invoke("x")


async def test_streams_raise_the_same_errors():
    refusal = OutputParserException("no")
    checked = check_structured_output(ScriptedChatModel(fails=[refusal] * 2), Person)
    with pytest.raises(InvalidAnswerError):
        list(checked.stream("x"))
    with pytest.raises(InvalidAnswerError):
        [chunk async for chunk in checked.astream("x")]


def test_answers_of_other_shapes_pass():
    checked = check_structured_output(ScriptedChatModel(), Person)
    assert isinstance(checked.invoke("x"), AIMessage)
