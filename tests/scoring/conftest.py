"""Tiny models with random weights, saved as real ones are, and experts made of functions."""

from __future__ import annotations

import pytest

from tryage.scoring.measurement import Budget, Measurement, MeasurerIdentity


@pytest.fixture(scope="session")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="session")
def transformers():
    return pytest.importorskip("transformers")


@pytest.fixture(scope="session")
def word_tokenizer(transformers):
    """Knows a few words; "zebra", "quick" and "slow" are unknown."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, "the", "cat", "sat", "on", "mat", "a", "dog", "ran", "and", ",", "."]
    vocabulary = {word: at for at, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 - not a password
    tokenizer.pre_tokenizer = BertPreTokenizer()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ends
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",  # noqa: S106 - not a password
        unk_token="[UNK]",  # noqa: S106 - not a password
        cls_token="[CLS]",  # noqa: S106 - not a password
        sep_token="[SEP]",  # noqa: S106 - not a password
        mask_token="[MASK]",  # noqa: S106 - not a password
        model_max_length=12,
    )


@pytest.fixture(scope="session")
def byte_tokenizer(transformers):
    """Has a token for every byte and one that ends a text."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({char: at for at, char in enumerate([*letters, "<end>"])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<end>",  # noqa: S106 - not a password
        pad_token="<end>",  # noqa: S106 - not a password
    )


@pytest.fixture(scope="session")
def tiny(torch, transformers, tmp_path_factory):
    """Save a model with random weights, and return its folder."""

    def make(network, config, tokenizer, **shape):
        torch.manual_seed(0)
        configured = getattr(transformers, config)(vocab_size=len(tokenizer), **shape)
        folder = tmp_path_factory.mktemp("models") / f"tiny-{network.lower()}"
        getattr(transformers, network)(configured).eval().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def bert(tiny, word_tokenizer):
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape |= {"intermediate_size": 16, "max_position_embeddings": 12, "initializer_range": 1.0}
    return tiny("BertForMaskedLM", "BertConfig", word_tokenizer, **shape)


@pytest.fixture(scope="session")
def gpt(tiny, byte_tokenizer):
    shape = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32, "initializer_range": 0.5}
    ends = {"bos_token_id": 256, "eos_token_id": 256}
    return tiny("GPT2LMHeadModel", "GPT2Config", byte_tokenizer, **shape, **ends)


@pytest.fixture(scope="session")
def t5(tiny, word_tokenizer):
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    ends = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 3}
    return tiny("T5ForConditionalGeneration", "T5Config", word_tokenizer, **shape, **ends)


@pytest.fixture(scope="session")
def load(transformers):
    """Load tokenizer and model of a folder as users of transformers do."""

    def run(folder, auto_class):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        return tokenizer, getattr(transformers, auto_class).from_pretrained(folder).eval()

    return run


class LengthMeasurer:
    """An expert whose loss is the length of the prompt; `seen` holds the prompts, `fails` fail."""

    def __init__(self, expert, method="length", fails=()):
        self.identity, self.fails, self.seen = MeasurerIdentity(expert, method), fails, []

    def identify(self):
        return self.identity

    def measure(self, prompts, budget):
        for at, prompt in enumerate(prompts):
            if budget.stopped:
                return
            self.seen.append(prompt.text)
            failed = prompt.text in self.fails
            yield at, Measurement(error="no") if failed else Measurement(loss=len(prompt.text))


@pytest.fixture
def length_measurer():
    return LengthMeasurer


@pytest.fixture
def measure():
    """Measure prompts without a folder, and return the measurements in the order of the prompts."""

    def run(measurer, prompts, budget=None):
        found = dict(measurer.measure(prompts, budget or Budget()))
        return [found[at] for at in sorted(found)]

    return run
