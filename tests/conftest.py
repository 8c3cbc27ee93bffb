"""Shared fixtures: trained perceptions and routers, tiny encoders, and a fake inference server."""

from __future__ import annotations

import datetime
import json
import os
import signal
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import settings

from tryage.testing.hub.http import FakeResponse, LoopbackServer
from tryage.traffic.health import process_health
from tryage.traffic.records import DecisionRecord, Event, Feedback, Outcome

# Property tests draw the same examples on every run, and have no time limit.
settings.register_profile("tryage", derandomize=True, deadline=None)
settings.load_profile("tryage")


@pytest.fixture
def fixed_ids(monkeypatch):
    """Give every decision the same id, so that whole decisions can be compared."""
    monkeypatch.setattr("tryage.core.decision.secrets.token_hex", lambda size: "ab" * size)


@pytest.fixture
def traffic(tmp_path):
    """A new log in a file of SQLite."""
    from tryage.traffic.traffic import Traffic

    traffic = Traffic(f"sqlite:///{tmp_path}/log.db")
    yield traffic
    traffic.close()


@pytest.fixture(scope="session", autouse=True)
def one_certificate(tmp_path_factory):
    """Let every client read one certificate, not all that exist.

    Each of the hundreds of clients reads them when it is made, which takes more time than what is
    tested. All ask servers on loopback, without TLS.
    """
    import certifi  # httpx requires it

    end = "-----END CERTIFICATE-----\n"
    path = tmp_path_factory.mktemp("certificates") / "one.pem"
    path.write_text(certifi.contents().partition(end)[0] + end)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(path))
        environment.delenv("SSL_CERT_DIR", raising=False)
        yield


@pytest.fixture(autouse=True)
def no_failures_before():
    """Forget which models have failed in other tests: the whole process shares their health."""
    process_health().clear()


@pytest.fixture
def telemetry():
    """Spans and metrics in memory, which are written until the test ends."""
    pytest.importorskip("opentelemetry.sdk")
    from tryage.testing import MemoryTelemetry

    with MemoryTelemetry() as memory:
        yield memory


@pytest.fixture
def finishes_in_child():
    """Tell whether a forked child finishes a function within a minute: a busy machine is slow."""
    if not hasattr(os, "fork"):
        pytest.skip("the platform has no forks")

    def finishes(function):
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # pytest-timeout has a handler for it
            signal.alarm(60)
            status = 1
            try:
                function()
                status = 0
            finally:
                os._exit(status)
        return os.waitpid(child, 0)[1] == 0

    return finishes


@pytest.fixture
def full_disk():
    """Let no file grow beyond some bytes while a block runs, as if there were no room for more."""
    resource = pytest.importorskip("resource")

    @contextmanager
    def limit(n_bytes=0):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


