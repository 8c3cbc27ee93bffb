"""The estimate of tokens, against the counts of real tokenizers."""

from __future__ import annotations

import base64
import json
import random
import uuid
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tryage.core import request
from tryage.core.token_estimate import (
    COEFFICIENTS,
    MAX_CHARACTERS,
    estimate_tokens,
    token_features,
)

_RANDOM = random.Random(7)  # noqa: S311 - texts, not secrets

_CSV = "id,date,customer,city,quantity,price\n" + "".join(
    f"ORD-{_RANDOM.randint(1000, 9999)},2026-0{_RANDOM.randint(1, 9)}-1{_RANDOM.randint(0, 9)},"
    f"{_RANDOM.choice(['Anna Smith', 'Wei Chen'])},{_RANDOM.choice(['Paris', 'New York'])},"
    f"{_RANDOM.randint(1, 9)},{_RANDOM.uniform(1, 500):.2f}\n"
    for _ in range(20)
)

_JSON = json.dumps(
    [
        {"name": name, "type": "string", "required": i % 2 == 0, "maxLength": 64 + i}
        for i, name in enumerate(["customerId", "shipping_address", "email", "phone", "notes"])
    ],
    separators=(",", ":"),
)

_CODE = '''
def head_and_tail(ids: Int64Array, max_length: int) -> Int64Array:
    """Keep the first and the last tokens of a long prompt."""
    if len(ids) <= max_length:
        return ids
    tail_length = max_length // 2
    return np.concatenate([ids[: max_length - tail_length], ids[len(ids) - tail_length :]])
'''

_BASE64 = base64.b64encode(_RANDOM.randbytes(450)).decode()

_UUIDS = "\n".join(str(uuid.UUID(int=_RANDOM.getrandbits(128), version=4)) for _ in range(16))

_MAIL = "Hello Anna,\n\nplease find the report attached. Best regards, Wei\n\n" + _BASE64

# Each text with its tokens in o200k_base (GPT-4o and later), and in the tokenizer of Llama 3.1.
# The sentences are the first article of the Universal Declaration of Human Rights.
COUNTED = {
    "English": (
        "All human beings are born free and equal in dignity and rights. They are endowed with "
        "reason and conscience and should act towards one another in a spirit of brotherhood.",
        (33, 33),
    ),
    "code": (_CODE, (80, 80)),
    "CSV": (_CSV, (483, 483)),
    "JSON": (_JSON, (89, 83)),
    "base64": (_BASE64, (407, 432)),
    "UUIDs": (_UUIDS, (372, 373)),
    "a mail with an attachment": (_MAIL, (421, 446)),
    "Arabic": (
        "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق. وقد وهبوا عقلا وضميرا وعليهم أن يعامل "
        "بعضهم بعضا بروح الإخاء.",
        (42, 45),
    ),
    "Chinese": (
        "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",  # noqa: RUF001 - as written in Chinese
        (35, 36),
    ),
    "Japanese": (
        "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。"
        "人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。",
        (72, 58),
    ),
    "Russian": (
        "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены "  # noqa: RUF001 - Russian
        "разумом и совестью и должны поступать в отношении друг друга в духе братства.",
        (41, 48),
    ),
}


@pytest.mark.parametrize("kind", COUNTED)
def test_every_kind_of_text_is_within_30_percent_of_both_tokenizers(kind):
    text, counts = COUNTED[kind]
    assert estimate_tokens(text) == pytest.approx(counts[0], rel=0.3)
    assert estimate_tokens(text) == pytest.approx(counts[1], rel=0.3)


@pytest.mark.parametrize("tokenizer", [0, 1])
def test_the_median_over_kinds_is_within_15_percent(tokenizer):
    ratios = [estimate_tokens(text) / counts[tokenizer] for text, counts in COUNTED.values()]
    assert np.median(np.abs(np.array(ratios) - 1)) <= 0.15


@pytest.mark.parametrize("kind", COUNTED)
def test_the_recorded_counts_are_those_of_the_tokenizer(kind, o200k):
    text, counts = COUNTED[kind]
    assert len(o200k.encode_ordinary(text)) == counts[0]


@pytest.mark.parametrize("kind", COUNTED)
@pytest.mark.parametrize("length", [MAX_CHARACTERS + 1, 100_000, 1_000_000])
def test_a_long_text_has_as_many_tokens_per_character_as_its_parts(kind, length):
    text = COUNTED[kind][0] + "\n"
    expected = estimate_tokens(text * 20) / (20 * len(text)) * length
    assert estimate_tokens((text * (length // len(text) + 1))[:length]) == pytest.approx(
        expected, rel=0.1
    )


def test_a_long_text_of_two_kinds_counts_both():
    words, code = "one word after the other " * 4_000, "ab3/Xz+9Qw7T" * 8_000
    expected = estimate_tokens(words) + estimate_tokens(code)
    assert estimate_tokens(words + code) == pytest.approx(expected, rel=0.1)


def test_only_a_bounded_number_of_characters_of_a_long_text_is_read(monkeypatch):
    read = []
    monkeypatch.setattr(
        "tryage.core.token_estimate.token_features",
        lambda text: read.append(len(text)) or np.ones_like(COEFFICIENTS),
    )
    estimate_tokens("word " * 2_000_000)
    assert read == [MAX_CHARACTERS]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("a", 1), (" ", 1), ("Hello", 1), ("Hello world", 2), ("\n", 1), ("\x00", 1)],
)
def test_the_shortest_texts_are_counted_exactly(text, tokens):
    assert estimate_tokens(text) == tokens


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "😀👍🏽", "e\u0301", "\U0010ffff"])
def test_every_string_has_an_estimate(text):
    assert 1 <= estimate_tokens(text) <= 12


def test_a_prefix_never_has_many_more_tokens():
    text = "".join(text for text, _ in COUNTED.values())
    estimates = [estimate_tokens(text[:n]) for n in range(0, len(text), 7)]
    assert np.diff(estimates).min() >= -2


def test_a_repeated_pattern_costs_less_than_a_changing_one():
    assert estimate_tokens("-" * 80) < 15
    assert estimate_tokens("A" * 400) < estimate_tokens(_BASE64[:400]) / 4


def test_every_coefficient_has_a_feature():
    features = token_features("Café 12,\nДа")  # noqa: RUF001 - Russian
    assert features.shape == COEFFICIENTS.shape
    assert features[-1] == 1  # the accented letter


def test_the_estimate_is_importable_from_its_former_place():
    assert request.estimate_tokens is estimate_tokens


@pytest.fixture(scope="module")
def o200k():
    """Return the tokenizer that LlamaIndex ships, without a network."""
    tiktoken = pytest.importorskip("tiktoken")
    if find_spec("llama_index") is None or (core := find_spec("llama_index.core")) is None:
        pytest.skip("LlamaIndex is not installed")
    with pytest.MonkeyPatch.context() as patch:
        cache = Path(core.submodule_search_locations[0]) / "_static" / "tiktoken_cache"
        patch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
        return tiktoken.get_encoding("o200k_base")
