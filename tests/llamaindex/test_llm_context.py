"""Engines fill prompts to `metadata.context_window`; a child for which they do is asked."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from llama_index.core import Document, SummaryIndex, VectorStoreIndex
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.llms import ChatMessage, LLMMetadata
from llama_index.core.utils import get_tokenizer

from tryage import Preferences
from tryage_llamaindex import TryageLLM
from tryage_llamaindex.testing import ScriptedLLM

ROOT = Path(__file__).parents[2]
QUERY = "small: what must I do?"


def real_texts():
    csv = "\n".join(f"{i},{i * 7919 % 9973 / 97:.6f},Rome,2026-01-1{i % 10}" for i in range(9_000))
    records = [{"id": i, "city": "Lima", "tags": ["a", "b"], "ok": True} for i in range(5_000)]
    return {
        "English": (ROOT / "LICENSE").read_text(encoding="utf-8") * 20,
        "code": Path(json.decoder.__file__).read_text(encoding="utf-8") * 20,
        "CSV": csv,
        "JSON": json.dumps(records),
        "Chinese": "天地玄黄。宇宙洪荒。日月盈昃。辰宿列张。寒来暑往。秋收冬藏。" * 2_000,
    }


TEXTS = real_texts()


class Writer(ScriptedLLM):
    """Writes answers of a known length."""

    num_output: int = 256

    @property
    def metadata(self):
        return super().metadata.model_copy(update={"num_output": self.num_output})


def two(router, small=8_000, big=8_000, **settings):
    children = {"small": ScriptedLLM(window=small), "big": ScriptedLLM(window=big)}
    return TryageLLM(llms=children, router=router, **settings), children


@pytest.mark.parametrize("window", [4_096])
@pytest.mark.parametrize("mode", ["compact", "tree_summarize"])
@pytest.mark.parametrize("kind", TEXTS)
def test_a_filled_context_is_answered_as_by_the_child_alone(router, kind, mode, window):
    index = SummaryIndex.from_documents([Document(text=TEXTS[kind][: 6 * window])])
    alone = ScriptedLLM(window=window)
    index.as_query_engine(llm=alone, response_mode=mode).query(QUERY)
    llm, children = two(router, window, window)
    index.as_query_engine(llm=llm, response_mode=mode).query(QUERY)
    assert len(children["small"].calls) == len(alone.calls) > 1


@pytest.mark.parametrize("kind", TEXTS)
def test_a_small_child_gets_the_chunks_that_are_packed_for_it(router, kind):
    llm, children = two(router, 8_192, 128_000)
    index = SummaryIndex.from_documents([Document(text=TEXTS[kind][:60_000])])
    index.as_query_engine(llm=llm).query(QUERY)
    assert len(children["small"].calls) > 1
    assert children["big"].calls == []


@pytest.mark.parametrize(("window", "top_k"), [(8_192, 12), (4_096, 6)])
def test_many_retrieved_chunks_are_answered(router, embedding, window, top_k):
    llm, children = two(router, window, window)
    index = VectorStoreIndex.from_documents(
        [Document(text=TEXTS["English"][:90_000])], embed_model=embedding
    )
    index.as_query_engine(llm=llm, similarity_top_k=top_k).query(QUERY)
    assert children["small"].calls


def test_a_prompt_that_is_too_long_for_all_goes_to_the_largest_window_and_the_record_says_so(
    router,
):
    llm, _ = two(router, 300, 1_000)
    answer = llm.chat([ChatMessage("small " + "word " * 3_000)])
    record = answer.additional_kwargs["tryage"]
    assert record["model"] == "big"
    assert "context" in record


def test_length_is_counted_with_the_tokenizer_of_llamaindex(router, monkeypatch):
    llm, _ = two(router, 1_000, 100_000)
    words = "small " + "word " * 450  # 452 tokens, or 2,253 characters by the tokenizer below
    assert llm.chat([ChatMessage(words)]).additional_kwargs["tryage"]["model"] == "small"
    assert len(get_tokenizer()(words)) < 500
    monkeypatch.setattr("llama_index.core.global_tokenizer", list)
    assert llm.chat([ChatMessage(words)]).additional_kwargs["tryage"]["model"] == "big"


def test_the_tokens_of_the_answer_are_kept_free(router):
    children = {"small": Writer(window=1_000, num_output=400), "big": Writer(window=9_000)}
    llm = TryageLLM(llms=children, router=router)
    long = [ChatMessage("small " + "word " * 700)]
    assert llm.chat(long).additional_kwargs["tryage"]["model"] == "big"
    short_answer = llm.chat(long, max_tokens=100)
    assert short_answer.additional_kwargs["tryage"]["model"] == "small"
    long_answer = llm.chat([ChatMessage("small word")], max_tokens=2_000)
    assert long_answer.additional_kwargs["tryage"]["model"] == "big"


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(8_000, 256), (8_000, 2_048)], (8_000, 2_048)),
        ([(8_000, 256), (128_000, 2_048)], (8_000, 2_048)),
        ([(8_000, 256), (200_000, 64_000)], (8_000, 256)),
        ([(8_000, -1)], (8_000, 256)),
        ([(8_000, 7_000), (8_000, 256)], (8_000, 7_000)),
    ],
)
def test_the_shared_output_is_the_longest_for_which_a_prompt_leaves_room(router, sizes, expected):
    names = ("small", "big")[: len(sizes)]
    children = {
        name: Writer(window=window, num_output=output)
        for name, (window, output) in zip(names, sizes, strict=True)
    }
    metadata = TryageLLM(llms=children, router=router).metadata
    assert (metadata.context_window, metadata.num_output) == expected
    assert isinstance(PromptHelper.from_llm_metadata(metadata), PromptHelper)


def test_a_copy_with_other_preferences_has_the_window_of_its_children(router):
    llm, _ = two(router, 8_000, 128_000)
    assert llm.metadata.context_window == 8_000
    copy = llm.model_copy(update={"preferences": Preferences(min_context=32_000)})
    assert copy.metadata.context_window == 128_000
    assert llm.metadata.context_window == 8_000
    assert llm.metadata is llm.metadata  # LlamaIndex reads it several times for each query


def test_the_default_metadata_of_llamaindex_is_the_window_of_an_unknown_child():
    llm = TryageLLM.from_llms({"unheard-of": partial(ScriptedLLM)})
    assert llm.metadata.context_window == LLMMetadata().context_window