@contextmanager
def _repeated_in_threads(function, n_threads=3):
    is_over = threading.Event()

    def repeat():
        while not is_over.is_set():
            function()

    threads = [threading.Thread(target=repeat) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    yield
    is_over.set()
    for thread in threads:
        thread.join()


@pytest.fixture
def finishes_in_children(finishes_in_child):
    """Tell whether all forked children finish a function while the parent's threads repeat one."""

    def finishes(function, n_forks, *, meanwhile):
        function()  # a child would inherit Python's locks of what is imported for the first call
        meanwhile()
        with _repeated_in_threads(meanwhile):
            return all(finishes_in_child(function) for _ in range(n_forks))

    return finishes


class Inference:
    """A server of OpenAI's protocol that answers "Hello from MODEL", word by word if streaming.

    `requests` holds each request with its JSON body; models in `down` are overloaded. A request
    with tools gets a call of the first tool, once.
    """

    def __init__(self):
        self.requests, self.down = [], set()

    def __call__(self, request):
        body = request.json()
        self.requests.append((request, body))
        if body["model"] in self.down:
            return FakeResponse(
                503, b'{"error": "overloaded"}', {"Content-Type": "application/json"}
            )
        words = ["Hello ", "from ", body["model"]]
        if body.get("stream"):
            lines = [_completion(body, None, delta=_message(word)) for word in words]
            lines += [_completion(body, delta=_message("")), "[DONE]"]
            stream = "".join(f"data: {line}\n\n" for line in lines)
            return FakeResponse(200, stream.encode(), {"Content-Type": "text/event-stream"})
        calls_tool = body.get("tools") and body["messages"][-1]["role"] != "tool"
        message = _tool_call(body["tools"][0]) if calls_tool else _message("".join(words))
        return FakeResponse(200, _completion(body, message=message).encode())


def _message(text):
    return {"role": "assistant", "content": text}


def _tool_call(tool):
    function = {"name": tool["function"]["name"], "arguments": '{"where": "x"}'}
    call = {"id": "call_1", "type": "function", "function": function}
    return {**_message(""), "tool_calls": [call]}


def _completion(body, finish_reason="stop", **content):
    choice = {"index": 0, "finish_reason": finish_reason, **content}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    head = {"id": "1", "created": 1, "model": body["model"], "object": "chat.completion"}
    return json.dumps({**head, "choices": [choice], "usage": usage})


@pytest.fixture
def inference(monkeypatch):
    common = pytest.importorskip("huggingface_hub.inference._providers._common")
    answers = Inference()
    with LoopbackServer(answers) as server:
        auto = getattr(common, "AutoRouterConversationalTask", None) or pytest.skip("an old Hub")
        monkeypatch.setattr(auto, "_prepare_base_url", lambda *_: server.url)
        yield answers


TOPICS = ("sum", "code", "poem", "law")
FILLERS = tuple(f"word{i}" for i in range(40))
SPECIALISTS = ("adder", "coder", "poet", "lawyer", "allround")


@pytest.fixture(scope="session")
def encoder():
    """A static encoder with random word vectors, which tell the topics apart."""
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
    """Make a Q-table of four specialists, and of one expert that is average on every topic."""
    from tryage.scoring.qtable import QTable

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


@pytest.fixture
def calibration():
    """A function that makes an `UncertaintyCalibration`; arguments replace simple values."""
    from tryage.core.uncertainty import LEVELS, UncertaintyCalibration

    def make(**changes):
        fields = {
            "disagreement_scale": 1.0,
            "unfamiliar_std": 0.8,
            "similarities": np.linspace(0, 1, 99),
            "loss_knots": np.array([0.0, 1.0]),
            "outcome_stds": np.array([0.3, 0.3]),
            "answer_quantiles": np.linspace(0, 2, len(LEVELS)),
            "mean_quantiles": np.linspace(0, 2, len(LEVELS)),
            "typical_std": 1.0,
            "odds_slope": 1.0,
            "odds_intercept": 0.0,
            "loss_range": (0.0, 1.0),
        }
        return UncertaintyCalibration(**fields | changes)

    return make


@pytest.fixture(scope="session")
def trained_router():
    """A router of three experts, trained on the prompts "sum/code/poem word0" to "word19"."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    from tryage import Expert, Library, Preferences, QTable, Router
    from tryage.learning.training.trainer import fit
    from tryage.perception.encoder import StaticEncoder

    topics = TOPICS[:3]
    words = ("[UNK]", *topics, *(f"word{i}" for i in range(20)))
    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token=words[0]))
    tokenizer.pre_tokenizer = Whitespace()
    rows = np.random.default_rng(0).normal(size=(len(words), 8)).astype(np.float32)
    prompts = tuple(f"{topic} word{i}" for topic in topics for i in range(20))
    losses = np.float32([[0.1, 0.9, 0.4]] * 20 + [[0.9, 0.1, 0.4]] * 20 + [[0.8, 0.8, 0.4]] * 20)
    table = QTable(prompts, ("adder", "coder", "chat"), losses)
    perception = fit(table, StaticEncoder.from_rows(rows, tokenizer), progress=False)
    library = Library(
        [
            Expert("adder", ("add-1b",), parameters=1e9, released=datetime.date(2025, 1, 1)),
            Expert("coder", parameters=7e9, license="mit", capabilities=frozenset({"tools"})),
            Expert("chat", parameters=70e9, input_price=0.5, metadata={"family": "chatty"}),
        ]
    )
    preferences = Preferences({"size": 0.05}, max_parameters=1e11)
    return Router(perception, library, preferences=preferences, default="chat", prompt_flags=True)


@pytest.fixture
def router_folder(trained_router, tmp_path):
    """A folder that the trained router has just been saved to."""
    folder = tmp_path / "saved"
    trained_router.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def word_pieces():
    """Make the tokenizer of a BERT with some words; the first four are its special tokens."""
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
    """Make a BERT with random weights of standard deviation `std`, for up to 64 tokens."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")

    def make(n_words, std=0.5):
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=n_words, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=32, max_position_embeddings=64, initializer_range=std,
        )  # fmt: skip
        return transformers.BertModel(config, add_pooling_layer=False).eval()

    return make


