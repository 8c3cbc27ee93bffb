"""Losses of language models, against torch's own cross-entropy worked out one text at a time."""

from __future__ import annotations

import math

import pytest

from tryage import Expert
from tryage.errors import InputError, MeasurementError
from tryage.learning.scoring.losses import CausalLM, MaskedLM, Seq2SeqLM, sample_masks
from tryage.learning.scoring.measurement import Prompt

RAW = math.log(256)  # nats of a byte that a model has no token for

SENTENCES = (
    "the cat sat on the mat",
    "a dog ran",
    "the dog and the cat ran on and on",
    "mat",
    "zebra the cat",
    "the quick cat, the slow dog.",
)
PROMPTS = [Prompt(text) for text in SENTENCES]


def asked(transformers, folder, network):
    """Load a model as its users do."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return tokenizer, getattr(transformers, network).from_pretrained(folder).eval()


def masked_by_hand(torch, transformers, folder, text, seed=0, rate=0.4):
    """Hide the words by replacing them in the text, and return nats, tokens and characters."""
    tokenizer, model = asked(transformers, folder, "AutoModelForMaskedLM")
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
            nats += RAW * len(text[slice(*place)].encode())
        else:
            nats += float(torch.nn.functional.cross_entropy(logits[at], truth[at]))
    return nats, tokens, sum(end - start for start, end in spans)


def test_masked_loss_is_the_cross_entropy_of_the_hidden_words(torch, transformers, bert, measured):
    for batch_tokens in (1, 4096):  # alone, and padded beside others
        expert = MaskedLM.from_pretrained(bert, rate=0.4, least=1, batch_tokens=batch_tokens)
        for text, found in zip(SENTENCES, measured(expert, PROMPTS), strict=True):
            nats, tokens, chars = masked_by_hand(torch, transformers, bert, text)
            assert found.loss == pytest.approx(nats / tokens, rel=1e-4)
            assert found.loss_per_char == pytest.approx(nats / chars, rel=1e-4)
            assert found.bits_per_byte == pytest.approx(nats / math.log(2) / chars, rel=1e-4)


def test_a_word_that_the_model_does_not_know_costs_its_raw_bytes(bert, measured):
    (found,) = measured(MaskedLM.from_pretrained(bert, rate=1.0), [Prompt("zebra")])
    assert found.loss == pytest.approx(5 * RAW)
    assert found.bits_per_byte == pytest.approx(8.0)


def test_a_long_text_is_masked_in_every_window(bert, measured):
    long = " ".join(["the cat sat on the mat"] * 10)  # 60 words, 10 fit
    (found,) = measured(MaskedLM.from_pretrained(bert, rate=1.0), [Prompt(long)])
    # All words are hidden, so each full window sees the same: ten masks between two ends.
    (one,) = measured(
        MaskedLM.from_pretrained(bert, rate=1.0), [Prompt(" ".join(long.split()[:30]))]
    )
    assert found.loss == pytest.approx(one.loss, rel=1e-5)


def test_the_seed_decides_which_words_are_hidden(bert, measured):
    losses = [
        measured(MaskedLM.from_pretrained(bert, seed=seed, least=1), PROMPTS)[2].loss
        for seed in (0, 0, 5)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_of_a_short_text_every_word_is_hidden_once_if_there_are_too_few(bert, measured):
    short, long = (MaskedLM.from_pretrained(bert, **how) for how in ({}, {"rounds": 99}))
    assert measured(short, PROMPTS)[:3] == measured(long, PROMPTS)[:3]


def test_more_rounds_hide_every_word_once(torch, transformers, bert, measured):
    text = SENTENCES[0]
    (found,) = measured(MaskedLM.from_pretrained(bert, rate=0.17, rounds=99), [Prompt(text)])
    tokenizer, model = asked(transformers, bert, "AutoModelForMaskedLM")
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


def causal_by_hand(torch, transformers, folder, text):
    """Return the nats of a text after the token that ends another one."""
    tokenizer, model = asked(transformers, folder, "AutoModelForCausalLM")
    ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer(text)["input_ids"]]])
    with torch.no_grad():
        return float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)


def test_causal_loss_is_that_of_the_model_itself(torch, transformers, gpt, measured):
    texts = ["a dog ran", "né à Zürich", "数学", "x"]
    for batch_tokens in (1, 4096):
        expert = CausalLM.from_pretrained(gpt, batch_tokens=batch_tokens)
        found = measured(expert, [Prompt(text) for text in texts])
        for text, one in zip(texts, found, strict=True):
            nats, size = causal_by_hand(torch, transformers, gpt, text), len(text.encode())
            assert one.loss == pytest.approx(nats / size, rel=1e-4)  # a token is a byte
            assert one.loss_per_char == pytest.approx(nats / len(text), rel=1e-4)
            assert one.bits_per_byte == pytest.approx(nats / math.log(2) / size, rel=1e-4)


def test_a_window_slides_by_half_and_scores_each_token_once(torch, transformers, gpt, measured):
    text = "the cat sat on the mat and on"  # 29 tokens and the start, in windows of 8
    tokenizer, model = asked(transformers, gpt, "AutoModelForCausalLM")
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
    (found,) = measured(CausalLM.from_pretrained(gpt, window=8), [Prompt(text)])
    assert found.loss == pytest.approx(nats / 29, rel=1e-4)


def test_without_a_token_to_start_from_the_first_one_costs_a_guess(
    torch, transformers, gpt, byte_tokenizer, measured
):
    bare = transformers.PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer._tokenizer)
    model = transformers.AutoModelForCausalLM.from_pretrained(gpt).eval()
    (found,) = measured(CausalLM(Expert("bare"), lambda: (model, bare)), [Prompt("ab")])
    ids = torch.tensor([bare("ab")["input_ids"]])
    with torch.no_grad():
        second = float(model(ids, labels=ids).loss)
    assert found.loss == pytest.approx((math.log(len(bare)) + second) / 2, rel=1e-4)


def test_seq2seq_loss_is_that_of_the_model_on_the_reference(torch, transformers, t5, measured):
    pairs = [("the cat", "a dog ran"), ("a", "mat"), ("the dog and the cat ran", "the mat . a")]
    prompts = [Prompt(text, references=(answer,)) for text, answer in pairs]
    tokenizer, model = asked(transformers, t5, "AutoModelForSeq2SeqLM")
    for batch_tokens in (1, 4096):
        expert = Seq2SeqLM.from_pretrained(t5, batch_tokens=batch_tokens)
        for (text, answer), found in zip(pairs, measured(expert, prompts), strict=True):
            given = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
            labels = tokenizer(answer, return_tensors="pt")["input_ids"]
            with torch.no_grad():
                loss = float(model(**given, labels=labels).loss)
            assert found.loss == pytest.approx(loss, rel=1e-4)
            assert found.loss_per_char == pytest.approx(
                loss * labels.shape[1] / len(answer), rel=1e-4
            )


def test_a_reference_that_is_missing_or_too_long_is_told(t5, measured):
    expert = Seq2SeqLM.from_pretrained(t5)
    with pytest.raises(InputError, match="needs a reference"):
        measured(expert, [Prompt("the cat")])
    (found,) = measured(expert, [Prompt("a", references=("the " * 20,))])
    assert found.loss is None
    assert "room for 12" in found.error


@pytest.mark.parametrize("text", ["", " ", "\n\n"])
def test_a_prompt_with_nothing_to_hide_stays_a_gap(bert, measured, text):
    (found,) = measured(MaskedLM.from_pretrained(bert), [Prompt(text)])
    assert found.loss is None
    assert "nothing" in found.error


def test_a_checkpoint_tells_its_name_and_parameters_before_it_is_loaded(transformers, bert, gpt):
    for folder, kind, network in (
        (bert, MaskedLM, "AutoModelForMaskedLM"),
        (gpt, CausalLM, "AutoModelForCausalLM"),
    ):
        expert = kind.from_pretrained(folder).identify().expert
        _, model = asked(transformers, folder, network)
        assert expert.name == folder.name
        assert expert.parameters == model.num_parameters()


def test_what_changes_the_numbers_is_in_the_method(bert):
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


def test_pickled_weights_and_the_code_of_a_repo_are_not_read(torch, bert, tmp_path, measured):
    import json
    import shutil

    pickled = tmp_path / "pickled"
    shutil.copytree(bert, pickled)
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(MeasurementError, match="pickled"):
        measured(MaskedLM.from_pretrained(pickled), PROMPTS)
    coded = tmp_path / "coded"
    shutil.copytree(bert, coded)
    config = json.loads((coded / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoModelForMaskedLM": "own.Own", "AutoConfig": "own.C"},
    }
    (coded / "config.json").write_text(json.dumps(config))
    (coded / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(MeasurementError, match="code of their own"):
        measured(MaskedLM.from_pretrained(coded), PROMPTS)
    assert not (tmp_path / "ran").exists()


def test_a_causal_model_has_no_masked_loss(bert, transformers, byte_tokenizer, measured):
    model = transformers.AutoModelForMaskedLM.from_pretrained(bert)
    with pytest.raises(MeasurementError, match="no mask token"):
        measured(MaskedLM(Expert("odd"), lambda: (model, byte_tokenizer)), PROMPTS)


def test_a_model_that_breaks_on_a_batch_is_told(bert, transformers, word_tokenizer, measured):
    model = transformers.AutoModelForMaskedLM.from_pretrained(bert)
    small = transformers.BertConfig(**model.config.to_dict() | {"max_position_embeddings": 4})
    broken = transformers.BertForMaskedLM(small)
    small.max_position_embeddings = 12  # a configuration that promises too much
    with pytest.raises(MeasurementError, match="odd failed on a batch"):
        measured(MaskedLM(Expert("odd"), lambda: (broken, word_tokenizer)), PROMPTS)


def test_a_folder_that_holds_no_model_is_told(tmp_path, measured):
    with pytest.raises(MeasurementError, match="cannot be read"):
        measured(MaskedLM.from_pretrained(tmp_path), PROMPTS)
    with pytest.raises(InputError, match="no file"):
        measured(CausalLM.from_pretrained(tmp_path / "absent.gguf"), PROMPTS)
