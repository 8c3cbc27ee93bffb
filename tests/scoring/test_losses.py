"""Losses of language models, compared with torch's cross-entropy of one text at a time; masks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage.core.expert import Expert
from tryage.errors import InputError, MeasurementError
from tryage.scoring.losses import (
    CausalLM,
    MaskedLM,
    Seq2SeqLM,
    measurer_for,
    sample_masks,
    word_spans,
)
from tryage.scoring.measurement import Prompt

RAW_BYTE = math.log(256)  # nats of a byte that a model has no token for

SENTENCES = (
    "the cat sat on the mat",
    "a dog ran",
    "the dog and the cat ran on and on",
    "mat",
    "zebra the cat",
    "the quick cat, the slow dog.",
)
PROMPTS = [Prompt(text) for text in SENTENCES]


def masked_by_hand(torch, load, folder, text, seed=0, rate=0.4):
    """Hide the words by replacing them in the text, and return nats, tokens and characters."""
    tokenizer, model = load(folder, "AutoModelForMaskedLM")
    (spans,) = sample_masks(text, rate, seed, 1)
    hidden, nats, tokens = text, 0.0, 0
    for start, end in reversed(spans):
        hidden = f"{hidden[:start]}[MASK]{hidden[end:]}"
    truth = tokenizer(text, return_tensors="pt")["input_ids"][0]
    given = tokenizer(hidden, return_tensors="pt")
    with torch.no_grad():
        logits = model(**given).logits[0]
    for at, token in enumerate(given["input_ids"][0].tolist()):
        if token != tokenizer.mask_token_id:
            continue
        tokens += 1
        if int(truth[at]) == tokenizer.unk_token_id:
            place = tokenizer(text, return_offsets_mapping=True)["offset_mapping"][at]
            nats += RAW_BYTE * len(text[slice(*place)].encode())
        else:
            nats += float(torch.nn.functional.cross_entropy(logits[at], truth[at]))
    return nats, tokens, sum(end - start for start, end in spans)


def test_masked_loss_is_the_cross_entropy_of_the_hidden_words(torch, load, bert, measure):
    for batch_tokens in (1, 4096):  # one text in a batch, and padded among others
        expert = MaskedLM.from_pretrained(bert, rate=0.4, least=1, batch_tokens=batch_tokens)
        for text, found in zip(SENTENCES, measure(expert, PROMPTS), strict=True):
            nats, tokens, chars = masked_by_hand(torch, load, bert, text)
            assert found.loss == pytest.approx(nats / tokens, rel=1e-4)
            assert found.loss_per_char == pytest.approx(nats / chars, rel=1e-4)
            assert found.bits_per_byte == pytest.approx(nats / math.log(2) / chars, rel=1e-4)


def test_an_unknown_word_costs_its_raw_bytes(bert, measure):
    (found,) = measure(MaskedLM.from_pretrained(bert, rate=1.0), [Prompt("zebra")])
    assert found.loss == pytest.approx(5 * RAW_BYTE)
    assert found.bits_per_byte == pytest.approx(8.0)


def test_a_word_that_the_tokenizer_drops_costs_its_raw_bytes(bert, load, measure):
    from tokenizers.normalizers import Replace

    tokenizer, model = load(bert, "AutoModelForMaskedLM")
    tokenizer.backend_tokenizer.normalizer = Replace("zebra", "")
    expert = MaskedLM(Expert("a"), lambda: (model, tokenizer), rate=1.0)
    dropped, rest = measure(expert, [Prompt("the zebra sat"), Prompt("the sat")])
    assert dropped.loss * 3 == pytest.approx(rest.loss * 2 + 5 * RAW_BYTE, rel=1e-5)


def test_a_long_text_is_masked_in_every_window(bert, measure):
    long = " ".join(["the cat sat on the mat"] * 10)  # 60 words, 10 fit
    (found,) = measure(MaskedLM.from_pretrained(bert, rate=1.0), [Prompt(long)])
    # All words are hidden, so each full window sees the same: ten masks between two ends.
    (one,) = measure(
        MaskedLM.from_pretrained(bert, rate=1.0), [Prompt(" ".join(long.split()[:30]))]
    )
    assert found.loss == pytest.approx(one.loss, rel=1e-5)


def test_the_seed_decides_which_words_are_hidden(bert, measure):
    losses = [
        measure(MaskedLM.from_pretrained(bert, seed=seed, least=1), PROMPTS)[2].loss
        for seed in (0, 0, 5)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_every_word_of_a_short_text_is_hidden_once(bert, measure):
    short, long = (MaskedLM.from_pretrained(bert, **how) for how in ({}, {"rounds": 99}))
    assert measure(short, PROMPTS)[:3] == measure(long, PROMPTS)[:3]


def test_more_rounds_hide_every_word_once(torch, load, bert, measure):
    text = SENTENCES[0]
    (found,) = measure(MaskedLM.from_pretrained(bert, rate=0.17, rounds=99), [Prompt(text)])
    tokenizer, model = load(bert, "AutoModelForMaskedLM")
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    nats = 0.0
    for at in range(1, ids.shape[1] - 1):
        hidden = ids.clone()
        hidden[0, at] = tokenizer.mask_token_id
        with torch.no_grad():
            nats += float(
                torch.nn.functional.cross_entropy(model(hidden).logits[0, at], ids[0, at])
            )
    assert found.loss == pytest.approx(nats / 6, rel=1e-4)


def causal_by_hand(torch, load, folder, text):
    """Return the nats of a text after the token that ends another one."""
    tokenizer, model = load(folder, "AutoModelForCausalLM")
    ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer(text)["input_ids"]]])
    with torch.no_grad():
        return float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)


def test_causal_loss_is_the_loss_of_the_model(torch, load, gpt, measure):
    texts = ["a dog ran", "né à Zürich", "数学", "x"]
    for batch_tokens in (1, 4096):
        expert = CausalLM.from_pretrained(gpt, batch_tokens=batch_tokens)
        found = measure(expert, [Prompt(text) for text in texts])
        for text, one in zip(texts, found, strict=True):
            nats, size = causal_by_hand(torch, load, gpt, text), len(text.encode())
            assert one.loss == pytest.approx(nats / size, rel=1e-4)  # a token is a byte
            assert one.loss_per_char == pytest.approx(nats / len(text), rel=1e-4)
            assert one.bits_per_byte == pytest.approx(nats / math.log(2) / size, rel=1e-4)


def test_a_window_slides_by_half_and_scores_each_token_once(torch, load, gpt, measure):
    text = "the cat sat on the mat and on"  # 29 tokens and the start, in windows of 8
    tokenizer, model = load(gpt, "AutoModelForCausalLM")
    ids = [tokenizer.eos_token_id, *tokenizer(text)["input_ids"]]
    nats, last = 0.0, 1
    for start in range(0, len(ids), 4):  # the perplexity guide of transformers
        end = min(start + 8, len(ids))
        part = torch.tensor([ids[start:end]])
        labels = part.clone()
        labels[0, : last - start] = -100
        with torch.no_grad():
            nats += float(model(part, labels=labels).loss) * (end - last)
        last = end
        if end == len(ids):
            break
    (found,) = measure(CausalLM.from_pretrained(gpt, window=8), [Prompt(text)])
    assert found.loss == pytest.approx(nats / 29, rel=1e-4)


def test_without_a_start_token_the_first_token_costs_a_uniform_guess(
    torch, transformers, gpt, byte_tokenizer, measure
):
    bare = transformers.PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer._tokenizer)
    model = transformers.AutoModelForCausalLM.from_pretrained(gpt).eval()
    (found,) = measure(CausalLM(Expert("bare"), lambda: (model, bare)), [Prompt("ab")])
    ids = torch.tensor([bare("ab")["input_ids"]])
    with torch.no_grad():
        second = float(model(ids, labels=ids).loss)
    assert found.loss == pytest.approx((math.log(len(bare)) + second) / 2, rel=1e-4)


def test_seq2seq_loss_is_the_loss_of_the_model_on_the_reference(torch, load, t5, measure):
    pairs = [("the cat", "a dog ran"), ("a", "mat"), ("the dog and the cat ran", "the mat . a")]
    prompts = [Prompt(text, references=(answer,)) for text, answer in pairs]
    tokenizer, model = load(t5, "AutoModelForSeq2SeqLM")
    for batch_tokens in (1, 4096):
        expert = Seq2SeqLM.from_pretrained(t5, batch_tokens=batch_tokens)
        for (text, answer), found in zip(pairs, measure(expert, prompts), strict=True):
            given = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
            labels = tokenizer(answer, return_tensors="pt")["input_ids"]
            with torch.no_grad():
                loss = float(model(**given, labels=labels).loss)
            assert found.loss == pytest.approx(loss, rel=1e-4)
            assert found.loss_per_char == pytest.approx(
                loss * labels.shape[1] / len(answer), rel=1e-4
            )


def test_a_missing_reference_is_rejected_and_a_long_one_stays_a_gap(t5, measure):
    expert = Seq2SeqLM.from_pretrained(t5)
    with pytest.raises(InputError, match="needs a reference"):
        measure(expert, [Prompt("the cat")])
    (found,) = measure(expert, [Prompt("a", references=("the " * 20,))])
    assert found.loss is None
    assert "room for 12" in found.error


@pytest.mark.parametrize("text", ["", " ", "\n\n"])
def test_a_prompt_without_a_word_stays_a_gap(bert, measure, text):
    (found,) = measure(MaskedLM.from_pretrained(bert), [Prompt(text)])
    assert found.loss is None
    assert "nothing" in found.error


def test_every_setting_that_changes_the_numbers_is_in_the_method(bert):
    methods = {
        MaskedLM.from_pretrained(bert, **settings).identify().method
        for settings in (
            {},
            {"rate": 0.2},
            {"rounds": 2},
            {"least": 1},
            {"seed": 1},
            {"window": 64},
        )
    }
    assert len(methods) == 6


def test_a_causal_model_has_no_masked_loss(bert, transformers, byte_tokenizer, measure):
    model = transformers.AutoModelForMaskedLM.from_pretrained(bert)
    with pytest.raises(MeasurementError, match="no mask token"):
        measure(MaskedLM(Expert("odd"), lambda: (model, byte_tokenizer)), PROMPTS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat, sat.", ["The", "cat", ",", "sat", "."]),
        ("x_1 = 3.5", ["x_1", "=", "3", ".", "5"]),
        ("Größe été", ["Größe", "été"]),
        ("数学はab", ["数", "学", "は", "ab"]),
        ("  \n\t", []),
        ("🙂", ["🙂"]),
    ],
)
def test_words_are_runs_of_letters_single_signs_or_ideographs(text, expected):
    assert [text[start:end] for start, end in word_spans(text)] == expected


@given(st.text(max_size=80), st.floats(0.01, 1.0), st.integers(), st.integers(1, 12))
def test_masks_are_always_the_same_and_hide_no_word_twice(text, rate, seed, rounds):
    found = sample_masks(text, rate, seed, rounds)
    assert found == sample_masks(text, rate, seed, rounds)
    hidden = [span for spans in found for span in spans]
    assert len(set(hidden)) == len(hidden)
    assert set(hidden) <= set(word_spans(text))
    assert len(found) <= rounds
    assert all(found)


@given(st.text(max_size=80), st.floats(0.01, 1.0), st.integers(1, 4), st.integers(1, 30))
def test_a_short_text_gets_more_rounds_until_enough_words_are_hidden(text, rate, rounds, least):
    found = sample_masks(text, rate, 0, rounds, least)
    assert sum(map(len, found)) >= min(least, len(word_spans(text)))
    assert found[:rounds] == sample_masks(text, rate, 0, rounds)
    assert len(found) <= rounds or sum(map(len, found[:-1])) < least


def test_enough_rounds_hide_every_word():
    text = "one two three four five six seven"
    assert sorted(s for spans in sample_masks(text, 0.3, 0, 99) for s in spans) == word_spans(text)


def test_the_architecture_of_a_checkpoint_decides_its_measurer(bert, gpt, t5, tmp_path):
    factories = {
        "ForMaskedLM": MaskedLM.from_pretrained,
        "ForCausalLM": CausalLM.from_pretrained,
        "LMHeadModel": CausalLM.from_pretrained,
    }
    assert isinstance(measurer_for(str(bert), factories), MaskedLM)
    assert isinstance(measurer_for(str(gpt), factories), CausalLM)
    with pytest.raises(InputError, match=r"T5ForConditionalGeneration.*expected one of"):
        measurer_for(str(t5), factories)
    with pytest.raises(InputError, match="not a readable model"):
        measurer_for(str(tmp_path), factories)
