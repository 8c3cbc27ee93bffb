"""A pickled ranker selects as before, and holds no word of the queries that it has seen."""

from __future__ import annotations

import pickle

SECRET = "zebra4711"  # noqa: S105 - not a password


def test_a_pickle_holds_no_word_of_a_query_or_of_tools(ranker, tools):
    ranker.select(tools, f"my secret {SECRET}, and then mail {SECRET} to Ann")
    ranker.toolbox([*tools[:2]])
    ranker.observe(f"weather in {SECRET}", ["getWeather"])
    pickled = pickle.dumps(ranker)
    assert SECRET.encode() not in pickled
    assert b"Current weather" not in pickled


def test_a_ranker_selects_as_before_after_a_pickle(ranker, tools):
    ranker.observe("weather in Rome", ["getWeather"], ["translate"])
    again = pickle.loads(pickle.dumps(ranker))  # noqa: S301 - our own pickle
    query = "Will it rain in Rome?"
    assert again.select(tools, query).to_dict() == ranker.select(tools, query).to_dict()
