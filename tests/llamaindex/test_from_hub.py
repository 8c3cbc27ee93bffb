"""From the Hub's listing to an answer: catalogue, choice, LlamaIndex's own LLMs for its models.

Served models are asked over the loopback device, in the protocol of the inference router; local
ones are real, tiny and have random weights.
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
TOKEN = "hf_SECRET_5f2a9c"  # noqa: S105 - nobody's


def losses(prompt):
    return [float(name.split("/")[1] not in prompt) for name in NAMES]


def listed(hub, **told):
    hub.load([{"id": name, "pipeline_tag": "text-generation", "tags": ["conversational"], **told}
              for name in NAMES])  # fmt: skip
    live = {"provider": "swift", "status": "live", "supports_tools": True}
    hub.served.extend({"id": name, "providers": [live]} for name in NAMES)


def found(hub, folder, **settings):
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
        listed(running)
        yield running


@pytest.fixture
def served(hub, inference, tmp_path):  # noqa: ARG001 - the models are reached there
    pytest.importorskip("llama_index.llms.huggingface_api")
    return found(hub, tmp_path, model_settings={"token": TOKEN, "timeout": 20})


async def test_the_chosen_model_of_the_hub_answers_in_every_way(served, inference, way, call):
    for name in (*NAMES, *NAMES):
        last = (await call(served, way, f"{name.split('/')[1]} question"))[-1]
        assert str(last).endswith(f"Hello from {name}")
        assert last.additional_kwargs["tryage"]["model"] == name
    assert [asked["model"] for _, asked in inference.heard] == [*NAMES, *NAMES]
    assert {request.token for request, _ in inference.heard} == {TOKEN}


async def test_a_stream_comes_word_by_word(served, call):
    chunks = await call(served, "astream_chat", "big question")
    assert [chunk.delta for chunk in chunks] == ["Hello ", "from ", "maker/big"]


async def test_when_a_provider_is_overloaded_the_next_model_answers(served, inference, way, call):
    inference.down.add(NAMES[0])
    last = (await call(served, way, "small question"))[-1]
    record = last.additional_kwargs["tryage"]
    assert record["model"] == NAMES[1]
    assert "503" in record["failed"][NAMES[0]]
    assert TOKEN not in str(record)


def test_when_all_are_overloaded_each_is_listed_without_the_token(served, inference):
    inference.down.update(NAMES)
    with pytest.raises(AllFailedError, match=r"(?s)maker/small.*503.*maker/big.*503") as raised:
        served.complete("small question")
    assert TOKEN not in str(raised.value)


async def test_its_llms_call_no_functions_whatever_their_providers_can(served, tool_way, call):
    assert not served.metadata.is_function_calling_model
    tools = [FunctionTool.from_defaults(lambda n: 2 * n, name="double", description="Doubles")]
    with pytest.raises(NoExpertError, match="capabilities"):
        await call(served, tool_way, tools, user_msg="small question")


def test_a_query_engine_asks_models_of_the_hub(served, embedding):
    index = VectorStoreIndex.from_documents([Document(text="Whales.")], embed_model=embedding)
    answer = index.as_query_engine(llm=served).query("a big question")
    assert str(answer) == "Hello from maker/big"


def test_the_token_is_neither_shown_nor_written_nor_pickled(served):
    served.chat([ChatMessage("small question")])  # one is made, one is not
    forms = [repr(served), str(served), served.to_json(), served.model_dump_json(),
             str(served.to_dict()), str(served.to_payload()), repr(served.llms),
             repr(copy.deepcopy(served)), str(served._session.clients)]  # fmt: skip
    assert all(TOKEN not in form for form in forms)
    pickled = pickle.dumps(served)
    assert TOKEN.encode() not in pickled


def test_a_pickle_takes_its_token_from_the_environment(served, inference, monkeypatch):
    again = pickle.loads(pickle.dumps(served))  # noqa: S301 - our own
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_environment")
    assert str(again.complete("big question")) == "Hello from maker/big"
    assert inference.heard[-1][0].token == "hf_of_the_environment"  # noqa: S105 - nobody's


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Two tiny models with random weights where the current folder has them by their ids."""
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
    return found(hub, tmp_path, local=True, model_settings=LOCAL)


@pytest.mark.parametrize("way", ["chat", "stream_complete", "acomplete"])
async def test_models_run_here_answer_each_for_itself(local, call, way):
    answers = []
    for name in NAMES:
        last = (await call(local, way, f"{name.split('/')[1]} question"))[-1]
        assert last.additional_kwargs["tryage"]["model"] == name
        answers.append(str(last))
    assert answers[0] != answers[1]


@pytest.mark.usefixtures("inference")
def test_a_model_whose_weights_are_gone_is_replaced_by_one_that_is_served(
    hub, weights, tmp_path, monkeypatch
):
    monkeypatch.chdir(weights)
    made = found(hub, tmp_path, model_settings={"token": TOKEN}).llms
    gone = found(hub, tmp_path, local=True, model_settings={**LOCAL, "model_name": "no/where"})
    both = {NAMES[0]: gone.llms[NAMES[0]], NAMES[1]: made[NAMES[1]]}
    llm = TryageLLM(llms=both, router=gone.router)
    answer = llm.complete("small question")
    assert str(answer) == "Hello from maker/big"
    assert list(answer.additional_kwargs["tryage"]["failed"]) == [NAMES[0]]


def test_what_runs_here_is_made_again_without_its_weights_or_secrets(local):
    said = str(local.complete("small question"))
    child = local._session.clients.get_client(NAMES[0])
    again = TryageLLM(llms={NAMES[0]: child}, router=local.router.subset([NAMES[0]]))
    pickled = pickle.dumps(again)
    assert TOKEN.encode() not in pickled
    assert b"transformer.h.0" not in pickled
    assert str(pickle.loads(pickled).complete("small question")) == said  # noqa: S301 - our own
