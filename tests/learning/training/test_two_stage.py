"""The thresholds of the second stage are chosen by decisions, and trained routers keep them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.preferences import Preferences
from tryage.errors import InputError, PersistenceError
from tryage.learning.training.two_stage import ALWAYS, PRICES, choose_thresholds, fit_two_stage
from tryage.perception.encoder import StaticEncoder
from tryage.perception.persistence import HEADER_FILE
from tryage.router import Router

N = 200


@pytest.fixture
def losses():
    """One of two experts is right on each prompt, by chance."""
    is_right = np.random.default_rng(0).random(N) < 0.5
    return np.stack([is_right, ~is_right], axis=1).astype(np.float32)


@pytest.fixture
def first(losses):
    """The first stage is sure and right on the first half, and guesses on the second half."""
    sure = 0.5 + 0.4 * (losses - 0.5)
    return np.where(np.arange(N)[:, None] < N // 2, sure, [0.50, 0.51]).astype(np.float32)


def test_the_second_stage_is_asked_where_the_first_one_guesses(first, losses):
    (threshold,) = choose_thresholds(first, losses, losses, [0.001])
    assert 0.01 < threshold <= 0.4  # the differences are .01 and .4


def test_a_prompt_that_costs_more_than_it_saves_is_not_asked(first, losses):
    """On the second half the first stage loses one half on average."""
    low, high = choose_thresholds(first, losses, losses, [0.2, 0.6])
    assert low > 0.01
    assert high == 0


def test_a_second_stage_that_is_no_better_is_never_asked(first, losses):
    noise = np.random.default_rng(1).random(losses.shape)
    assert choose_thresholds(first, noise, losses, [0.0]) == (0.0,)
    assert choose_thresholds(first, first, losses, [0.0]) == (0.0,)


def test_a_second_stage_that_is_better_everywhere_is_always_asked(losses):
    wrong = (0.5 + np.linspace(0.01, 0.4, N)[:, None] * (0.5 - losses)).astype(np.float32)
    assert choose_thresholds(wrong, losses, losses, [0.0]) == (ALWAYS,)


def test_prompts_with_fewer_than_two_measured_experts_do_not_count(first, losses):
    gaps = losses.copy()
    gaps[:, 1] = np.nan
    assert choose_thresholds(first, losses, gaps, [0.0]) == (0.0,)
    gaps[: N // 2] = losses[: N // 2]  # what is left is what the first stage is sure of
    assert choose_thresholds(first, losses, gaps, [0.0]) == (0.0,)


# A trained perception


@pytest.fixture(scope="module")
def blind_encoder(encoder):
    """An encoder to which all prompts look alike."""
    return StaticEncoder(
        np.ones_like(encoder._table), np.ones_like(encoder._scales), encoder._tokenizer.tokenizer
    )


@pytest.fixture(scope="module")
def table(specialists):
    """Half of the topics' specialists, on prompts whose tokens TF-IDF cannot tell apart."""
    return specialists(n=150)


@pytest.fixture(scope="module")
def perception(table, encoder, blind_encoder):
    return fit_two_stage(table, blind_encoder, encoder, seconds=0.01, progress=False)


def test_both_stages_know_the_experts_and_there_is_a_threshold_for_each_price(perception, table):
    stage = perception.second_stage
    assert perception.experts == stage.perception.experts == table.experts
    assert (stage.prices, stage.seconds) == (PRICES, 0.01)
    assert len(stage.thresholds) == len(PRICES)
    assert stage.thresholds[-1] <= stage.thresholds[0]


def test_a_saved_router_of_two_stages_comes_back(perception, specialists, tmp_path):
    perception = perception.replace(
        second_stage=type(perception.second_stage)(
            perception.second_stage.perception, 0.01, (0.0, 0.1), (0.2, ALWAYS)
        )
    )
    router = Router(perception)
    router.save_pretrained(tmp_path)
    assert "where two experts are close, StaticEncoder" in (tmp_path / "README.md").read_text()
    again = Router.from_pretrained(tmp_path)
    prompts = list(specialists(n=40, seed=5).prompts)
    expected = [decision.expert.name for decision in router.route_batch(prompts)]
    assert [decision.expert.name for decision in again.route_batch(prompts)] == expected
    stage, saved = perception.second_stage, again.perception.second_stage
    assert (saved.prices, saved.thresholds) == (stage.prices, stage.thresholds)
    assert (saved.n_prompts, saved.n_asked) == (stage.n_prompts, stage.n_asked)
    assert saved.n_asked == 40
    assert saved.threshold(Preferences()) == ALWAYS


def test_a_new_expert_is_known_to_both_stages(perception, table):
    losses = dict.fromkeys(table.prompts[:20], 0.0)
    router = Router(perception).onboard(Expert("new"), losses)
    assert "new" in router.perception.second_stage.perception.experts
    assert router.route("sum word1").expert.name in router.library.names


def test_experts_that_nobody_measured_are_predicted_by_both_stages(perception, table):
    library = Library([*table.experts, "gpt-4o-mini"])
    router = Router(perception, library)
    router.observe(router.route("sum word1", Preferences(only=["gpt-4o-mini"])), 0.0)
    second = router.perception.second_stage.perception
    assert second.observed_experts.names == router.perception.observed_experts.names != ()


@pytest.mark.parametrize(
    "damage", [3, {}, {"seconds": "a"}, {"prices": 1}, {"thresholds": [None]}, {"prices": [1, 0]}]
)
def test_damaged_numbers_of_a_second_stage_are_refused(perception, tmp_path, damage):
    Router(perception).save_pretrained(tmp_path)
    path = tmp_path / HEADER_FILE
    header = json.loads(path.read_text())
    stage = header["second_stage"] | damage if damage and damage != 3 else damage
    path.write_text(json.dumps(header | {"second_stage": stage}))
    (tmp_path / "router.json").write_text(
        json.dumps(json.loads((tmp_path / "router.json").read_text()) | {"sha256": {}})
    )
    with pytest.raises(PersistenceError, match=r"second.stage"):
        Router.from_pretrained(tmp_path)


@pytest.mark.parametrize("value", [-1, "slow", float("nan")])
@pytest.mark.parametrize("name", ["seconds", "loss_per_second"])
def test_a_time_that_is_no_number_is_refused_before_the_training(table, name, value):
    with pytest.raises(InputError, match=f"^{name} must be"):
        fit_two_stage(table, None, None, **{name: value})
