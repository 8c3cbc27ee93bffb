"""The eight methods of an LLM: the chosen child answers, and every answer is counted once."""

from __future__ import annotations

import asyncio
import threading

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage

from tryage import Preferences
from tryage.errors import InputError, LibraryError
from tryage_llamaindex import TryageLLM


async def test_the_chosen_child_answers_by_every_method(llm, method, call, answered_by):
    for name in ("small", "big"):
        chunks = await call(llm, method, f"{name} question")
        assert str(chunks[-1]).endswith(f"Hello from scripted-{name} today")
        assert answered_by(*chunks) == {name}


async def test_every_chunk_of_a_stream_is_the_childs_own(llm, call):
    chunks = await call(llm, "stream_chat", "small question")
    assert "".join(chunk.delta for chunk in chunks) == "Hello from scripted-small today"
    assert chunks[-1].raw["usage"]["total_tokens"] == 15


async def test_tokens_are_counted_once_even_if_children_share_the_callbacks(
    router, small, big, method, call
):
    counter = TokenCountingHandler(tokenizer=str.split)
    manager = CallbackManager([counter])
    small.callback_manager = big.callback_manager = manager
    llm = TryageLLM(llms={"small": small, "big": big}, router=router, callback_manager=manager)
    await call(llm, method, "small question")
    assert len(counter.llm_token_counts) == 1
    if method.endswith("chat"):
        assert counter.total_llm_token_count == 15


def test_the_callbacks_of_a_child_are_called_as_well(router, small, big):
    own, shared = (TokenCountingHandler(tokenizer=str.split) for _ in range(2))
    small.callback_manager = CallbackManager([own, shared])
    manager = CallbackManager([shared])
    llm = TryageLLM(llms={"small": small, "big": big}, router=router, callback_manager=manager)
    llm.chat([ChatMessage("small")])
    assert [len(one.llm_token_counts) for one in (own, shared)] == [1, 1]


# Templates ---------------------------------------------------------------------------------


async def test_the_query_is_routed_and_not_the_template_around_it(llm, perception):
    template = PromptTemplate("Context: big small\nQuery: {query_str}\nAnswer: ")
    partial = template.partial_format(query_str="small, partially")
    llm.predict(template, query_str="small one")
    await llm.apredict(partial)
    list(llm.stream(template, query_str="big two"))
    async for _ in await llm.astream(template, query_str="big three"):
        pass
    assert perception.asked == ["small one", "small, partially", "big two", "big three"]


async def test_queries_of_concurrent_tasks_are_not_mixed_up(llm, perception):
    template = PromptTemplate("Context: ... Query: {query_str}")
    queries = [f"{name} {i}" for i in range(8) for name in ("small", "big")]
    answers = await asyncio.gather(*(llm.apredict(template, query_str=one) for one in queries))
    assert answers == [f"Hello from scripted-{one.split()[0]} today" for one in queries]
    assert sorted(perception.asked) == sorted(queries)


def test_the_whole_text_of_a_template_without_a_query_is_routed(llm, perception):
    llm.predict(PromptTemplate("big {thing}"), thing="question")
    assert perception.asked == ["big question"]


async def test_a_long_prompt_is_read_in_a_thread_and_short_ones_together(
    llm, perception, monkeypatch
):
    passes, predict = [], perception.predict

    def watched(prompts):
        passes.append((threading.get_ident() == loop_thread, len(prompts)))
        return predict(prompts)

    loop_thread = threading.get_ident()
    monkeypatch.setattr(perception, "predict", watched)
    await llm.achat([ChatMessage("small start")])
    await llm.achat([ChatMessage("small " + "word " * 5_000)])
    answers = await asyncio.gather(
        *(llm.achat([ChatMessage(f"{name} {i}")]) for i in range(4) for name in ("small", "big"))
    )
    assert passes == [(False, 1), (False, 1), (True, 8)]
    models = [answer.additional_kwargs["tryage"]["model"] for answer in answers]
    assert models == ["small", "big"] * 4


async def test_an_error_of_one_call_is_not_that_of_the_others(llm):
    await llm.achat([ChatMessage("small start")])
    calls = [
        llm.achat([ChatMessage("big one")]),
        llm.achat([ChatMessage("small")], tryage_model="unknown"),
        llm.achat([ChatMessage("small one")], tryage_preferences=Preferences(only=["big"])),
    ]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(answers[1], LibraryError)
    assert [a.additional_kwargs["tryage"]["model"] for a in answers[::2]] == ["big", "big"]


@pytest.mark.parametrize("question", ["big question", [ChatMessage("big question")]])
def test_what_would_be_asked_is_told_without_asking(llm, small, big, question):
    plan = llm.route(question)
    assert (plan.first, list(plan.order())) == ("big", ["big", "small"])
    assert plan.decision.prompt == "big question"
    assert llm.explain(question).startswith("big would answer: lowest total of 2.\nbig is chosen")
    assert small.calls == big.calls == []


def test_what_would_be_asked_obeys_the_arguments_of_a_call_and_the_block_around_it(llm):
    assert llm.route("big question", tryage_model="small").first == "small"
    with llm.using(preferences=Preferences(only=["small"])):
        assert llm.route("big question").first == "small"
    with pytest.raises(InputError, match="Did you mean tryage_model"):
        llm.explain("big question", tryage_modle="small")
