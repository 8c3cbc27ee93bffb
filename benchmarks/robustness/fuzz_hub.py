"""The target of the Hub's answers: each becomes a model with plain facts, or an error."""

from __future__ import annotations

import datetime
import functools
import json
from typing import TYPE_CHECKING, Any

from fuzz_files import check_message

from tryage.core.expert import Expert
from tryage.errors import HubError
from tryage.hub.endpoints import (
    leaderboard_request,
    list_models_request,
    model_request,
    served_models_request,
)
from tryage.hub.evaluations import parse_leaderboard, with_results
from tryage.hub.lineage import inherit
from tryage.hub.model import Model, to_expert
from tryage.hub.parse import parse_model_or_none
from tryage.hub.protocol import (
    HubResponse,
    RateLimit,
    Success,
    classify_response,
    retry_after,
)
from tryage.hub.providers import parse_served, with_served
from tryage.hub.settings import HubSettings

if TYPE_CHECKING:
    from collections.abc import Iterable

_NOW = datetime.datetime(2026, 10, 3, 12, 30, tzinfo=datetime.timezone.utc)
_HUB = HubSettings(endpoint="https://hub.test", inference="https://router.test")
_RECORD = {
    "_id": "621ffdc036468d709f174338",
    "id": "acme/Foo-7B-Chat-GGUF",
    "author": "acme",
    "sha": "607a30d783dfa663caf39e06633721c8d4cfcd7e",
    "gated": "auto",
    "private": False,
    "downloads": 1234,
    "likes": 5,
    "tags": ["gguf", "conversational", "license:mit", "en", "base_model:quantized:acme/Foo-7B"],
    "pipeline_tag": "text-generation",
    "library_name": "gguf",
    "createdAt": "2025-06-01T08:00:00.000Z",
    "lastModified": "2026-09-30T00:00:00.000Z",
    "gguf": {"total": 7615616512, "architecture": "qwen2", "context_length": 32768},
    "safetensors": {"parameters": {"BF16": 7615616512}, "total": 7615616512},
    "config": {
        "model_type": "mixtral",
        "vocab_size": 32000,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "max_position_embeddings": 4096,
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0},
        "quantization_config": {"quant_method": "gptq", "bits": 4},
        "tokenizer_config": {"chat_template": "{% if tools %}<think>"},
    },
    "cardData": {"license": "mit", "language": ["en"], "base_model": "acme/Foo-7B"},
    "baseModels": {"relation": "quantized", "models": [{"_id": "62", "id": "acme/Foo-7B"}]},
    "siblings": [{"rfilename": "model.safetensors", "size": 1000, "lfs": {"size": 1000}}],
    "evalResults": [{"data": {"dataset": {"id": "x"}, "value": 0.5}, "verified": True}],
    "model-index": [
        {"results": [{"task": {"type": "t"}, "dataset": {"type": "d"}, "metrics": [{"value": 1}]}]}
    ],
    "securityRepoStatus": {"scansDone": True, "filesWithIssues": []},
    "inferenceProviderMapping": [{"provider": "p", "status": "live", "providerId": "x"}],
}
_OFFER = {
    "provider": "p",
    "status": "live",
    "pricing": {"input": 0.1, "output": 0.2},
    "first_token_latency_ms": 100,
    "throughput": 50,
    "context_length": 4096,
    "supports_tools": True,
}
_HEADERS = (
    "link: <https://hub.test/api/models?cursor=abc>; rel=next\n"
    'ratelimit: "api";r=0;t=20\nratelimit-policy: "fixed window";"api";q=500;w=300\n'
    "retry-after: 3\nx-error-message: no\nx-error-code: GatedRepo\nlocation: /api/models/b\n"
)


def check_hub(data: bytes) -> None:
    """Decode an answer of the Hub; its first letter says to which request, and how it answered."""
    kind, body = data[:1], data[1:]
    try:
        if kind == b"h":
            _check_headers(body)
        elif kind == b"l":
            request: Any = leaderboard_request(_HUB, "data/board")
            _check_leaderboard(_decoded(request, body))
        elif kind == b"s":
            _check_served(_decoded(served_models_request(_HUB), body))
        elif kind == b"m":
            _check_record(_decoded(model_request(_HUB, "acme/foo"), body))
        else:
            for record in _decoded(list_models_request(_HUB), body).records:
                _check_record(record)
    except HubError as error:
        check_message(error)


