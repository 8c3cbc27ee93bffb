"""Clauses, permissions, scores of seen tools, margins, interpolated maps and feedback."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest

from tryage.errors import InputError, NoExpertError
from tryage.tools import Tool, ToolRanker
from tryage.tools.matching import (
    Feedback,
    QueryScores,
    margins,
    split_clauses,
    tool_fingerprints,
    usefulness_features,
)

SEEN = Tool("weather_forecast", "Weather of the coming days")
UNSEEN = Tool("weather_report", "Weather of the coming days")
QUERY = "weather forecast of the coming days"


@pytest.fixture
def penalizing(encoder, matcher):
    """A ranker whose training has seen one of the two tools."""
    seen = tool_fingerprints([SEEN])
    return ToolRanker(encoder, replace(matcher, seen_fingerprints=seen, seen_penalty=30.0))


def ranked(ranker, *tools):
    return [one.name for one in ranker.select(tools, QUERY).ranking]


# Clauses -----------------------------------------------------------------------------------


def test_a_query_for_one_thing_has_no_clauses():
    assert split_clauses("What is the weather in Rome?") == []


def test_a_query_for_several_things_has_a_clause_for_each():
    query = "Book a flight to Rome, then send a mail to Ann and translate it into Greek."
    assert split_clauses(query) == [
        "Book a flight to Rome",
        "send a mail to Ann",
        "translate it into Greek.",
    ]


def test_clauses_are_found_in_a_script_without_spaces():
    query = (
        "\u5e2e\u6211\u8ba2\u4e00\u5f20\u673a\u7968\uff0c\u518d\u7ed9\u5b89\u5a1c\u53d1\u90ae\u4ef6"
    )
    assert len(split_clauses(query)) == 2


def test_a_very_long_query_has_at_most_16_clauses():
    assert len(split_clauses("do this thing now. " * 10_000)) == 16


# Permissions -------------------------------------------------------------------------------


def test_any_number_of_sets_of_permissions_does_not_fill_the_memory(ranker, tools):
    toolbox = ranker.toolbox(tools)
    references = [
        weakref.ref(toolbox.with_permissions(["write", f"of user {i}"])[0]) for i in range(200)
    ]
    gc.collect()
    assert sum(reference() is not None for reference in references) <= 32


def test_a_toolbox_keeps_the_tools_whose_permissions_are_granted(ranker, tools):
    toolbox, rejected = ranker.toolbox(tools).with_permissions(["write"])
    assert [tool.name for tool in toolbox.tools] == [tool.name for tool in tools[:4]]
    assert [one.name for one in rejected] == ["delete_file"]
    assert toolbox.library.names == tuple(tool.name for tool in tools[:4])
    assert toolbox.vectors.shape[0] == len(toolbox) == 4


def test_a_toolbox_whose_tools_are_all_permitted_is_returned_itself(ranker, tools):
    toolbox = ranker.toolbox(tools)
    assert toolbox.with_permissions(None) == (toolbox, ())
    assert toolbox.with_permissions(["write", "disk"]) == (toolbox, ())


def test_the_same_permissions_give_the_same_toolbox(ranker, tools):
    toolbox = ranker.toolbox(tools)
    assert toolbox.with_permissions(["write"])[0] is toolbox.with_permissions({"write"})[0]


def test_without_a_permitted_tool_the_error_names_one(ranker, tools):
    with pytest.raises(NoExpertError, match="send_mail needs the permission write"):
        ranker.toolbox(tools[1:2]).with_permissions([])


def test_permissions_are_a_list_of_names(ranker, tools):
    with pytest.raises(InputError, match="granted"):
        ranker.toolbox(tools).with_permissions("write")


def test_a_toolbox_shows_its_size_and_first_names(ranker, tools):
    assert repr(ranker.toolbox(tools[:2])) == "Toolbox(2 tools: getWeather, send_mail)"
    assert repr(ranker.toolbox(tools)).endswith("stock.price, ...)")


# The penalty of seen tools -----------------------------------------------------------------


def test_only_a_seen_tool_has_the_penalty(penalizing):
    assert penalizing.toolbox([UNSEEN, SEEN]).seen_penalties.tolist() == [0, 30]


def test_an_unseen_tool_wins_where_the_penalty_exceeds_the_margin(ranker, penalizing):
    assert ranked(ranker, SEEN, UNSEEN) == [SEEN.name, UNSEEN.name]
    assert ranked(penalizing, SEEN, UNSEEN) == [UNSEEN.name, SEEN.name]


def test_among_tools_that_are_all_seen_or_all_unseen_nothing_changes(ranker, penalizing):
    both, none = (
        replace(penalizing.matcher, seen_fingerprints=tool_fingerprints(seen))
        for seen in ([SEEN, UNSEEN], [])
    )
    expected = [SEEN.name, UNSEEN.name]
    for one in (ToolRanker(ranker.encoder, both), ToolRanker(ranker.encoder, none), ranker):
        assert ranked(one, SEEN, UNSEEN) == ranked(one, UNSEEN, SEEN) == expected


def test_a_tool_that_permissions_leave_keeps_its_penalty(penalizing):
    guarded = Tool("delete_file", "Delete a file", permissions=frozenset({"disk"}))
    toolbox, rejected = penalizing.toolbox([guarded, UNSEEN, SEEN]).with_permissions([])
    assert [one.name for one in rejected] == ["delete_file"]
    assert toolbox.seen_penalties.tolist() == [0, 30]


# Maps, margins and probabilities -----------------------------------------------------------


def test_maps_are_interpolated_between_the_identity_and_what_was_learned(bundled):
    matcher = bundled.matcher
    identity = np.eye(len(matcher.query_map))
    halfway = (identity + matcher.query_map) / 2
    for share, expected in ((0.0, identity), (1.0, matcher.query_map), (0.5, halfway)):
        assert matcher.interpolate(share).query_map == pytest.approx(expected, abs=1e-6)
    assert matcher.interpolate(0.0).tool_map == pytest.approx(identity)
    assert matcher.interpolate(0.5).cosine_scale == matcher.cosine_scale


def test_margins_are_over_the_best_of_the_others():
    assert margins(np.array([1.0, 4.0, 2.0])).tolist() == [-3, 2, -2]
    assert margins(np.array([4.0, 4.0])).tolist() == [0, 0]
    assert margins(np.array([4.0])).tolist() == [0]


def test_probabilities_of_extreme_scores_are_0_and_1(matcher):
    steep = replace(matcher, usefulness_coef=np.array([0, 1, 0], np.float32))
    scores = np.array([-1e6, 0, 1e6], np.float32)
    no_clauses = np.zeros((0, 3), np.float32)
    probabilities = steep.usefulness_probabilities(QueryScores(scores, no_clauses, scores))
    assert probabilities == pytest.approx([0, 0.5, 1])


def test_the_best_clause_is_added_to_the_score_of_the_query(matcher):
    weighted = replace(matcher, clause_weight=0.5)
    whole, clauses = np.float32([1, 2]), np.float32([[4, 0], [2, 6]])
    assert weighted.combine_clauses(whole, clauses).tolist() == [3, 5]
    assert weighted.combine_clauses(whole, clauses[:0]) is whole


def test_the_best_tool_of_a_clause_is_told_apart_from_others():
    scores, clauses = np.float32([3, 1, 2]), np.float32([[4, 0, 1], [1, 6, 2]])
    features = usefulness_features(scores, clauses)
    assert features[:, 0].tolist() == [3, 1, 2]
    assert features[:, 1].tolist() == [1, -2, -1]
    assert features[:, 2].tolist() == [1, 1, 0]
    assert features[:, 3] == pytest.approx(np.log(3))
    assert not usefulness_features(scores, clauses[:0])[:, 2:].any()


# Seen and unseen tools ---------------------------------------------------------------------


def test_words_weigh_more_the_fewer_tools_of_a_list_are_known(encoder, matcher):
    ranker = ToolRanker(
        encoder,
        replace(
            matcher,
            seen_fingerprints=tool_fingerprints([SEEN]),
            lexical_weights=np.float32([4, 1, 1]),
            unseen_lexical_weights=np.float32([8, 3, 3]),
        ),
    )
    assert ranker.toolbox([SEEN]).lexical_weights.tolist() == [4, 1, 1]
    assert ranker.toolbox([UNSEEN]).lexical_weights.tolist() == [8, 3, 3]
    assert ranker.toolbox([SEEN, UNSEEN]).lexical_weights.tolist() == [6, 2, 2]


# Topics ------------------------------------------------------------------------------------


@pytest.fixture
def topical(encoder, matcher):
    """A ranker that knows how near any query comes to a list of topics."""
    background = ["Hello, how are you?", "Sort a list in Python", "Who won the war?", "2 + 2?"]
    embeddings = np.rint(encoder.encode(background) * 127).astype(np.int8)
    return ToolRanker(
        encoder, replace(matcher, background=embeddings, topic_coef=np.float32([-1, 1]))
    )


def test_the_score_of_topics_is_relative_to_what_other_queries_score(topical):
    topics = [Tool("biology", "Cells, plants and animals"), Tool("law", "Courts and contracts")]
    toolbox = topical.toolbox(topics)
    mean, std = toolbox.background_scores
    assert mean == pytest.approx(
        np.mean((topical.matcher.background_vectors() @ toolbox.vectors.T).max(axis=1))
    )
    assert std > 0
    needed = topical.select(toolbox, "Which animals have cells like those of plants?").needed
    assert needed > 0.5 > topical.select(toolbox, "Good morning").needed


def test_tools_that_take_arguments_are_not_topics(topical):
    tools = [Tool("weather", "Weather of a city", {"city": "Its name"}), Tool("law", "Courts")]
    assert topical.toolbox(tools).background_scores is None
    assert topical.toolbox(tools[1:]).background_scores is not None
    rated = topical.select(topical.toolbox(tools[:1]), "Weather in Rome").needed
    unrated = ToolRanker(topical.encoder, replace(topical.matcher, topic_coef=np.float32([9, 9])))
    assert unrated.select(tools[:1], "Weather in Rome").needed == rated


# Feedback ----------------------------------------------------------------------------------


def test_feedback_moves_only_the_tools_that_it_names():
    vectors = np.eye(2, dtype=np.float32)
    feedback = Feedback().with_query(np.float32([0, 1]), useful=["A"], useless=["gone"])
    moved = feedback.apply({"a": [0], "b": [1]}, vectors)
    assert moved[0] == pytest.approx(np.array([20, 1]) / np.hypot(20, 1))
    assert moved[1].tolist() == [0, 1]
    assert vectors.tolist() == [[1, 0], [0, 1]]
    assert len(feedback) == 2


def test_a_useless_tool_moves_away_by_a_quarter_of_a_query():
    vectors = np.float32([[1, 0]])
    feedback = Feedback().with_query(np.float32([0, 1]), useful=[], useless=["a"])
    assert feedback.apply({"a": [0]}, vectors)[0] == pytest.approx(
        np.array([20, -0.25]) / np.hypot(20, 0.25)
    )
