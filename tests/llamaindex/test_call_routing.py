"""What a call is routed on, and what comes first if several things ask for something."""

from __future__ import annotations

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.output_parsers import PydanticOutputParser
from llama_index.core.program import FunctionCallingProgram
from pydantic import BaseModel

from tryage import Preferences
from tryage.core.preferences import Requirement
from tryage_llamaindex._call import completion_call
from tryage_llamaindex._call_routing import (
    CHEAP_PREFERENCES,
    DESCRIPTIONS,
    prepare_call,
    read_policies,
)
from tryage_llamaindex._call_settings import CallSettings
from tryage_llamaindex._components import Component
from tryage_llamaindex.testing import ScriptedLLM


class Fact(BaseModel):
    """A number."""

    n: int


def prepared(settings=CallSettings(), component=None, step=None, policies=None, **kwargs):  # noqa: B008 - immutable
    call = completion_call("complete", "the prompt [Flag: model=big]", False, kwargs)
    if step is not None:
        call = type(call)(**{**vars(call), "step": step})
    return prepare_call(call, settings, component, read_policies(policies or {}, ["big"]), 256)


def test_the_call_comes_before_the_block_and_the_block_before_the_component():
    component = Component(object(), "of the component")
    assert prepared().conversation.query is None
    assert prepared(component=component).conversation.query == "of the component"
    block = CallSettings(query="of the block", model="big", sticky="call", deadline=3.0)
    in_block = prepared(block, component)
    assert in_block.conversation.query == "of the block"
    assert (in_block.model, in_block.sticky, in_block.deadline) == ("big", "call", 3.0)
    own = prepared(block, component, tryage_query="of the call", tryage_deadline=1)
    assert (own.conversation.query, own.deadline) == ("of the call", 1.0)


def test_the_shared_output_is_kept_free_unless_the_call_has_a_limit():
    assert prepared().conversation.answer_tokens == 256
    assert prepared(max_tokens=9).conversation.answer_tokens == 9


@pytest.mark.parametrize(
    ("policy", "request_text", "weights", "model"),
    [
        ("cheap", "the prompt", {"cost": 1e6}, None),
        ("fixed", DESCRIPTIONS["extract"], {}, None),
        ("query", "the prompt", {}, None),
        ("big", "the prompt", {}, "big"),
        (Preferences({"size": 1.0}), "the prompt", {"size": 1.0}, None),
    ],
)
def test_a_policy_sets_the_text_the_weights_and_the_model(policy, request_text, weights, model):
    call = prepared(step="extract", policies={"extract": policy})
    assert call.conversation.request == request_text
    assert dict(call.preferences.weights) == weights
    assert (call.model, call.sticky) == (model, "call")


def test_requirements_of_a_block_hold_in_a_cheap_step():
    block = CallSettings(preferences=Preferences({"cost": 0.1}, min_context=9))
    call = prepared(block, step="extract")
    assert call.preferences.weights["cost"] == CHEAP_PREFERENCES.weights["cost"]
    assert call.preferences.requirements == (Requirement("context_length", ">=", 9),)


def test_only_a_program_that_reads_text_has_a_parser():
    program = FunctionCallingProgram.from_defaults(Fact, "{x}", llm=ScriptedLLM())
    assert prepared(component=Component(program)).output_parser is None
    template = PromptTemplate("x", output_parser=PydanticOutputParser(Fact))
    assert template.output_parser is not None
