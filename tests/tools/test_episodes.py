"""An episode checks its tools; episodes are held out by their text and grouped by their tools."""

from __future__ import annotations

import pytest

from tryage.errors import InputError
from tryage.tools import Tool
from tryage.tools.episodes import Episode, group_by_toolset, is_held_out

TOOLS = [Tool("alpha", "internal service"), Tool("beta", "internal tool"), Tool("gamma", "helper")]


@pytest.mark.parametrize(("tools", "useful"), [([], set()), (TOOLS, {"delta"})])
def test_the_useful_tools_are_among_the_tools_of_an_episode(tools, useful):
    with pytest.raises(InputError, match="among them"):
        Episode("query", tools, useful)


def test_a_shared_name_means_all_its_tools_and_a_unique_name_one():
    tools = [Tool("search", "songs", server="music"), Tool("play"), Tool("search", "flights")]
    assert Episode("q", tools, ["search"]).useful_rows().tolist() == [0, 2]
    assert Episode("q", tools, ["search#2", "play"]).useful_rows().tolist() == [1, 2]
    with pytest.raises(InputError, match="search#1"):
        Episode("q", tools, ["search#1"])


def test_about_one_in_five_queries_is_held_out_by_its_text():
    episodes = [Episode(f"hello {i}", TOOLS, ()) for i in range(1_000)]
    held_out = [is_held_out(one, 5) for one in episodes]
    assert 150 < sum(held_out) < 250
    assert held_out == [is_held_out(Episode(e.query, [Tool("a")], ()), 5) for e in episodes]


def test_episodes_with_the_same_tools_form_a_group():
    shared = [Episode(f"show {i}", TOOLS, {"beta"}) for i in range(40)]
    own = [Episode(f"q{i}", [Tool(f"t{i}"), Tool("u")], {"u"}) for i in range(3)]
    many, rest = group_by_toolset([*shared, *own])
    assert many.tools == tuple(TOOLS)
    assert [tool.name for tool in rest.tools] == ["t0", "u", "t1", "t2"]
