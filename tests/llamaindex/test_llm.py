"""TryageLLM in place of any other LLM: what it answers, tells, plans with, and refuses."""

from __future__ import annotations

import datetime

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import LLM, ChatMessage, ImageBlock, MockLLM, TextBlock
from llama_index.core.llms.function_calling import FunctionCallingLLM
from pydantic import ValidationError

from tryage import Expert, Preferences, Router
from tryage.errors import InputError, MissingExtraError
from tryage.hub.catalog import Catalogue
from tryage.hub.parse import parse_model
from tryage_llamaindex import TryageLLM
from tryage_llamaindex.testing import ScriptedLLM


def answered_by(chunks):
    return {chunk.additional_kwargs["tryage"]["model"] for chunk in chunks}


def test_it_is_an_llm_that_calls_functions():
    bases = [base.__name__ for base in TryageLLM.__mro__]
    for base in (BaseLLM, LLM, FunctionCallingLLM):
        assert base.__name__ in bases
    assert TryageLLM.class_name() == "TryageLLM"


async def test_the_chosen_child_answers_in_every_way(llm, way, call):
    for name in ("small", "big"):
        chunks = await call(llm, way, f"{name} question")
        assert str(chunks[-1]).endswith(f"Hello from scripted-{name} today")
        assert answered_by(chunks) == {name}


async def test_every_chunk_of_a_stream_is_the_childs_own(llm, call):
    chunks = await call(llm, "stream_chat", "small question")
    assert "".join(chunk.delta for chunk in chunks) == "Hello from scripted-small today"
    assert chunks[-1].raw["usage"]["total_tokens"] == 15


def test_the_record_says_why(llm):
    record = llm.chat([ChatMessage("big question")]).additional_kwargs["tryage"]
    assert record["reason"] == "lowest total of 2"
    assert record["how"] == "routed"
    assert record["scores"] == {"big": 0.0, "small": 1.0}


def test_a_message_is_never_tagged_providers_would_send_it_back(llm):
    response = llm.chat([ChatMessage("big question")])
    assert response.message.additional_kwargs == {}


def test_metadata_is_that_of_the_smallest_child_and_never_changes(router, small):
    roomy = ScriptedLLM(model="scripted-big", window=100_000)
    llm = TryageLLM(llms={"small": small, "big": roomy}, router=router)
    before = llm.metadata
    assert (before.context_window, before.is_chat_model, before.model_name) == (
        8_000,
        True,
        "tryage",
    )
    llm.chat([ChatMessage("big question")])
    assert llm.metadata is before


def test_metadata_minds_only_who_may_be_chosen(router, small):
    roomy = ScriptedLLM(model="scripted-big", window=100_000)
    only = Preferences(only=["big"])
    llm = TryageLLM(llms={"small": small, "big": roomy}, router=router, preferences=only)
    assert llm.metadata.context_window == 100_000


def test_what_one_request_may_cost_is_no_matter_of_metadata(router, small, big):
    cheap = Preferences(max_cost=0.01)
    llm = TryageLLM(llms={"small": small, "big": big}, router=router, preferences=cheap)
    assert llm.metadata.context_window == 8_000


def test_requirements_that_nobody_meets_leave_the_metadata_as_it_is(router, small, big):
    only = Preferences(only=["nobody"])
    llm = TryageLLM(llms={"small": small, "big": big}, router=router, preferences=only)
    assert llm.metadata.context_window == 8_000


def test_the_context_window_can_be_set(router, small, big):
    llm = TryageLLM(llms={"small": small, "big": big}, router=router, context_window=4_096)
    assert llm.metadata.context_window == 4_096


@pytest.mark.parametrize(("calls", "told"), [((True, False), True), ((False, False), False)])
def test_it_calls_functions_if_any_child_does(router, calls, told):
    children = {
        name: ScriptedLLM(model=name, calls_tools=able)
        for name, able in zip(("small", "big"), calls, strict=True)
    }
    assert TryageLLM(llms=children, router=router).metadata.is_function_calling_model is told


def test_what_nobody_set_is_no_context_window(router, small):
    llm = TryageLLM(llms={"small": small, "big": MockLLM()}, router=router)
    assert llm._pool.library["big"].context_length is None
    assert llm.metadata.context_window == 3_900


def test_a_long_prompt_goes_to_a_child_with_the_room(router, small):
    roomy = ScriptedLLM(model="scripted-big", window=100_000)
    llm = TryageLLM(llms={"small": small, "big": roomy}, router=router)
    response = llm.chat([ChatMessage("small " + "word " * 20_000)])
    assert answered_by([response]) == {"big"}


def test_a_picture_goes_to_a_child_that_may_see(router, small, big):
    blind = Expert("small", capabilities=["tools"])
    llm = TryageLLM(llms={"small": small, "big": big}, router=router, experts=[blind])
    seen = ChatMessage(blocks=[TextBlock(text="small"), ImageBlock(url="https://host/a.png")])
    assert answered_by([llm.chat([seen])]) == {"big"}


def test_preferences_and_a_model_can_be_asked_for_per_call(llm, small):
    only = llm.chat([ChatMessage("small")], tryage_preferences=Preferences(only=["big"]))
    assert answered_by([only]) == {"big"}
    forced = llm.complete("big", tryage_model="small", temperature=0.5)
    assert answered_by([forced]) == {"small"}
    assert small.heard[-1]["temperature"] == 0.5
    assert "tryage_model" not in small.heard[-1]
    with pytest.raises(InputError, match="tryage_preferences is a int"):
        llm.chat([ChatMessage("small")], tryage_preferences=3)


