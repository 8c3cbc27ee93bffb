"""Training learns what descriptions do not say, calibrates the scores, and can be resumed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tryage.errors import InputError
from tryage.learning.training.optimizer import Schedule
from tryage.tools import Tool, ToolRanker
from tryage.tools.episodes import Episode
from tryage.tools.training import ToolRankerConfig, fit_ranker

pytest.importorskip("torch")
pytest.importorskip("sklearn")

TOOLS = [Tool("alpha", "internal service"), Tool("beta", "internal tool"), Tool("gamma", "helper")]
TOPICS = {
    "alpha": ("invoice", "tax", "ledger", "salary", "budget"),
    "beta": ("goat", "sheep", "horse", "chicken", "cattle"),
    "gamma": ("guitar", "violin", "drum", "piano", "flute"),
}
CONFIG = ToolRankerConfig(
    schedule=Schedule(epochs=40, learning_rate=2e-3, batch_size=32, dropout=0.1)
)


def make_episodes(verbs=("show", "count", "list", "sort", "print", "open")):
    return [
        Episode(f"{verb} every {thing} of number {i}", TOOLS, frozenset({name}))
        for name, things in TOPICS.items()
        for thing in things
        for i, verb in enumerate(verbs)
    ]


def make_small_talk(numbers):
    return [Episode(f"hello {i}, how are you", TOOLS, frozenset()) for i in numbers]


def accuracy(ranker, episodes):
    """The share of the episodes whose one useful tool comes first."""
    chosen = [ranker.select(TOOLS, one.query, 1).names for one in episodes]
    return np.mean([names == tuple(e.useful) for names, e in zip(chosen, episodes, strict=True)])


@pytest.fixture(scope="module")
def trained(encoder):
    episodes = [*make_episodes(), *make_small_talk(range(30))]
    return fit_ranker(episodes, encoder, config=CONFIG, progress=False)


def test_a_ranker_learns_what_descriptions_do_not_say(encoder, matcher, trained):
    unseen = make_episodes(verbs=("remove", "describe"))
    assert accuracy(trained, unseen) >= 0.9
    assert accuracy(ToolRanker(encoder, matcher), unseen) <= 0.7


def test_small_talk_needs_no_tool(trained):
    requests = [trained.select(TOOLS, e.query).needed for e in make_episodes(verbs=("remove",))]
    talk = [trained.select(TOOLS, e.query).needed for e in make_small_talk(range(40, 50))]
    is_above = np.array(requests)[:, None] > np.array(talk)
    assert is_above.mean() > 0.9  # the AUROC


def test_training_twice_gives_the_same_ranker(encoder, trained):
    episodes = [*make_episodes(), *make_small_talk(range(30))]
    again = fit_ranker(episodes, encoder, config=CONFIG, progress=False)
    assert np.array_equal(again.matcher.query_map, trained.matcher.query_map)
    assert np.array_equal(again.matcher.needed_coef, trained.matcher.needed_coef)


def test_a_ranker_trained_without_small_talk_never_abstains(encoder):
    config = replace(CONFIG, schedule=replace(CONFIG.schedule, epochs=1))
    ranker = fit_ranker(make_episodes(), encoder, config=config, progress=False)
    assert ranker.select(TOOLS, "hello").needed == pytest.approx(1.0)


def test_maps_go_from_the_identity_as_far_as_the_interpolation_says(encoder):
    identity = np.eye(encoder.dim, dtype=np.float32)
    quick = replace(CONFIG, schedule=replace(CONFIG.schedule, epochs=2))
    none, half, whole = (
        fit_ranker(
            make_episodes(), encoder, config=replace(quick, interpolation=share), progress=False
        ).matcher
        for share in (0.0, 0.5, 1.0)
    )
    assert np.array_equal(none.query_map, identity)
    assert not np.array_equal(whole.query_map, identity)
    assert np.allclose(half.tool_map, (identity + whole.tool_map) / 2, atol=1e-6)


def test_one_checkpoint_serves_every_penalty_and_interpolation(encoder, tmp_path):
    forecast, idle = Tool("weather_forecast", "Weather of the coming days"), Tool("idle", "Nothing")
    tools = [forecast, idle]
    episodes = [Episode(f"forecast {i} of the days", tools, {forecast.name}) for i in range(90)]
    config = ToolRankerConfig(schedule=Schedule(epochs=1, learning_rate=2e-3, batch_size=32))
    unseen = Tool("weather_report", "Weather of the coming days")
    for penalty, share in ((0.0, 1.0), (1.5, 0.5)):
        one = replace(config, seen_penalty=penalty, interpolation=share)
        ranker = fit_ranker(episodes, encoder, config=one, checkpoint=tmp_path, progress=False)
        penalties = ranker.toolbox([unseen, forecast, idle]).seen_penalties
        assert penalties.tolist() == [0, penalty, penalty]
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


def test_another_optimization_has_another_checkpoint(encoder, tmp_path):
    config = replace(CONFIG, schedule=replace(CONFIG.schedule, epochs=1))
    for one in (config, replace(config, identity_penalty=0.1)):
        fit_ranker(make_episodes(), encoder, config=one, checkpoint=tmp_path, progress=False)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_too_few_episodes_are_refused(encoder):
    with pytest.raises(InputError, match="at least 50"):
        fit_ranker(make_episodes()[:20], encoder, progress=False)


def test_training_takes_tools_of_one_name(encoder):
    tools = [*TOOLS, Tool("alpha", "another service"), Tool("Alpha")]
    episodes = [Episode(one.query, tools, one.useful) for one in make_episodes()]
    ranker = fit_ranker(episodes, encoder, config=CONFIG, progress=False)
    assert ranker.select(tools, "show every horse", 1).names == ("beta",)


def test_from_three_lists_of_tools_it_learns_how_much_words_tell_of_unseen_tools(encoder):
    lists = [[replace(tool, name=f"{tool.name}{i}") for tool in TOOLS] for i in range(3)]
    episodes = [
        Episode(one.query, tools, {f"{name}{i}" for name in one.useful})
        for i, tools in enumerate(lists)
        for one in make_episodes()
    ]
    config = replace(CONFIG, schedule=replace(CONFIG.schedule, epochs=2))
    several = fit_ranker(episodes, encoder, config=config, progress=False).matcher
    assert (several.unseen_lexical_weights > 0).all()
    two = fit_ranker(episodes[: 2 * len(make_episodes())], encoder, config=config, progress=False)
    assert two.matcher.unseen_lexical_weights is None
