"""What is left at the end is a router like any other."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split

from tryage import Expert, Library, Preferences, Router
from tryage.errors import InputError
from tryage.learning.cotraining.loop import CotrainConfig, cotrain
from tryage.learning.cotraining.modes import ByLabel
from tryage.learning.cotraining.pipeline import constraint_penalties, fit_router
from tryage.learning.cotraining.protocols import embed_pool
from tryage.perception.encoder import StaticEncoder

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def encoder():
    """Embed single letters at random."""
    made = Tokenizer(
        WordLevel({c: i for i, c in enumerate("?" + "abcdefghijklmnopqrstuvwxyz")}, "?")
    )
    made.pre_tokenizer = Split("", "isolated")
    rows = np.random.default_rng(0).normal(size=(27, 8)).astype(np.float32)
    return StaticEncoder.from_rows(rows, made)


def test_the_router_that_is_left_sends_each_domain_to_its_expert(
    letters, pool, domains, encoder, tmp_path
):
    learners = letters()
    mode = ByLabel(domains.tolist(), 2)
    cotrain(learners, pool, mode, CotrainConfig(tokens=5_000, batch=16), progress=False)
    router = fit_router(learners, pool.texts, encoder, categories=domains, progress=False)
    router.save_pretrained(tmp_path)
    again = Router.from_pretrained(tmp_path)
    assert again.route("abcabcddeaegghbaccda").expert.name == "letters-0"
    assert again.route("zzyxzyvwtussvwxyzzyx").expert.name == "letters-1"


def test_prompts_are_read_into_centred_features_of_unit_length_and_a_one(pool, encoder):
    found = embed_pool(pool.texts, encoder, n_components=5)
    assert found.features.shape == (200, 6)
    assert found.features[:, :-1].mean(axis=0) == pytest.approx(0, abs=1e-9)
    assert (found.features[:, :-1] ** 2).sum(axis=1).mean() == pytest.approx(1)
    assert set(found.features[:, -1]) == {1.0}
    assert set(found.tokens) == {20}


def test_what_is_read_tells_the_domains_apart(pool, domains, encoder):
    x = embed_pool(pool.texts, encoder).features
    means = [x[domains == domain].mean(axis=0) for domain in ("early", "late")]
    side = np.sign((x - np.mean(means, axis=0)) @ (means[1] - means[0]))
    assert ((side > 0) == (domains == "late")).mean() > 0.95


@pytest.mark.parametrize("texts", [["the same", "the same"], []])
def test_prompts_that_are_all_alike_are_refused(texts, encoder):
    with pytest.raises(InputError, match="different prompts"):
        embed_pool(texts, encoder)


@pytest.mark.parametrize(
    ("texts", "told"), [(["a", 3], "Prompt 1 is a int"), ("ab", "expected a list of strings")]
)
def test_prompts_that_are_no_text_are_refused(texts, told, encoder):
    with pytest.raises(InputError, match=told):
        embed_pool(texts, encoder)


def test_weights_become_penalties(pool):
    library = Library([Expert("letters-0", parameters=1e6), Expert("letters-1", parameters=4e6)])
    found = constraint_penalties(pool, library, Preferences(weights={"size": 0.5}))
    assert found.shape == (200, 2)
    assert found[0].tolist() == [0.0, 0.5]


def test_requirements_have_no_place_in_training(pool):
    with pytest.raises(InputError, match="weights only"):
        constraint_penalties(pool, Library(["a", "b"]), Preferences(max_parameters=1e9))
