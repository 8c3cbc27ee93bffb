"""TryageRouter: the chosen child runs in its own place, with everything LangChain promises."""

from __future__ import annotations

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import RunnableLambda

from tryage.core.decision import Decision
from tryage.core.preferences import Preferences
from tryage.errors import InputError, LibraryError, NoExpertError
from tryage.router import Router
from tryage_langchain import TryageRouter


def echo(name):
    return RunnableLambda(lambda value: (name, value), name=name)


@pytest.fixture
def chooser(router):
    return TryageRouter(router=router, runnables={"small": echo("small"), "big": echo("big")})


def test_without_runnables_the_decision_is_the_output(router):
    decision = TryageRouter(router=router).invoke("big question")
    assert isinstance(decision, Decision)
    assert decision.expert.name == "big"


def test_the_chosen_runnable_gets_the_input_unchanged(chooser):
    for value in (
        "big question",
        StringPromptValue(text="big question"),
        ChatPromptValue(messages=[HumanMessage("big question")]),
        [SystemMessage("small"), HumanMessage("big question")],
        [("system", "small"), ("human", "big question")],
        HumanMessage("big question"),
    ):
        name, received = chooser.invoke(value)
        assert name == "big"
        assert received is value


def test_a_conversation_is_routed_on_its_last_human_message(chooser):
    talk = [HumanMessage("big"), AIMessage("big"), HumanMessage("small talk"), AIMessage("big")]
    assert chooser.invoke(talk)[0] == "small"


def test_a_conversation_without_a_human_is_routed_on_its_last_message(chooser):
    assert chooser.invoke([SystemMessage("small"), AIMessage("big answer")])[0] == "big"


def test_of_a_multimodal_message_only_the_text_is_routed(chooser):
    image = {"type": "image_url", "image_url": {"url": "small"}}
    assert chooser.invoke([HumanMessage([image, {"type": "text", "text": "big one"}])])[0] == "big"


def test_flags_are_taken_out_of_what_the_child_gets(flagged):
    chooser = TryageRouter(router=flagged, runnables={"small": echo("small"), "big": echo("big")})
    text, clean = "big one [Flag: model=small]", "big one"
    assert chooser.invoke(text) == ("small", clean)
    assert chooser.invoke(StringPromptValue(text=text)) == ("small", StringPromptValue(text=clean))
    assert chooser.invoke(HumanMessage(text, id="7")) == ("small", HumanMessage(clean, id="7"))


def test_flags_are_taken_out_of_the_last_human_message_only(flagged):
    chooser = TryageRouter(router=flagged, runnables={"small": echo("small"), "big": echo("big")})
    image = {"type": "image_url", "image_url": {"url": "x"}}
    first = HumanMessage("big [Flag: model=big]")
    last = HumanMessage([image, {"type": "text", "text": "big one [Flag: model=small]"}])
    name, received = chooser.invoke(ChatPromptValue(messages=[first, last]))
    assert name == "small"
    assert received.messages == [
        first,
        HumanMessage([image, {"type": "text", "text": "big one"}]),
    ]
    assert last.content[1]["text"].endswith("[Flag: model=small]"), (
        "the caller's message was changed"
    )


def test_flags_stay_in_the_text_when_the_operator_does_not_allow_them(chooser):
    text = "big one [Flag: model=small]"
    assert chooser.invoke(text) == ("big", text)


def test_only_experts_with_a_runnable_are_candidates(router):
    assert (
        TryageRouter(router=router, runnables={"small": echo("small")}).invoke("big")[0] == "small"
    )


def test_a_runnable_under_an_alias_or_another_case_serves_its_expert(router):
    assert TryageRouter(router=router, runnables={"BIG": echo("big")}).invoke("big")[0] == "big"


def test_a_plain_function_is_a_runnable(router):
    assert TryageRouter(router=router, runnables={"big": str.upper}).invoke("big") == "BIG"


def test_unknown_runnables_are_named(router):
    with pytest.raises(LibraryError, match="huge"):
        TryageRouter(router=router, runnables={"huge": echo("huge")})


def test_two_names_of_one_expert_are_refused(router):
    with pytest.raises(ValueError, match="big"):
        TryageRouter(router=router, runnables={"big": echo("a"), "BIG": echo("b")})


def test_no_runnables_at_all_are_refused(router):
    with pytest.raises(InputError, match="empty"):
        TryageRouter(router=router, runnables={})


