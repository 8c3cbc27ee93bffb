"""A small router of three experts, and models that are functions from text to text."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tryage import Expert, Library, QTable, Router
from tryage.learning.training.trainer import fit
from tryage.perception.encoder import StaticEncoder
from tryage.scoring.replies import Answer

TOPICS = ("sum", "prove", "code", "poem", "law")
PLACES = ("paris", "tokyo", "lima", "oslo", "accra", "quito", "delhi", "cairo")
SKILLS = ({"sum"}, {"code", "sum"}, {"sum", "prove", "code", "poem", "law"})


@pytest.fixture(scope="session")
def router():
    """Return a router that knows a model for sums, one for code and sums, and one for all."""
    words = ("[UNK]", *TOPICS, *PLACES)
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0]))
    tokenizer.pre_tokenizer = Whitespace()
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(len(words), 8)).astype(np.float32)
    pairs = list(itertools.product(TOPICS, PLACES))
    chance = np.array([[0.1 if topic in own else 0.8 for own in SKILLS] for topic, _ in pairs])
    table = QTable(
        tuple(f"{topic} {place}" for topic, place in pairs),
        ("tiny", "coder", "large"),
        (rng.random(chance.shape) < chance).astype(np.float32),
        categories=tuple(topic for topic, _ in pairs),
    )
    library = Library(
        [
            Expert("tiny", parameters=1e9, input_price=0.1, output_price=0.2),
            Expert("coder", parameters=7e9, input_price=0.5, output_price=1.0),
            Expert("large", parameters=70e9, input_price=3.0, output_price=9.0),
        ]
    )
    encoder = StaticEncoder.from_rows(rows, tokenizer)
    return Router(fit(table, encoder, library=library, progress=False), library)


@pytest.fixture(scope="session")
def prompts():
    """Return forty prompts with answers that can be checked."""
    return [
        {"prompt": f"{topic} {place}", "answer": "yes", "kind": topic}
        for topic, place in itertools.product(TOPICS, PLACES)
    ]


class FakeModel:
    """A model that is right on some topics; `asked` lists what it was asked."""

    def __init__(self, skills, *, cost=0.001, tokens=10.0):
        self.skills, self.asked = set(skills), []
        self.cost, self.tokens = cost, tokens

    def __call__(self, text):
        """Answer "yes", which is right, or "no"."""
        self.asked.append(text)
        is_right = text.split()[0] in self.skills
        return Answer("yes" if is_right else "no", self.tokens, self.tokens, cost=self.cost)


@pytest.fixture
def make_model():
    """Return the class of the models, because tests import no conftest."""
    return FakeModel
