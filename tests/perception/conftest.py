"""A tiny encoder and Q-tables whose best routing is known."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, Whitespace
from tokenizers.processors import TemplateProcessing

from tryage.learning.qtable import QTable
from tryage.learning.training.trainer import fit
from tryage.perception.encoder import StaticEncoder

TOPICS = ("sum", "code", "poem", "law")
FILLERS = tuple(f"word{i}" for i in range(40))
EXPERTS = ("adder", "coder", "poet", "lawyer", "allround")


def _encoder() -> StaticEncoder:
    """Embed words at random: enough to tell the topics apart."""
    words = ("[UNK]", *TOPICS, *FILLERS)
    made = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0]))
    made.pre_tokenizer = Whitespace()
    rows = np.random.default_rng(0).normal(size=(len(words), 16)).astype(np.float32)
    return StaticEncoder.from_rows(rows, made)


def _specialists(n: int = 240, seed: int = 0, *, named: bool = True) -> QTable:
    """Four specialists that fail outside their topic, and one that is fair at everything."""
    rng = np.random.default_rng(seed)
    topic = rng.integers(len(TOPICS), size=n)
    chance = np.full((n, len(EXPERTS)), 0.75)
    chance[np.arange(n), topic] = 0.05
    chance[:, -1] = 0.4
    fillers = rng.choice(FILLERS, size=(n, 3))
    return QTable(
        tuple(
            f"{TOPICS[t]} {' '.join(words)} {i}"
            for i, (t, words) in enumerate(zip(topic, fillers, strict=True))
        ),
        EXPERTS,
        (rng.random(chance.shape) < chance).astype(np.float32),
        categories=tuple(TOPICS[t] for t in topic) if named else None,
        output_tokens=np.tile(np.arange(1, 6) * 100.0, (n, 1)),
    )


@pytest.fixture(scope="session")
def encoder():
    return _encoder()


@pytest.fixture(scope="session")
def specialists():
    return _specialists


@pytest.fixture(scope="session")
def learned(encoder):
    """A perception trained on the specialists; tests must not `observe` with it."""
    return fit(_specialists(), encoder, progress=False)


@pytest.fixture(scope="session")
def word_pieces():
    """Make the tokeniser of a BERT that knows some words; the first four are its special ones."""

    def make(words):
        made = Tokenizer(WordPiece({w: i for i, w in enumerate(words)}, unk_token=words[1]))
        made.normalizer, made.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
        made.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        return made

    return make


@pytest.fixture(scope="session")
def tiny_bert():
    """Make a BERT with random weights, which differ by `spread`, that reads 64 tokens at once."""
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
