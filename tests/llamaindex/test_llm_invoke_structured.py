"""Structured answers come from the chosen child's own method, which may be a better one."""

from __future__ import annotations

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage, CompletionResponse, MockLLM
from pydantic import BaseModel

from tryage_llamaindex import TryageLLM
from tryage_llamaindex.testing import ScriptedLLM


class Fact(BaseModel):
    """A number."""

    n: int


class Native(ScriptedLLM):
    """Has a structured output of its own, as OpenAI has."""

    def structured_predict(self, output_cls, prompt, llm_kwargs=None, **prompt_args):
        self._record_call([prompt.format(**prompt_args)], dict(llm_kwargs or {}))
        return output_cls(n=42)


TEMPLATE = PromptTemplate("Extract it. {query_str}")
METHODS = ("structured_predict", "astructured_predict",
        "stream_structured_predict", "astream_structured_predict")  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
async def test_the_chosen_child_predicts_the_model(llm, big, perception, observer, method, call):
    answers = await call(llm, method, Fact, prompt=TEMPLATE, query_str="big question")
    assert answers[-1].n == 3
    assert perception.asked == ["big question"]
    assert len(big.calls) == 1
    assert [one.model for one in observer.of("RoutingDecisionEvent")] == ["big"]


def test_the_childs_own_method_is_called_with_the_arguments(router, small):
    own = Native(model="native")
    llm = TryageLLM(llms={"small": small, "big": own}, router=router)
    fact = llm.structured_predict(Fact, TEMPLATE, llm_kwargs={"seed": 1}, query_str="big one")
    assert (fact.n, own.calls) == (42, [{"messages": ["Extract it. big one"], "seed": 1}])


@pytest.mark.parametrize("method", METHODS)
async def test_if_the_child_fails_the_next_one_predicts_the_model(llm, small, method, call):
    small.fails = [ConnectionError("down")]
    assert (await call(llm, method, Fact, prompt=TEMPLATE, query_str="small question"))[-1].n == 3


def test_a_child_that_calls_no_functions_predicts_by_text(router, small):
    class Json(MockLLM):
        def complete(self, *_, **__):
            return CompletionResponse(text='{"n": 7}')

    llm = TryageLLM(llms={"small": small, "big": Json()}, router=router)
    assert llm.structured_predict(Fact, TEMPLATE, query_str="big question").n == 7


def test_as_structured_llm_routes_once(llm, perception):
    response = llm.as_structured_llm(Fact).chat([ChatMessage("big question")])
    assert (response.raw.n, perception.asked) == (3, ["big question"])


def test_tokens_of_structured_answers_are_counted_once(llm, router):
    counter = TokenCountingHandler(tokenizer=str.split)
    llm = TryageLLM(llms=llm.llms, router=router, callback_manager=CallbackManager([counter]))
    llm.structured_predict(Fact, TEMPLATE, query_str="big question")
    assert len(counter.llm_token_counts) == 1


def test_a_system_prompt_of_tryagellm_reaches_the_child(router, small, big):
    llm = TryageLLM(llms={"small": small, "big": big}, router=router, system_prompt="Be exact.")
    llm.structured_predict(Fact, TEMPLATE, query_str="big question")
    assert big.calls[0]["messages"][0].content == "Be exact."