@pytest.mark.parametrize("value", [7, {"question": "big"}, None, b"big"])
def test_what_is_not_a_prompt_is_refused_in_a_sentence(chooser, value):
    with pytest.raises(InputError, match=type(value).__name__):
        chooser.invoke(value)


def test_no_messages_are_refused(chooser):
    with pytest.raises(InputError, match="No messages"):
        chooser.invoke([])


def test_keyword_arguments_reach_the_child(router):
    child = RunnableLambda(lambda _, **kwargs: kwargs)
    chooser = TryageRouter(router=router, runnables={"big": child})
    assert chooser.bind(stop=["\n"]).invoke("big") == {"stop": ["\n"]}


def test_a_model_can_be_asked_for_per_call(chooser):
    config = {"configurable": {"tryage_model": "SMALL"}}
    assert chooser.invoke("big", config)[0] == "small"
    assert chooser.with_config(config).invoke("big")[0] == "small"
    with pytest.raises(LibraryError, match="huge"):
        chooser.invoke("big", {"configurable": {"tryage_model": "huge"}})


def test_a_model_asked_for_is_not_asked_of_a_router_further_down(router):
    inner = TryageRouter(router=router.subset(["small"]), runnables={"small": echo("small")})
    outer = TryageRouter(router=router, runnables={"big": inner, "small": echo("small")})
    assert outer.invoke("small", {"configurable": {"tryage_model": "big"}})[0] == "small"


@pytest.mark.parametrize("as_dict", [False, True])
def test_preferences_can_be_given_per_call(chooser, as_dict):
    preferences = Preferences(only=["small"])
    given = preferences.to_dict() if as_dict else preferences
    assert chooser.invoke("big", {"configurable": {"tryage_preferences": given}})[0] == "small"


def test_preferences_of_another_type_are_refused(chooser):
    with pytest.raises(InputError, match="tryage_preferences is a str"):
        chooser.invoke("big", {"configurable": {"tryage_preferences": "small"}})


def test_asking_cannot_loosen_what_the_operator_requires(perception):
    strict = Router(perception, preferences=Preferences(only=["small"]), strict=True)
    chooser = TryageRouter(router=strict, runnables={"small": echo("small"), "big": echo("big")})
    with pytest.raises(NoExpertError):
        chooser.invoke("big", {"configurable": {"tryage_model": "big"}})


def test_the_per_call_settings_are_declared(chooser):
    assert {"tryage_preferences", "tryage_model"} <= {spec.id for spec in chooser.config_specs}


def test_a_pipeline_with_templates_and_a_parser_works_and_streams(router):
    models = {
        "small": FakeListChatModel(responses=["tiny"]),
        "big": FakeListChatModel(responses=["huge"]),
    }
    chooser = TryageRouter(router=router, runnables=models)
    for template in (PromptTemplate, ChatPromptTemplate):
        chain = template.from_template("{size} one") | chooser | StrOutputParser()
        assert chain.invoke({"size": "big"}) == "huge"
        assert list(chain.stream({"size": "small"})) == ["t", "i", "n", "y"]


async def test_the_same_pipeline_works_and_streams_asynchronously(router):
    chooser = TryageRouter(router=router, runnables={"big": FakeListChatModel(responses=["huge"])})
    chain = ChatPromptTemplate.from_template("{size}") | chooser | StrOutputParser()
    assert await chain.ainvoke({"size": "big"}) == "huge"
    assert [chunk async for chunk in chain.astream({"size": "big"})] == ["h", "u", "g", "e"]


def test_a_streamed_input_is_gathered_before_it_is_routed(chooser):
    assert list(chooser.transform(iter(["big ", "question"]))) == [("big", "big question")]


async def test_a_streamed_input_is_gathered_asynchronously(chooser):
    async def pieces():
        for piece in ("big ", "question"):
            yield piece

    chunks = [chunk async for chunk in chooser.atransform(pieces())]
    assert chunks == [("big", "big question")]


async def test_the_decision_is_also_streamed_and_awaited(router):
    chooser = TryageRouter(router=router)
    assert [d.expert.name for d in chooser.stream("big")] == ["big"]
    assert [d.expert.name async for d in chooser.astream("big")] == ["big"]
    assert (await chooser.ainvoke("big")).expert.name == "big"


def test_nothing_runs_before_the_stream_is_read_and_the_rest_not_after_it_is_left(router):
    made = []

    def letters(_):
        for letter in "abc":
            made.append(letter)
            yield letter

    stream = TryageRouter(router=router, runnables={"big": letters}).stream("big")
    assert made == []
    assert next(stream) == "a"
    stream.close()
    assert made == ["a"]
