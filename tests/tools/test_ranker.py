"""The ranker chooses what serves a query, weighs constraints, abstains, and learns from use."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

from tryage import Preferences
from tryage.core.preferences import Requirement
from tryage.errors import InputError, LibraryError, NoExpertError
from tryage.tools import Tool, ToolRanker

WEATHER = "What is the weather like in Rome?"


def test_the_tool_that_serves_the_query_comes_first(ranker, tools):
    assert ranker.select(tools, WEATHER, 1).names == ("getWeather",)
    assert ranker.select(tools, "Delete the file notes.txt", 1).names == ("delete_file",)


def test_k_limits_the_tools_and_the_ranking_holds_all(ranker, tools):
    selection = ranker.select(tools, WEATHER, 2)
    assert len(selection.tools) == 2
    assert len(selection.ranking) == len(tools)
    assert ranker.select(tools, WEATHER, 50).names[0] == "getWeather"


def test_a_query_for_two_things_finds_both_tools(ranker, tools):
    query = "Tell me the weather in Rome, and then translate the answer into another language"
    assert set(ranker.select(tools, query, 2).names) == {"getWeather", "translate"}


# Constraints and permissions ---------------------------------------------------------------


def test_an_expensive_tool_loses_when_cost_counts_enough(ranker):
    free = Tool("weather_free", "Current weather of a city", cost=0.0)
    paid = Tool("weather_paid", "Current weather of a city today", cost=1.0)
    by_cost = Preferences({"cost": 5})
    assert ranker.select([paid, free], "weather today", 1).names == ("weather_paid",)
    selection = ranker.select([paid, free], "weather today", 1, preferences=by_cost)
    assert selection.names == ("weather_free",)


def test_a_tool_of_unknown_cost_is_never_free(ranker):
    pair = [Tool("weather_a", "Weather", cost=0.5), Tool("weather_b", "Weather")]
    selection = ranker.select(pair, "weather", 2, preferences=Preferences({"cost": 1.0}))
    terms = {one.name: one.terms["cost"] for one in selection.ranking}
    assert terms["weather_b"] == 1.0
    assert selection.ranking.entry("weather_b").unknown == ("cost",)


def test_a_tool_without_its_permission_is_left_out_with_the_reason(ranker, tools):
    selection = ranker.select(tools, "Delete the file notes.txt", granted=["write"])
    assert "delete_file" not in selection.names
    assert selection.rejected[0].reasons == ("needs the permission disk, which is not granted",)
    assert "left out: delete_file" in selection.explain()


def test_without_a_permitted_tool_nothing_can_be_selected(ranker, tools):
    with pytest.raises(NoExpertError, match="send_mail needs the permission write"):
        ranker.select(tools[1:2], "mail Ann", granted=[])


def test_a_requirement_that_no_tool_meets_is_named(ranker, tools):
    safe = Preferences(requirements=[Requirement("security", ">=", 0.5)])
    with pytest.raises(NoExpertError, match="security"):
        ranker.select(tools, "anything", preferences=safe)  # the risk of three tools is unknown


# Abstention and k=None ---------------------------------------------------------------------


def test_the_ranker_abstains_only_when_it_may(ranker, tools):
    query = "zzz qqq"
    needed = ranker.select(tools, query).needed
    assert ranker.select(tools, query, 2).names
    selection = ranker.select(tools, query, abstain_below=needed + 0.01)
    assert selection.abstained
    assert selection.tools == ()
    assert selection.explain().startswith("no tool:")


@pytest.mark.parametrize("cost", [0.0, 2.0])
def test_without_k_the_tools_that_are_probably_of_use_are_chosen(ranker, tools, cost):
    safe = Preferences({"cost": cost}, [Requirement("security", ">=", 0.1)])
    known = [Tool(tool.name, tool.description, risk=tool.risk or 0.0, cost=0.1) for tool in tools]
    query = "Translate the text into another language, and send an e-mail"
    selection = ranker.select(known, query, None, preferences=safe)
    probable = [one.name for one in selection.ranking if one.predicted_loss < 2 / 3]
    assert list(selection.names) == probable
    assert len(probable) > 1


def test_without_k_at_least_one_tool_is_chosen(ranker, tools):
    assert len(ranker.select(tools, "zzz qqq", None).tools) >= 1


# Arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", " ", "\x00", "\ud800", "x" * 300_000, "é" * 50])
def test_any_string_is_a_query(ranker, tools, query):
    assert len(ranker.select(tools, query, 3).tools) == 3


@pytest.mark.parametrize("query", [None, b"weather", ["weather"]])
def test_a_query_of_another_type_is_refused(ranker, tools, query):
    with pytest.raises(InputError, match="query is a string"):
        ranker.select(tools, query)
    with pytest.raises(InputError, match="query is a string"):
        ranker.observe(query, [])


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "5"])
def test_a_wrong_k_is_refused(ranker, tools, k):
    with pytest.raises(InputError, match="k is how many tools"):
        ranker.select(tools, WEATHER, k)


@pytest.mark.parametrize("wrong", ["search", b"x", {"name": "t"}, 3, [{"name": "t"}], [None]])
def test_a_value_that_is_not_a_list_of_tools_is_refused(ranker, wrong):
    with pytest.raises(InputError, match="list of Tool"):
        ranker.select(wrong, WEATHER)


def test_an_empty_list_of_tools_is_refused_in_the_words_of_tools(ranker):
    with pytest.raises(LibraryError, match="list of tools is empty; give at least one tool"):
        ranker.select([], WEATHER)


@pytest.mark.parametrize("wrong", ["often", -0.1, float("nan")])
def test_a_threshold_that_is_no_probability_is_refused(ranker, tools, wrong):
    with pytest.raises(InputError, match="abstain_below"):
        ranker.select(tools, WEATHER, abstain_below=wrong)


def test_of_a_long_query_the_two_ends_are_read(ranker, tools):
    padding = "lorem ipsum dolor sit amet " * 20_000
    assert ranker.select(tools, f"{WEATHER} {padding}", 1).names == ("getWeather",)
    assert ranker.select(tools, f"{padding} {WEATHER}", 1).names == ("getWeather",)


# Tools of one name -------------------------------------------------------------------------


TWINS = (
    Tool("search", "Find songs and albums", server="music"),
    Tool("search", "Find flights and hotels", server="travel"),
    Tool("Search", "Find recipes"),
    Tool("search"),
    Tool("play", "Play a song", server="music"),
)


def test_tools_of_one_name_are_ranked_and_the_callers_own_come_back(ranker):
    selection = ranker.select(TWINS, "find a flight and a hotel", 2)
    assert selection.tools[0] is TWINS[1]
    assert selection.positions[0] == 1
    assert selection.names[0] == "travel/search"
    assert {tool.name for tool in selection.ranking} == {
        "music/search", "travel/search", "Search#2", "search#3", "play",
    }  # fmt: skip


def test_equal_tools_are_told_apart_by_their_positions(ranker):
    selection = ranker.select([TWINS[0], TWINS[0]], "find a song", 2)
    assert sorted(selection.positions) == [0, 1]
    assert len(set(selection.names)) == 2


def test_positions_are_those_of_the_callers_list_when_tools_are_left_out(ranker):
    tools = [Tool("search", "Find songs", permissions={"write"}), *TWINS]
    selection = ranker.select(tools, "find a flight and a hotel", 1, granted=[])
    assert selection.positions == (2,)
    assert tools[2] is selection.tools[0]
    assert selection.rejected[0].name == "search#0"


def test_feedback_on_a_unique_name_moves_one_tool_and_on_a_shared_name_all(ranker):
    query = "reconcile the quarterly ledger"
    pair = [Tool("do", "does one thing", server="a"), Tool("do", "does one thing", server="b")]
    losses = {one.name: one.predicted_loss for one in ranker.select(pair, query).ranking}
    ranker.observe(query, ["b/do"])
    moved = {one.name: one.predicted_loss for one in ranker.select(pair, query).ranking}
    assert moved["b/do"] < losses["b/do"]
    ranker.observe(query, ["do"])
    both = {one.name: one.predicted_loss for one in ranker.select(pair, query).ranking}
    assert both["a/do"] < moved["a/do"]
    assert both["b/do"] < moved["b/do"]


# The bundled ranker on kinds of tools that it has not seen ----------------------------------

# Written for these tests; the ranker was not trained on them.
ENGINES = (
    Tool("hr", "Answers questions about vacation, salary and benefits of employees"),
    Tool("it_support", "Help with laptops, passwords and the network"),
    Tool("legal", "Contracts, licences and data protection"),
    Tool("finance", "Budgets, invoices and travel expenses"),
)
QUESTIONS = {
    "How many days of vacation do I get?": "hr",
    "When is the salary paid in December?": "hr",
    "Do we have health benefits for our children?": "hr",
    "I forgot my password": "it_support",
    "My laptop does not start any more": "it_support",
    "The network in the office is slow": "it_support",
    "Who may sign a contract with a supplier?": "legal",
    "Under which licence may we publish our code?": "legal",
    "How do I get my travel expenses back?": "finance",
    "Where do I send the invoice of a supplier?": "finance",
}
UNRELATED = (
    "Write a haiku about autumn",
    "What is the derivative of x squared?",
    "Who won the world cup in 1998?",
    "Tell me a joke about penguins",
    "Sort a list of numbers in Python",
)


def test_a_question_about_one_of_the_topics_needs_it_and_another_query_needs_none(bundled):
    selections = {query: bundled.select(ENGINES, query, 1) for query in (*QUESTIONS, *UNRELATED)}
    needed = {query: selection.needed for query, selection in selections.items()}
    assert min(needed[query] for query in QUESTIONS) > 0.5
    assert max(needed[query] for query in UNRELATED) < 0.5
    right = [selections[query].names == (name,) for query, name in QUESTIONS.items()]
    assert np.mean(right) >= 0.8


def test_without_k_a_request_for_several_things_gets_a_tool_for_each(bundled):
    github = [
        Tool("create_issue", "Create an issue in a repository", {"title": "Its title"}),
        Tool("merge_pull_request", "Merge a pull request", {"number": "Its number"}),
        Tool("list_commits", "List the commits of a branch", {"branch": "Its name"}),
        Tool("post_message", "Post a message to a Slack channel", {"channel": "Its name"}),
        Tool("create_event", "Create an event in the calendar", {"start": "When it starts"}),
        Tool("read_file", "Read a file from the disk", {"path": "Where it is"}),
    ]
    query = "Merge pull request 17, then post a message about it to the Slack channel of the team"
    selection = bundled.select(github, query, None)
    assert {"merge_pull_request", "post_message"} <= set(selection.names)
    assert len(selection.names) <= 3


# Learning from use -------------------------------------------------------------------------


def test_a_tool_moves_to_its_queries_and_away_from_those_it_did_not_serve(ranker):
    pair = [Tool("alpha", "does one thing"), Tool("omega", "does one thing too")]
    query = "reconcile the quarterly ledger"
    before = ranker.select(pair, query, 2).ranking
    loser = before[1].name
    for _ in range(30):
        ranker.observe(query, [loser], [before[0].name])
    assert ranker.select(pair, query, 1).names == (loser,)


def test_feedback_on_a_tool_that_is_not_there_changes_nothing_else(ranker, tools):
    before = ranker.select(tools, WEATHER).to_dict()
    ranker.observe(WEATHER, ["a future tool"])
    assert ranker.select(tools, WEATHER).to_dict() == before


def repickled(ranker):
    return pickle.loads(pickle.dumps(ranker))  # noqa: S301 - our own pickle


@pytest.mark.parametrize("again", [copy.deepcopy, repickled])
def test_a_copy_selects_alike_and_learns_for_itself(ranker, tools, again):
    ranker.observe(WEATHER, ["translate"])
    other = again(ranker)
    assert other.select(tools, WEATHER).to_dict() == ranker.select(tools, WEATHER).to_dict()
    other.observe("another query", ["send_mail"])
    assert (len(other.feedback), len(ranker.feedback)) == (2, 1)
    assert repr(ranker) == "ToolRanker(StaticEncoder, feedback on 1 tools)"


def test_the_same_tools_give_the_same_toolbox(ranker, tools):
    assert ranker.toolbox(tools) is ranker.toolbox(list(tools))


def test_threads_may_select_and_observe_at_once(ranker, tools):
    failed = []

    def use(number):
        try:
            for i in range(30):
                ranker.observe(f"query {number} {i}", ["translate"])
                assert len(ranker.select(tools, WEATHER, 2).tools) == 2
        except Exception as error:  # noqa: BLE001 - the main thread reports it
            failed.append(error)

    threads = [threading.Thread(target=use, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(ranker.feedback) == 1


# What a selection says ---------------------------------------------------------------------


def test_a_selection_explains_itself_in_words(bundled):
    tools = [Tool("get_weather", "Current weather of a city", cost=0.5), Tool("send_mail", "Mail")]
    tools += [Tool(f"root_{i}", "Danger", permissions={"root"}) for i in range(4)]
    by_cost = Preferences({"cost": 0.5})
    selection = bundled.select(tools, WEATHER, 1, preferences=by_cost, granted=[])
    best = selection.ranking[0]
    lines = selection.explain(2).splitlines()
    assert lines[0] == f"get_weather: some tool is needed with probability {selection.needed:.2f}."
    assert lines[1] == (
        f"  1. get_weather: of use {1 - best.predicted_loss:.2f}, total "
        f"{best.predicted_loss:.3f} + cost {best.terms['cost']:.3f} = {best.total:.3f}"
    )
    assert lines[3:] == [
        "  left out: root_0, needs the permission root, which is not granted",
        "  left out: root_1, needs the permission root, which is not granted",
        "  left out: 2 more",
    ]


def test_a_selection_can_be_written_as_a_record(ranker, tools):
    record = ranker.select(tools, WEATHER, 2, granted=[]).to_dict(top=1)
    assert record["query"] == WEATHER
    assert len(record["tools"]) == 2
    assert [len(record[part]) for part in ("ranking", "rejected")] == [1, 1]
    assert record["abstained"] is False


def test_a_ranker_loads_no_conversations():
    code = "import sys, tryage.tools.ranker; print([m for m in sys.modules if 'tryage.chat' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - our own code
    assert done.stdout.strip() == "[]"


def test_an_option_that_the_bundled_ranker_does_not_know_is_refused():
    with pytest.raises(InputError, match="revison"):
        ToolRanker.from_pretrained(None, revison="main")