def _decoded(request: Any, body: bytes) -> Any:  # noqa: ANN401 - what a request asks for
    response = HubResponse(200, {}, body, _NOW)
    found = classify_response(request, response, attempt=0, jitter=0.5, token_sent=False)
    if not isinstance(found, Success):
        raise found.error
    return found.value


def _check_headers(body: bytes) -> None:
    """Decode an answer whose first line is its status, the next ones its headers."""
    head, _, rest = body.partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    status = int(first[:3]) if first[:3].isascii() and first[:3].isdigit() else 200
    limit = RateLimit.from_headers(headers, 100.0)
    if limit is not None:
        assert limit.acquire(100.0)[0] >= 0
    wait = retry_after(headers, _NOW)
    assert wait is None or wait >= 0
    response = HubResponse(status, headers, rest or b"[]", _NOW)
    request = list_models_request(_HUB)
    classify_response(request, response, attempt=0, jitter=0.5, token_sent=False)


def _check_record(record: Any) -> None:  # noqa: ANN401 - any JSON object
    model = parse_model_or_none(record, _NOW)
    if model is None:
        return
    base = parse_model_or_none({**record, "_id": "2", "id": "a/b"}, _NOW)
    _check_model(inherit(model, [] if base is None else [base]))


def _check_model(model: Model) -> None:
    assert all(0 <= fact.confidence <= 1 for fact in model.facts.values())
    model.check_types()
    written = json.dumps(model.to_dict(), allow_nan=False, ensure_ascii=False).encode()
    assert Model.from_dict(json.loads(written)) == model
    expert = to_expert(model)
    written = json.dumps(expert.to_dict(), allow_nan=False, ensure_ascii=False).encode()
    assert Expert.from_dict(json.loads(written)) == expert


@functools.lru_cache(maxsize=1)
def _plain_model() -> Model:
    model = parse_model_or_none(_RECORD, _NOW)
    assert model is not None
    return model


def _check_served(records: Any) -> None:  # noqa: ANN401 - any JSON objects
    for facts in parse_served(records, _NOW).values():
        _check_model(with_served(_plain_model(), facts))


def _check_leaderboard(records: Any) -> None:  # noqa: ANN401 - any JSON objects
    for rows in parse_leaderboard("data/board", records, _NOW).values():
        _check_model(with_results(_plain_model(), rows))


def texts_in(value: object) -> set[str]:
    """Return all keys and short texts of a JSON value."""
    if isinstance(value, dict):
        return set(value).union(*map(texts_in, value.values()))
    if isinstance(value, list):
        return set().union(*map(texts_in, value))
    return {value} if isinstance(value, str) and len(value) < 60 else set()


def hub_words() -> tuple[str, ...]:
    """Return the words of the records above, and those that only some records have."""
    more = (
        "text_config providers status U32 I32 BF16 group_size relation adapter license_name other"
    )
    more += " filesWithIssues unsafe auto_map model_max_length is_free value modelId pullRequest"
    odd = ("a/m-7B", "license:other", "9999-12-31T23:59:59-23:00", "x" * 600)
    return tuple(sorted({*texts_in([_RECORD, _OFFER]), *odd, *more.split()}))


def hub_seeds() -> Iterable[bytes]:
    """Yield an answer to each request, and errors with their headers."""
    row = {"modelId": "a/b", "value": 0.5, "verified": True, "source": {"url": "u", "name": "n"}}
    offers = {"data": [{"id": "a/b", "providers": [_OFFER, {**_OFFER, "provider": "q"}]}]}
    yield b"p" + json.dumps([_RECORD]).encode()
    yield b"m" + json.dumps(_RECORD).encode()
    yield b"l" + json.dumps([row]).encode()
    yield b"s" + json.dumps(offers).encode()
    for status in (200, 302, 400, 401, 404, 429, 503):
        yield f'h{status}\n{_HEADERS}\n{{"error": "expected one of: sha | tags | likes"}}'.encode()
