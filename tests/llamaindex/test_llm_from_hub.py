"""Models of the Hub as LLMs, from the listing to the answer.

Served models answer on the loopback device, in the protocol of the Hub's inference router. Local
models are real: tiny, with random weights.
"""

from __future__ import annotations

import copy
import pickle

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.llms import ChatMessage
from llama_index.core.schema import Document
from llama_index.core.tools import FunctionTool

from tryage import Router
from tryage.errors import AllFailedError, NoExpertError
from tryage.hub.settings import HubSettings
from tryage.testing import FunctionPerception, LocalHub
from tryage_llamaindex import TryageLLM

NAMES = ("maker/small", "maker/big")
TOKEN = "hf_SECRET_5f2a9c"  # noqa: S105 - not a real token


def losses(prompt):
    return [float(name.split("/")[1] not in prompt) for name in NAMES]


def list_models(hub, **facts):
    hub.load([{"id": name, "pipeline_tag": "text-generation", "tags": ["conversational"], **facts}
              for name in NAMES])  # fmt: skip
    live = {"provider": "swift", "status": "live", "supports_tools": True}
    hub.served.extend({"id": name, "providers": [live]} for name in NAMES)


def from_hub(hub, folder, **settings):
    return TryageLLM.from_hub(
        limit=2,
        base=Router(FunctionPerception(NAMES, losses)),
        catalogue=folder / "catalogue.sqlite",
        settings=HubSettings(endpoint=hub.url, inference=hub.url, retries=0, timeout=300),
        **settings,
    )


@pytest.fixture
def hub():
    with LocalHub() as running:
        list_models(running)
        yield running


@pytest.fixture
def served(hub, inference, tmp_path):  # noqa: ARG001 - the fixture serves the models
    pytest.importorskip("llama_index.llms.huggingface_api")
    return from_hub(hub, tmp_path, model_settings={"token": TOKEN, "timeout": 20})


async def test_the_chosen_model_of_the_hub_answers_by_every_method(served, inference, method, call):
    for name in (*NAMES, *NAMES):
        last = (await call(served, method, f"{name.split('/')[1]} question"))[-1]
        assert str(last).endswith(f"Hello from {name}")
        assert last.additional_kwargs["tryage"]["model"] == name
    assert [asked["model"] for _, asked in inference.requests] == [*NAMES, *NAMES]
    assert {request.token for request, _ in inference.requests} == {TOKEN}


async def test_a_stream_comes_word_by_word(served, call):
    chunks = await call(served, "astream_chat", "big question")
    assert [chunk.delta for chunk in chunks] == ["Hello ", "from ", "maker/big"]


async def test_if_a_provider_is_overloaded_the_next_model_answers(served, inference, method, call):
    inference.down.add(NAMES[0])
    last = (await call(served, method, "small question"))[-1]
    record = last.additional_kwargs["tryage"]
    assert record["model"] == NAMES[1]
    assert "503" in record["failed"][NAMES[0]]
    assert TOKEN not in str(record)


def test_if_all_are_overloaded_each_is_listed_without_the_token(served, inference):
    inference.down.update(NAMES)
    with pytest.raises(AllFailedError, match=r"(?s)maker/small.*503.*maker/big.*503") as raised:
        served.complete("small question")
    assert TOKEN not in str(raised.value)


async def test_its_llms_call_no_functions_even_if_their_providers_can(served, tool_method, call):
    assert not served.metadata.is_function_calling_model
    tools = [FunctionTool.from_defaults(lambda n: 2 * n, name="double", description="Doubles")]
    with pytest.raises(NoExpertError, match="capabilities"):
        await call(served, tool_method, tools, user_msg="small question")


def test_a_query_engine_is_answered_by_a_model_of_the_hub(served, embedding):
    index = VectorStoreIndex.from_documents([Document(text="Whales.")], embed_model=embedding)
    answer = index.as_query_engine(llm=served).query("a big question")
    assert str(answer) == "Hello from maker/big"


def test_the_token_is_neither_shown_nor_written_nor_pickled(served):
    served.chat([ChatMessage("small question")])  # one LLM is made, the other is not
    forms = [repr(served), str(served), served.to_json(), served.model_dump_json(),
             str(served.to_dict()), str(served.to_payload()), repr(served.llms),
             repr(copy.deepcopy(served)), str(served._session.clients)]  # fmt: skip
    assert all(TOKEN not in form for form in forms)
    pickled = pickle.dumps(served)
    assert TOKEN.encode() not in pickled


def test_a_pickle_takes_its_token_from_the_environment(served, inference, monkeypatch):
    again = pickle.loads(pickle.dumps(served))  # noqa: S301 - our own pickle
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_environment")
    assert str(again.complete("big question")) == "Hello from maker/big"
    assert inference.requests[-1][0].token == "hf_of_the_environment"  # noqa: S105 - not a real token


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder with two tiny models with random weights, under their ids."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    pytest.importorskip("llama_index.llms.huggingface")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    made = Tokenizer(
        models.BPE({s: i for i, s in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, [])
    )
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=made)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    home = tmp_path_factory.mktemp("weights")
    for seed, name in enumerate(NAMES):
        torch.manual_seed(seed)
        shape = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 1_024}
        config = transformers.GPT2Config(vocab_size=256, initializer_range=0.5, **shape)
        transformers.GPT2LMHeadModel(config).eval().save_pretrained(home / name)
        tokenizer.save_pretrained(home / name)
    return home


LOCAL = {
    "device_map": "cpu",
    "context_window": 1_024,
    "max_new_tokens": 8,
    "generate_kwargs": {"do_sample": False, "pad_token_id": 0},
    "model_kwargs": {"token": TOKEN},
}


@pytest.fixture
def local(hub, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(weights)
    return from_hub(hub, tmp_path, local=True, model_settings=LOCAL)


@pytest.mark.parametrize("method", ["chat", "stream_complete", "acomplete"])
async def test_local_models_each_give_their_own_answer(local, call, method):
    answers = []
    for name in NAMES:
        last = (await call(local, method, f"{name.split('/')[1]} question"))[-1]
        assert last.additional_kwargs["tryage"]["model"] == name
        answers.append(str(last))
    assert answers[0] != answers[1]


@pytest.mark.usefixtures("inference")
def test_if_the_weights_of_a_model_are_gone_a_served_one_answers(
    hub, weights, tmp_path, monkeypatch
):
    monkeypatch.chdir(weights)
    made = from_hub(hub, tmp_path, model_settings={"token": TOKEN}).llms
    gone = from_hub(hub, tmp_path, local=True, model_settings={**LOCAL, "model_name": "no/where"})
    both = {NAMES[0]: gone.llms[NAMES[0]], NAMES[1]: made[NAMES[1]]}
    llm = TryageLLM(llms=both, router=gone.router)
    answer = llm.complete("small question")
    assert str(answer) == "Hello from maker/big"
    assert list(answer.additional_kwargs["tryage"]["failed"]) == [NAMES[0]]


def test_a_pickle_of_a_local_model_holds_neither_weights_nor_secrets(local):
    answer = str(local.complete("small question"))
    child = local._session.clients.get_client(NAMES[0])
    again = TryageLLM(llms={NAMES[0]: child}, router=local.router.subset([NAMES[0]]))
    pickled = pickle.dumps(again)
    assert TOKEN.encode() not in pickled
    assert b"transformer.h.0" not in pickled
    assert str(pickle.loads(pickled).complete("small question")) == answer  # noqa: S301 - our own pickle