@pytest.fixture(scope="session")
def bert_folder(tiny_bert, word_pieces, tmp_path_factory):
    """A folder with a tiny random BERT and its tokenizer, with the words a to h, code and poem."""
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh", "code", "poem")
    folder = tmp_path_factory.mktemp("bert")
    tiny_bert(len(words), std=0.3).save_pretrained(folder)
    word_pieces(words).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory):
    """A folder with a tiny random Llama of three layers and its tokenizer of 14 words."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = ("[UNK]", *"abcdefgh", "code", "poem", "how", "hard", "?")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(words), hidden_size=8, intermediate_size=16, num_hidden_layers=3,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=256,
        initializer_range=0.5,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("llama")
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token=words[0]))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


# Servers of providers ----------------------------------------------------------------------------

_HEAD = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
_PLACE = {"item_id": "i", "output_index": 0, "content_index": 0}  # in OpenAI's streams


class Providers:
    """Answers `text` in the protocol of the path that is asked; `bodies` holds what was sent.

    `usage` is the report of tokens in the words of the provider. A model in `failures` gets that
    response. With `tool_arguments`, a completion with tools is a call of the first one.
    """

    def __init__(self):
        self.bodies, self.text, self.failures, self.tool_arguments = [], "4", {}, None
        self.usage = {"prompt_tokens": 3, "completion_tokens": 40, "total_tokens": 43}
        self.usage |= {"input_tokens": 3, "output_tokens": 1}

    def __call__(self, request):
        path = request.path
        if request.method == "GET":  # LlamaIndex asks Gemini for the sizes of its model
            return _reply_json({"name": "m", "inputTokenLimit": 9_000, "outputTokenLimit": 900})
        body = request.json()
        self.bodies.append(body)
        if body.get("model") in self.failures:
            return self.failures[body["model"]]
        return self.answer(path, body, body.get("stream") or "streamGenerateContent" in path)

    def answer(self, path, body, is_stream):
        if path.endswith("/api/chat"):
            return self.ollama()
        if "/v1/messages" in path:
            return self.anthropic(is_stream)
        if "generateContent" in path or "streamGenerateContent" in path:
            return self.gemini(is_stream)
        if path.endswith("/responses"):
            return self.responses(is_stream)
        return self.completions(is_stream, body)

    def completions(self, is_stream, body):
        message = {"role": "assistant", "content": self.text}
        if body.get("tools") and self.tool_arguments is not None:
            function = {"name": body["tools"][0]["function"]["name"]}
            function["arguments"] = json.dumps(self.tool_arguments)
            call = {"index": 0, "id": "1", "type": "function", "function": function}
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
        if not is_stream:
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return _reply_json({**_HEAD, "choices": [choice], "usage": self.usage})
        chunks = [
            {"choices": [{"index": 0, "delta": message, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        ]
        if (body.get("stream_options") or {}).get("include_usage"):
            chunks.append({"choices": [], "usage": self.usage})
        head = {**_HEAD, "object": "chat.completion.chunk"}
        lines = [json.dumps({**head, **chunk}) for chunk in chunks]
        return _events(f"data: {line}\n\n" for line in [*lines, "[DONE]"])

    def responses(self, is_stream):
        part = {"type": "output_text", "text": self.text, "annotations": []}
        item = {"id": "i", "type": "message", "role": "assistant", "status": "completed"}
        response = {
            "id": "r", "object": "response", "created_at": 1, "model": "m", "status": "completed",
            "output": [{**item, "content": [part]}], "usage": self.usage, "tools": [],
            "parallel_tool_calls": True, "tool_choice": "auto",
        }  # fmt: skip
        if not is_stream:
            return _reply_json(response)
        created = {**response, "output": [], "usage": None}
        parts = [
            {"type": "response.created", "response": created},
            {"type": "response.output_item.added", "item": {**item, "content": []}, **_PLACE},
            {"type": "response.content_part.added", "part": {**part, "text": ""}, **_PLACE},
            {"type": "response.output_text.delta", "delta": self.text, "logprobs": [], **_PLACE},
            {"type": "response.completed", "response": response},
        ]
        return _named_events({**one, "sequence_number": i} for i, one in enumerate(parts))

    def anthropic(self, is_stream):
        message = {"id": "1", "type": "message", "role": "assistant", "model": "m"}
        message["usage"] = self.usage
        text = {"type": "text", "text": self.text}
        if not is_stream:
            return _reply_json({**message, "content": [text], "stop_reason": "end_turn"})
        start = {**message, "content": [], "usage": {**self.usage, "output_tokens": 1}}
        delta = {"type": "text_delta", "text": self.text}
        parts = [
            {"type": "message_start", "message": start},
            {"type": "content_block_start", "index": 0, "content_block": {**text, "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": self.usage},
            {"type": "message_stop"},
        ]
        return _named_events(parts)

    def gemini(self, is_stream):
        content = {"role": "model", "parts": [{"text": self.text}]}
        candidate = {"content": content, "finishReason": "STOP", "index": 0}
        answer = {"candidates": [candidate], "usageMetadata": self.usage}
        return (
            _events([f"data: {json.dumps(answer)}\r\n\r\n"]) if is_stream else _reply_json(answer)
        )

    def ollama(self):
        """Return the only line of a stream, which is also the whole answer."""
        message = {"role": "assistant", "content": self.text}
        end = {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": message, "done": True}
        return FakeResponse(200, json.dumps({**end, "done_reason": "stop"}).encode() + b"\n")


def _reply_json(value):
    return FakeResponse(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


def _events(lines):
    return FakeResponse(200, "".join(lines).encode(), {"Content-Type": "text/event-stream"})


def _named_events(parts):
    return _events(f"event: {part['type']}\ndata: {json.dumps(part)}\n\n" for part in parts)


@pytest.fixture
def providers():
    """A server of every provider's protocol, with its `url`."""
    providers = Providers()
    with LoopbackServer(providers) as running:
        providers.url = running.url
        yield providers