def test_flags_steer_the_choice_and_the_child_does_not_see_them(perception, small, big):
    router = Router(perception, prompt_flags=True)
    llm = TryageLLM(llms={"small": small, "big": big}, router=router)
    llm.chat([ChatMessage("small question [Flag: model=big]")])
    assert big.heard[-1]["messages"][-1].content == "small question"
    template = PromptTemplate("Context [Flag: kept]. Question: {query_str}")
    llm.predict(template, query_str="small again [Flag: model=big]")
    assert big.heard[-1]["messages"][-1].content == "Context [Flag: kept]. Question: small again"


def test_without_a_router_known_models_are_recognised_in_the_bundled_one():
    llm = TryageLLM.from_llms([ScriptedLLM(model="gpt-4o-mini"), ScriptedLLM(model="gpt-4o")])
    assert llm._pool.library["gpt-4o"].aliases == ("gpt-4o-2024-08-06",)
    assert llm._pool.library["gpt-4o"].input_price is not None
    assert answered_by([llm.chat([ChatMessage("What is 2 + 2?")])]) <= {"gpt-4o", "gpt-4o-mini"}


def test_facts_come_from_the_users_catalogue_of_the_hub(tmp_path, monkeypatch, big):
    monkeypatch.setenv("TRYAGE_HOME", str(tmp_path))
    sizes = {"total": 9 * 10**9, "parameters": {"BF16": 9 * 10**9}}
    record = {"_id": "1" * 24, "id": "org/new-9b", "safetensors": sizes, "downloads": 7}
    seen = datetime.datetime(2026, 11, 20, tzinfo=datetime.timezone.utc)
    Catalogue().put([parse_model(record, seen)])
    llm = TryageLLM.from_llms([ScriptedLLM(model="org/new-9b", window=32_000), big])
    found = llm._pool.library["org/new-9b"]
    assert (found.parameters, found.downloads, found.context_length) == (9e9, 7, 32_000)
    assert found.metadata["sources"]["context_length"] == "the LLM's own metadata"


def test_one_model_at_two_providers_is_predicted_once():
    children = {"here": ScriptedLLM(model="gpt-4o"), "there": ScriptedLLM(model="gpt-4o")}
    record = TryageLLM.from_llms(children).chat([ChatMessage("Hi")]).additional_kwargs["tryage"]
    assert len(set(record["scores"].values())) == 1


def test_a_child_can_be_made_when_it_is_first_chosen(router, small):
    made = []
    llm = TryageLLM(llms={"small": small, "big": lambda: made.append(1) or small}, router=router)
    llm.chat([ChatMessage("small")])
    assert made == []
    llm.chat([ChatMessage("big")])
    llm.chat([ChatMessage("big")])
    assert made == [1]


@pytest.mark.parametrize(
    ("llms", "told"),
    [
        ({}, "There are no models"),
        ([], "There are no models"),
        ("gpt-4o", "The models are a str"),
        ({"small": "gpt-4o"}, "is a str. Expected an LLM"),
        ([MockLLM()], "A MockLLM has no name"),
    ],
)
def test_what_cannot_be_a_choice_of_llms_is_refused(llms, told):
    with pytest.raises((ValidationError, InputError), match=told):
        TryageLLM(llms=llms)


def test_a_default_that_is_none_of_them_is_refused(llm, small):
    with pytest.raises((ValidationError, InputError), match="nobody"):
        TryageLLM(llms={"small": small}, router=llm.router.subset(["small"]), default="nobody")


@pytest.mark.parametrize("local", [True, False])
def test_the_hub_without_the_package_of_its_llms_says_what_to_install(local, monkeypatch):
    monkeypatch.setattr("tryage_llamaindex._clients._is_installed", lambda _: False)
    with pytest.raises(MissingExtraError, match="pip install llama-index-llms-huggingface"):
        TryageLLM.from_hub(local=local, limit=2)


def test_an_own_system_prompt_goes_in_front_and_a_childs_only_without_one(router, small, big):
    small.system_prompt = "I am small."
    template = PromptTemplate("{query_str}")
    TryageLLM(llms={"small": small, "big": big}, router=router).predict(template, query_str="small")
    assert [m.content for m in small.heard[-1]["messages"]] == ["I am small.", "small"]
    own = TryageLLM(llms={"small": small, "big": big}, router=router, system_prompt="I am both.")
    own.predict(template, query_str="small")
    assert [m.content for m in small.heard[-1]["messages"]] == ["I am both.", "small"]


async def test_tokens_are_counted_once_even_if_children_share_the_callbacks(
    router, small, big, way, call
):
    counter = TokenCountingHandler(tokenizer=str.split)
    manager = CallbackManager([counter])
    small.callback_manager = big.callback_manager = manager
    llm = TryageLLM(llms={"small": small, "big": big}, router=router, callback_manager=manager)
    await call(llm, way, "small question")
    assert len(counter.llm_token_counts) == 1
    if way.endswith("chat"):
        assert counter.total_llm_token_count == 15


def test_a_childs_own_callbacks_are_told_as_well(router, small, big):
    own, shared = (TokenCountingHandler(tokenizer=str.split) for _ in range(2))
    small.callback_manager = CallbackManager([own, shared])
    manager = CallbackManager([shared])
    llm = TryageLLM(llms={"small": small, "big": big}, router=router, callback_manager=manager)
    llm.chat([ChatMessage("small")])
    assert [len(one.llm_token_counts) for one in (own, shared)] == [1, 1]
