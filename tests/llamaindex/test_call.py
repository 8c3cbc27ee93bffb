"""Settings of one call, what its conversation needs, and flags and observations in its texts."""

from __future__ import annotations

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.llms import AudioBlock, ChatMessage, ImageBlock, TextBlock

from tryage import Expert, Preferences, Router
from tryage.errors import InputError
from tryage_llamaindex import TryageLLM
from tryage_llamaindex.testing import ScriptedLLM

# Settings of one call ----------------------------------------------------------------------


def test_a_call_may_have_its_own_preferences(llm, answered_by):
    only_big = Preferences(only=["big"])
    for preferences in (only_big, only_big.to_dict()):
        answer = llm.chat([ChatMessage("small")], tryage_preferences=preferences)
        assert answered_by(answer) == {"big"}
    with pytest.raises(InputError, match="tryage_preferences is a int"):
        llm.chat([ChatMessage("small")], tryage_preferences=3)


def test_a_call_may_name_its_model_and_the_child_gets_the_other_arguments(llm, small, answered_by):
    answer = llm.complete("big", tryage_model="small", temperature=0.5)
    assert answered_by(answer) == {"small"}
    assert small.calls[-1]["temperature"] == 0.5
    assert "tryage_model" not in small.calls[-1]


# What the conversation needs ---------------------------------------------------------------


def test_a_long_prompt_goes_to_a_child_with_room_for_it(router, small, answered_by):
    roomy = ScriptedLLM(model="scripted-big", window=100_000)
    llm = TryageLLM(llms={"small": small, "big": roomy}, router=router)
    assert answered_by(llm.chat([ChatMessage("small " + "word " * 20_000)])) == {"big"}


def test_the_answer_needs_room_as_well(router, small, answered_by):
    roomy = ScriptedLLM(model="scripted-big", window=100_000)
    llm = TryageLLM(llms={"small": small, "big": roomy}, router=router)
    assert answered_by(llm.complete("small", max_tokens=50_000)) == {"big"}
    assert answered_by(llm.complete("small again", max_tokens=50)) == {"small"}


@pytest.mark.parametrize(
    "block", [ImageBlock(url="https://host/a.png"), AudioBlock(url="https://host/a.wav")]
)
def test_an_image_or_a_sound_goes_to_a_child_that_may_read_it(
    router, small, big, block, answered_by
):
    text_only = Expert("small", capabilities=["tools"])
    llm = TryageLLM(llms={"small": small, "big": big}, router=router, experts=[text_only])
    message = ChatMessage(blocks=[TextBlock(text="small"), block])
    assert answered_by(llm.chat([message])) == {"big"}


# Flags -------------------------------------------------------------------------------------


def test_a_flag_changes_the_choice_and_the_child_does_not_see_it(perception, small, big):
    router = Router(perception, prompt_flags=True)
    llm = TryageLLM(llms={"small": small, "big": big}, router=router)
    llm.chat([ChatMessage("small question [Flag: model=big]")])
    assert big.calls[-1]["messages"][-1].content == "small question"
    template = PromptTemplate("Context [Flag: kept]. Question: {query_str}")
    llm.predict(template, query_str="small again [Flag: model=big]")
    assert big.calls[-1]["messages"][-1].content == "Context [Flag: kept]. Question: small again"


def test_a_completion_loses_its_flag(perception, small, big):
    llm = TryageLLM(llms={"small": small, "big": big}, router=Router(perception, prompt_flags=True))
    llm.complete("small question [Flag: model=big]")
    assert big.calls[-1]["messages"][-1].content == "small question"


# Observations of agents --------------------------------------------------------------------


@pytest.mark.parametrize("text", ["Observation: 5", "Result of executing the code given:\n\n5"])
def test_an_observation_written_as_the_user_is_not_a_query(llm, perception, text, answered_by):
    turns = [ChatMessage("small question"), ChatMessage("Thought: ...", role="assistant")]
    response = llm.chat([*turns, ChatMessage(text)])
    assert perception.asked == ["small question"]
    assert answered_by(response) == {"small"}


def test_a_first_message_with_the_same_word_is_a_query(llm, perception):
    llm.chat([ChatMessage("Observation: the sky is blue")])
    assert perception.asked == ["Observation: the sky is blue"]