# A simulated log ---------------------------------------------------------------------------------

# Three models: the USD of an answer, and the loss of the easiest prompt and of the hardest one.
_SIMULATED_MODELS = {
    "small": (0.0002, 0.05, 0.80),
    "medium": (0.002, 0.04, 0.40),
    "large": (0.02, 0.03, 0.20),
}


@pytest.fixture(scope="session")
def simulate_traffic():
    """Return a function that simulates `n` decisions and what came of them, as a log has them.

    A day of threads of up to four requests. Two routers share them, and "b" counts costs twice as
    much; it also decides beside "a" as the shadow "b". One of ten requests goes to any model. The
    model "medium" is broken from noon on, which an event says; from 13:00 on nobody asks it.
    """
    return _simulate_traffic


def _simulate_traffic(n=500, seed=0, *, rated=0.6, share=0.5):
    rng, start = np.random.default_rng(seed), 1_700_006_400.0  # 2023-11-15 00:00 UTC
    rows, thread, arm = [], 0, "a"
    for i in range(n):
        if rng.random() < 0.4:
            thread, arm = thread + 1, "b" if rng.random() < share else "a"
        when = start + 86_400 * (i + 0.5) / n
        rows.append(_simulated_row(rng, i, when, f"thread {thread}", arm, rated))
    noon = start + 43_200
    values = {"message": "rated .1 where .8 was expected", "residual": -0.7}
    return rows, [Event(1, "alarm 1", noon + 1_200, "drift", values, "medium")]


def _simulated_row(rng, i, when, key, arm, rated):
    names, hour = tuple(_SIMULATED_MODELS), (when % 86_400) / 3_600
    difficulty, prices = rng.random(), np.array([one[0] for one in _SIMULATED_MODELS.values()])
    losses = np.array(
        [low + (high - low) * difficulty for _, low, high in _SIMULATED_MODELS.values()]
    )
    believed = losses + 0.8 * (np.arange(3) == 1) * (hour >= 13)
    best = {
        name: int((believed + weight * prices).argmin()) for name, weight in (("a", 5), ("b", 20))
    }
    chosen = int(rng.integers(3)) if rng.random() < 0.1 else best[arm]
    propensities = np.full(3, 0.1 / 3) + 0.9 * (np.arange(3) == best[arm])
    true_loss = 0.9 if chosen == 1 and hour >= 12 else losses[chosen]
    record = DecisionRecord(
        id=f"decision {i}",
        time=when,
        router="r",
        chosen=names[chosen],
        propensity=float(propensities[chosen]),
        candidates=names,
        losses=tuple(believed.tolist()),
        stds=(0.05,) * 3,
        totals=tuple((believed + 5 * prices).tolist()),
        costs=tuple(prices.tolist()),
        propensities=tuple(propensities.tolist()),
        kind=("code", "chat")[i % 2],
        frozen_choice=names[int((losses + 5 * prices).argmin())],
        shadow_choices={"b": names[best["b"]]},
        arm=arm,
        key=key,
    )
    outcome = Outcome(
        record.id,
        when + 1,
        record.chosen,
        latency=float(rng.gamma(4, 0.2 + 0.2 * chosen)),
        input_tokens=300,
        output_tokens=200,
        cost=float(prices[chosen] * rng.uniform(0.8, 1.2)),
        best_single_cost=float(prices[2]),
        dearest_cost=float(prices[2]),
    )
    score = float(rng.random() >= true_loss)
    given = [Feedback(f"feedback {i}", record.id, when + 60, score)] if rng.random() < rated else []
    if rng.random() < true_loss / 4:
        given.append(Feedback(f"retry {i}", record.id, when + 30, 0.0, "retry"))
    return record, outcome, given
