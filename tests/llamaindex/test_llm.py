"""TryageLLM in place of any other LLM: what its answers record, and how children are given."""

from __future__ import annotations

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.llms import LLM, ChatMessage, MockLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from pydantic import ValidationError

from tryage import Preferences, Router
from tryage.errors import InputError
from tryage_llamaindex import TryageLLM
from tryage_llamaindex.testing import ScriptedLLM


def test_it_is_an_llm_that_calls_functions():
    bases = [base.__name__ for base in TryageLLM.__mro__]
    for base in (BaseLLM, LLM, FunctionCallingLLM):
        assert base.__name__ in bases
    assert TryageLLM.class_name() == "TryageLLM"


def test_the_record_says_why(llm):
    record = llm.chat([ChatMessage("big question")]).additional_kwargs["tryage"]
    assert record["reason"] == "lowest total of 2"
    assert record["how"] == "routed"
    assert record["scores"] == {"big": 0.0, "small": 1.0}


def test_the_record_is_never_in_the_message_which_providers_send_back(llm):
    response = llm.chat([ChatMessage("big question")])
    assert response.message.additional_kwargs == {}


def test_a_child_can_be_made_when_it_is_first_chosen(router, small):
    made = []
    llm = TryageLLM(llms={"small": small, "big": lambda: made.append(1) or small}, router=router)
    llm.chat([ChatMessage("small")])
    assert made == []
    llm.chat([ChatMessage("big")])
    llm.chat([ChatMessage("big")])
    assert made == [1]


def test_llms_in_a_list_get_the_name_of_their_model(answered_by):
    llm = TryageLLM.from_llms([ScriptedLLM(model="gpt-4o-mini"), ScriptedLLM(model="gpt-4o")])
    assert list(llm.llms) == ["gpt-4o-mini", "gpt-4o"]
    assert answered_by(llm.chat([ChatMessage("What is 2 + 2?")])) <= {"gpt-4o", "gpt-4o-mini"}


def test_one_model_at_two_providers_has_one_prediction():
    children = {"here": ScriptedLLM(model="gpt-4o"), "there": ScriptedLLM(model="gpt-4o")}
    record = TryageLLM.from_llms(children).chat([ChatMessage("Hi")]).additional_kwargs["tryage"]
    assert len(set(record["scores"].values())) == 1


@pytest.mark.parametrize(
    ("llms", "message"),
    [
        ({}, "There are no models"),
        ([], "There are no models"),
        ("gpt-4o", "The models are a str"),
        ({"small": "gpt-4o"}, "is a str. Expected an LLM"),
        (["openai:gpt-4o"], "'openai:gpt-4o' is a string. Expected the model itself"),
        ([MockLLM()], "of the type MockLLM has no name"),
    ],
)
def test_wrong_llms_are_refused(llms, message):
    with pytest.raises((ValidationError, InputError), match=message):
        TryageLLM(llms=llms)


def test_a_default_that_is_not_one_of_the_llms_is_refused(llm, small):
    with pytest.raises((ValidationError, InputError), match="unknown"):
        TryageLLM(llms={"small": small}, router=llm.router.subset(["small"]), default="unknown")


@pytest.mark.parametrize("context_window", [0, -1])
def test_a_context_window_below_one_is_refused(router, small, big, context_window):
    with pytest.raises(ValidationError, match="context_window"):
        TryageLLM(llms={"small": small, "big": big}, router=router, context_window=context_window)


def test_an_unknown_attribute_is_refused(llm):
    with pytest.raises(ValueError, match="no field"):
        llm.anything = 1


def test_an_own_system_prompt_replaces_that_of_a_child(router, small, big):
    small.system_prompt = "I am small."
    template, children = PromptTemplate("{query_str}"), {"small": small, "big": big}
    TryageLLM(llms=children, router=router).predict(template, query_str="small")
    assert [m.content for m in small.calls[-1]["messages"]] == ["I am small.", "small"]
    own = TryageLLM(llms=children, router=router, system_prompt="I am both.")
    own.predict(template, query_str="small")
    assert [m.content for m in small.calls[-1]["messages"]] == ["I am both.", "small"]


def test_preferences_and_flags_of_the_router_hold(perception, small, big, answered_by):
    router = Router(perception, preferences=Preferences(only=["big"]), prompt_flags=True)
    llm = TryageLLM(llms={"small": small, "big": big}, router=router)
    assert answered_by(llm.chat([ChatMessage("small question")])) == {"big"}
