"""What several rooms share: a trained perception, tiny encoders, and a fake inference router."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from tryage.testing.hub.http import FakeResponse, LoopbackServer


class Inference:
    """Answers in OpenAI's protocol, word by word if asked to.

    `heard` are the requests with what they asked; models in `down` are overloaded. Who is offered
    tools calls the first one, once.
    """

    def __init__(self):
        self.heard, self.down = [], set()

    def __call__(self, request):
        asked = request.json()
        self.heard.append((request, asked))
        if asked["model"] in self.down:
            return FakeResponse(
                503, b'{"error": "overloaded"}', {"Content-Type": "application/json"}
            )
        words = ["Hello ", "from ", asked["model"]]
        if asked.get("stream"):
            lines = [_told(asked, None, delta=_said(word)) for word in words]
            lines += [_told(asked, delta=_said("")), "[DONE]"]
            body = "".join(f"data: {line}\n\n" for line in lines)
            return FakeResponse(200, body.encode(), {"Content-Type": "text/event-stream"})
        calls = asked.get("tools") and asked["messages"][-1]["role"] != "tool"
        message = _called(asked["tools"][0]) if calls else _said("".join(words))
        return FakeResponse(200, _told(asked, message=message).encode())


def _said(text):
    return {"role": "assistant", "content": text}


def _called(tool):
    function = {"name": tool["function"]["name"], "arguments": '{"where": "x"}'}
    call = {"id": "call_1", "type": "function", "function": function}
    return {**_said(""), "tool_calls": [call]}


def _told(asked, finish="stop", **spoken):
    choice = {"index": 0, "finish_reason": finish, **spoken}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    named = {"id": "1", "created": 1, "model": asked["model"], "object": "chat.completion"}
    return json.dumps({**named, "choices": [choice], "usage": usage})


@pytest.fixture
def inference(monkeypatch):
    common = pytest.importorskip("huggingface_hub.inference._providers._common")
    answers = Inference()
    with LoopbackServer(answers) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        auto = common.AutoRouterConversationalTask
        monkeypatch.setattr(auto, "_prepare_base_url", lambda *_: url)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield answers
        server.shutdown()


TOPICS = ("sum", "code", "poem", "law")
FILLERS = tuple(f"word{i}" for i in range(40))
SPECIALISTS = ("adder", "coder", "poet", "lawyer", "allround")


@pytest.fixture(scope="session")
def encoder():
    """Embed words at random: enough to tell the topics apart."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    from tryage.perception.encoder import StaticEncoder

    words = ("[UNK]", *TOPICS, *FILLERS)
    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token=words[0]))
    tokenizer.pre_tokenizer = Whitespace()
    rows = np.random.default_rng(0).normal(size=(len(words), 16)).astype(np.float32)
    return StaticEncoder.from_rows(rows, tokenizer)


@pytest.fixture(scope="session")
def specialists():
    """Make a Q-table of four specialists, and of one expert that is fair at everything."""
    from tryage.learning.qtable import QTable

    def make(n=240, seed=0, *, named=True):
        rng = np.random.default_rng(seed)
        topic = rng.integers(len(TOPICS), size=n)
        probability = np.full((n, len(SPECIALISTS)), 0.75)
        probability[np.arange(n), topic] = 0.05
        probability[:, -1] = 0.4
        fillers = rng.choice(FILLERS, size=(n, 3))
        return QTable(
            tuple(
                f"{TOPICS[t]} {' '.join(words)} {i}"
                for i, (t, words) in enumerate(zip(topic, fillers, strict=True))
            ),
            SPECIALISTS,
            (rng.random(probability.shape) < probability).astype(np.float32),
            categories=tuple(TOPICS[t] for t in topic) if named else None,
            output_tokens=np.tile(np.arange(1, 6) * 100.0, (n, 1)),
        )

    return make


@pytest.fixture(scope="session")
def learned(encoder, specialists):
    """A perception trained on the specialists; tests must not `observe` with it."""
    from tryage.learning.training.trainer import fit

    return fit(specialists(), encoder, progress=False)


@pytest.fixture(scope="session")
def word_pieces():
    """Make the tokenizer of a BERT that knows some words; the first four are its special ones."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    def make(words):
        tokenizer = Tokenizer(WordPiece({w: i for i, w in enumerate(words)}, unk_token=words[1]))
        tokenizer.normalizer, tokenizer.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
        tokenizer.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        return tokenizer

    return make


@pytest.fixture(scope="session")
def tiny_bert():
    """Make a BERT with random weights, of deviation `spread`, that reads 64 tokens at once."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")

    def make(n_words, spread=0.5):
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=n_words,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
            initializer_range=spread,
        )
        return transformers.BertModel(config, add_pooling_layer=False).eval()

    return make


@pytest.fixture(scope="session")
def bert_folder(tiny_bert, word_pieces, tmp_path_factory):
    """A folder with a tiny random BERT and its tokenizer: it knows a to h, code and poem."""
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh", "code", "poem")
    folder = tmp_path_factory.mktemp("bert")
    tiny_bert(len(words), spread=0.3).save_pretrained(folder)
    word_pieces(words).save(str(folder / "tokenizer.json"))
    return folder
