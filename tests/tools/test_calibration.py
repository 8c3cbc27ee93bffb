"""Calibration: what scores mean is fitted on episodes on which no map was trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tryage.tools import Tool, ToolRanker
from tryage.tools.calibration import (
    RankingExample,
    calibrate_matcher,
    calibrate_topics,
    fit_lexical_weights,
)
from tryage.tools.episodes import Episode

pytest.importorskip("torch")
pytest.importorskip("sklearn")

TOPICS = {
    "finance": "Invoices, taxes, ledgers, salaries and budgets",
    "animals": "Goats, sheep, horses, chickens and cattle",
    "music": "Guitars, violins, drums, pianos and flutes",
}
TOOLS = [Tool(name, description) for name, description in TOPICS.items()]
THINGS = {
    "finance": ("invoice", "tax", "ledger", "salary", "budget"),
    "animals": ("goat", "sheep", "horse", "chicken", "cattle"),
    "music": ("guitar", "violin", "drum", "piano", "flute"),
}
SMALL_TALK = [f"hello {i}, how are you" for i in range(30)]


def make_episodes(tools=TOOLS):
    return [
        Episode(f"Tell me about every {thing} of number {i}", tools, {name})
        for name, things in THINGS.items()
        for thing in things
        for i in range(4)
    ]


def make_small_talk():
    return [Episode(query, TOOLS, ()) for query in SMALL_TALK]


def test_held_out_episodes_only_calibrate(encoder, matcher):
    assert calibrate_matcher(matcher, encoder, []) is matcher
    assert calibrate_matcher(matcher, encoder, make_small_talk()) is matcher
    fitted = calibrate_matcher(matcher, encoder, [*make_episodes(), *make_small_talk()])
    assert fitted.query_map is matcher.query_map
    assert not np.array_equal(fitted.usefulness_coef, matcher.usefulness_coef)
    assert not np.array_equal(fitted.needed_coef, matcher.needed_coef)


def test_requests_for_two_things_get_a_tool_for_each(encoder, matcher):
    pairs = [
        Episode(
            f"Tell me about the {one}, and then list every {other}", TOOLS, {"finance", "music"}
        )
        for one in THINGS["finance"]
        for other in THINGS["music"]
    ]
    fitted = calibrate_matcher(matcher, encoder, [*make_episodes(), *pairs])
    assert fitted.usefulness_coef[3] > 0  # the best tool of a clause
    selection = ToolRanker(encoder, fitted).select(
        TOOLS, "Tell me about the goat, and then list every violin", None
    )
    assert set(selection.names) == {"animals", "music"}


def test_every_list_of_tools_counts_the_same(encoder, matcher):
    renamed = [replace(tool, name=f"{tool.name}_2") for tool in TOOLS]
    wrong = {"finance": "animals_2", "animals": "music_2", "music": "finance_2"}
    few = [
        Episode(one.query, renamed, {wrong[name] for name in one.useful}) for one in make_episodes()
    ]
    once, thrice = (
        calibrate_matcher(matcher, encoder, [*make_episodes() * times, *few]).usefulness_coef
        for times in (1, 3)
    )
    assert thrice == pytest.approx(once, abs=0.02)


def test_a_topic_is_needed_by_what_is_nearer_to_it_than_other_queries(encoder, matcher):
    fitted = calibrate_topics(matcher, encoder, SMALL_TALK, [*make_episodes(), *make_small_talk()])
    assert fitted.background.dtype == np.int8
    assert fitted.background.shape == (len(SMALL_TALK), encoder.dim)
    assert fitted.topic_coef[1] > 0
    ranker = ToolRanker(encoder, fitted)
    asked = ranker.select(TOOLS, "What does a violin cost?")
    assert asked.needed > 0.5 > ranker.select(TOOLS, "hello again, how are you").needed


def test_words_get_weight_where_they_tell_what_cosines_do_not():
    rng = np.random.default_rng(0)

    def example(words_tell):
        useful = np.arange(8) == rng.integers(8)
        told = useful[:, None] * np.ones(3) * words_tell
        cosines = 0.2 * useful + 0.1 * rng.standard_normal(8)
        return RankingExample(np.float32(cosines), np.float32(told), useful)

    telling, silent = (
        fit_lexical_weights([[example(words_tell) for _ in range(100)]], cosine_scale=20.0)
        for words_tell in (1.0, 0.0)
    )
    assert telling.shape == (3,)
    assert (telling > silent).all()


def test_only_the_hardest_useless_tools_are_compared():
    useful = np.arange(1_000) == 999
    example = RankingExample(
        np.linspace(1, 0, 1_000, dtype=np.float32), np.zeros((1_000, 3), np.float32), useful
    )
    hardest = example.hardest()
    assert hardest.useful.sum() == 1
    assert len(hardest.useful) <= 121
    assert hardest.cosines[0] == 1.0
