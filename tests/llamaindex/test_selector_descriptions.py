"""TryageSelector without a router: choices are ranked by what they describe, and read once."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core import Document, SummaryIndex, VectorStoreIndex
from llama_index.core.query_engine import RouterQueryEngine
from llama_index.core.response_synthesizers import TreeSummarize
from llama_index.core.retrievers import RouterRetriever
from llama_index.core.tools import QueryEngineTool, RetrieverTool, ToolMetadata

from tryage import Preferences
from tryage.errors import InputError
from tryage.tools import ToolRanker
from tryage_llamaindex import TryageSelection, TryageSelector

WEATHER = "Tells the current weather and the forecast of a city"
SHARES = "Tells the price of a share on the stock exchange"
RECIPES = "Finds recipes for cooking by their ingredients"
DESCRIBED = [WEATHER, SHARES, RECIPES]
QUERIES = ["Will it rain in Rome tomorrow?", "What does a share of IBM cost?", "What can I cook?"]


@pytest.fixture(scope="module")
def ranker():
    return ToolRanker.from_pretrained()


@pytest.fixture
def selector(ranker):
    return TryageSelector(ranker=ranker)


def engines(index, llm, names=(None, None, None)):
    engine = index.as_query_engine(llm=llm)
    return [
        QueryEngineTool.from_defaults(engine, name=name, description=described)
        for name, described in zip(names, DESCRIBED, strict=True)
    ]


@pytest.mark.parametrize(("index", "query"), list(enumerate(QUERIES)))
async def test_the_choice_that_describes_the_query_is_selected(selector, index, query):
    assert selector.select(DESCRIBED, query).ind == index
    assert (await selector.aselect(DESCRIBED, query)).ind == index
    assert selector.select(DESCRIBED[::-1], query).ind == 2 - index


def test_without_arguments_the_bundled_ranker_selects():
    assert TryageSelector().select(DESCRIBED, QUERIES[1]).ind == 1


def test_the_reason_holds_score_and_margin_and_the_decision_the_rest(selector):
    named = [ToolMetadata(WEATHER, "weather"), ToolMetadata(SHARES, "shares")]
    picked = selector.select(named, QUERIES[0])
    best, other = picked.decision.ranking
    margin = other.total - best.total
    assert picked.reason == (
        f"weather: predicted loss {best.predicted_loss:.3f}, {margin:.3f} ahead of shares"
    )
    assert picked.decision.query == QUERIES[0]


def test_constraints_are_part_of_the_reason(ranker):
    weighed = TryageSelector(ranker=ranker, preferences=Preferences({"cost": 0.5}))
    assert " + cost " in weighed.select(DESCRIBED, QUERIES[0]).reason


def test_several_are_selected_best_first(ranker):
    assert TryageSelector(ranker=ranker, k=2).select(DESCRIBED, QUERIES[0]).inds[0] == 0
    both = TryageSelector(ranker=ranker, k=5).select(DESCRIBED, QUERIES[0])
    assert sorted(both.inds) == [0, 1, 2]
    assert both.reasons[0].startswith("choice 0: predicted loss")
    probable = TryageSelector(ranker=ranker, k=None).select(DESCRIBED, QUERIES[0])
    assert probable.inds[0] == 0
    assert len(probable.inds) <= 3


def test_choices_are_read_once_for_all_queries(ranker, monkeypatch):
    read, selector = [], TryageSelector(ranker=ranker)
    toolbox = ToolRanker.toolbox
    monkeypatch.setattr(ToolRanker, "toolbox", lambda *a: read.append(1) or toolbox(*a))
    for query in QUERIES * 2:
        selector.select(DESCRIBED, query)
    assert read == [1]
    selector.select([*DESCRIBED, "Something else"], QUERIES[0])
    assert read == [1, 1]


def test_below_the_threshold_no_choice_is_selected_or_the_default(ranker):
    nothing = TryageSelector(ranker=ranker, abstain_below=1.01).select(DESCRIBED, "Hi")
    assert (nothing.inds, nothing.abstained) == ([], True)
    by_index = TryageSelector(ranker=ranker, abstain_below=1.01, default=2).select(DESCRIBED, "Hi")
    assert by_index.ind == 2
    assert by_index.reason.startswith("the default; some choice is of use with probability 0.")
    assert by_index.decision.abstained
    named = [ToolMetadata(WEATHER, "weather"), ToolMetadata(SHARES, "shares")]
    by_name = TryageSelector(ranker=ranker, abstain_below=1.01, default="shares")
    assert by_name.select(named, "Hi").ind == 1


def test_requirements_that_no_choice_meets_select_the_default(ranker):
    impossible = Preferences(only=["unknown"])
    selector = TryageSelector(ranker=ranker, preferences=impossible, default=1)
    picked = selector.select(DESCRIBED, "Hi")
    assert (picked.ind, picked.decision) == (1, None)


@pytest.mark.parametrize("default", [3, -1, "unknown"])
def test_a_default_that_is_none_of_the_choices_is_refused(ranker, default):
    with pytest.raises(InputError, match="not one of the 3 choices"):
        TryageSelector(ranker=ranker, default=default).select(DESCRIBED, "Hi")


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"k": 0}, "1 or more"), ({"k": True}, "1 or more"), ({"k": "two"}, "1 or more")],
)
def test_a_number_out_of_range_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        TryageSelector(**settings)


def test_a_router_takes_neither_ranker_nor_abstention(router, ranker):
    for settings in ({"ranker": ranker}, {"abstain_below": 0.5}):
        with pytest.raises(InputError, match="selects by itself"):
            TryageSelector(router, **settings)


def test_no_choices_are_refused(selector):
    with pytest.raises(InputError, match="No choices"):
        selector.select([], "Hi")


def test_choices_of_one_name_without_a_description_are_ranked_by_the_name(selector):
    choices = [ToolMetadata(SHARES, "shares"), *[ToolMetadata("", "weather_forecast")] * 2]
    assert selector.select(choices, "weather forecast for Rome").ind in {1, 2}


def test_a_choice_that_says_nothing_does_not_stop_the_others(selector):
    choices = [ToolMetadata("", None), ToolMetadata(WEATHER, "weather")]
    assert selector.select(choices, "Will it rain in Rome?").ind == 1


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(str.strip)
metadata = st.builds(ToolMetadata, texts, st.none() | texts | st.just("query_engine_tool"))


@given(
    st.lists(metadata, min_size=1, max_size=12),
    st.text(max_size=200),
    st.sampled_from([1, 3, None]),
)
def test_every_index_is_that_of_a_choice_and_occurs_once(ranker, choices, query, k):
    picked = TryageSelector(ranker=ranker, k=k).select(choices, query)
    assert picked.inds
    assert all(0 <= index < len(choices) for index in picked.inds)
    assert len(set(picked.inds)) == len(picked.inds)


def test_a_name_that_looks_like_an_index_stays_with_its_choice(selector):
    named = [ToolMetadata(WEATHER, "#1"), ToolMetadata(SHARES), ToolMetadata(RECIPES, "##2")]
    assert [selector.select(named, query).ind for query in QUERIES] == [0, 1, 2]


def test_a_single_choice_is_always_selected_without_a_margin(selector):
    assert selector.select([SHARES], QUERIES[0]).reason.count("ahead of") == 0


def test_choices_with_the_same_description_score_about_the_same(selector):
    best, _, worst = selector.select([SHARES] * 3, QUERIES[1]).decision.ranking
    assert worst.total - best.total < 0.05


def test_among_a_thousand_choices_the_right_one_is_found(selector):
    many = [f"Tells the history of village {i}" for i in range(999)]
    many.insert(700, WEATHER)
    assert [selector.select(many, QUERIES[0]).ind for _ in range(2)] == [700, 700]


@pytest.mark.parametrize("query", ["", "\ud800", "明日の天気は?", "\x00" * 9, "a, b; " * 5_000])
def test_any_text_is_a_query_or_a_choice(selector, query):
    assert selector.select(["天気予報", "\ud83d", WEATHER], query).ind in range(3)


async def test_queries_of_concurrent_tasks_are_not_mixed_up(selector):
    expected = [*range(3)] * 8
    picked = await asyncio.gather(*(selector.aselect(DESCRIBED, QUERIES[i]) for i in expected))
    assert [one.ind for one in picked] == expected


def repickled(selector):
    return pickle.loads(pickle.dumps(selector))  # noqa: S301 - our own pickle


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, repickled])
def test_a_copy_and_a_pickle_select_as_before(ranker, again):
    selector = TryageSelector(ranker=ranker, k=2, default=1)
    before, after = (s.select(DESCRIBED, QUERIES[0]) for s in (selector, again(selector)))
    assert (after.inds, after.reasons) == (before.inds, before.reasons)


def test_a_deep_copy_shares_the_encoder_and_learns_for_itself(ranker):
    own = copy.deepcopy(ranker)
    assert own.encoder is ranker.encoder
    own.observe(QUERIES[0], ["weather"])
    assert (len(own.feedback), len(ranker.feedback)) == (1, 0)


def test_a_selection_can_be_written_as_json(selector):
    written = json.loads(selector.select(DESCRIBED, QUERIES[0]).model_dump_json())
    assert written["selections"][0]["index"] == 0
    assert written["decision"]["tools"] == ["#0"]
    assert len(written["decision"]["ranking"]) == 3


def test_a_number_in_the_query_does_not_match_the_index_of_a_choice(selector):
    many = [f"{WEATHER} in district {chr(97 + i)}" for i in range(13)]
    assert selector.select(many, "12 rain?").ind != 12


async def test_a_query_engine_is_chosen_and_keeps_the_decision(ranker, embedding, llm):
    index = VectorStoreIndex.from_documents(
        [Document(text=t) for t in DESCRIBED], embed_model=embedding
    )
    selector = TryageSelector(ranker=ranker)
    engine = RouterQueryEngine.from_defaults(engines(index, llm), llm=llm, selector=selector)
    for answer in (engine.query(QUERIES[0]), await engine.aquery(QUERIES[0])):
        result = answer.metadata["selector_result"]
        assert isinstance(result, TryageSelection)
        assert (result.ind, result.decision.query) == (0, QUERIES[0])


def test_the_answers_of_several_query_engines_are_summarized(ranker, embedding, llm):
    index = VectorStoreIndex.from_documents(
        [Document(text=t) for t in DESCRIBED], embed_model=embedding
    )
    selector = TryageSelector(ranker=ranker, k=2)
    tools = engines(index, llm, ("weather", "shares", "recipes"))
    summary = TreeSummarize(llm=llm)
    engine = RouterQueryEngine(selector, tools, llm=llm, summarizer=summary)
    answer = engine.query("small: " + QUERIES[0])
    assert len(answer.metadata["selector_result"].inds) == 2
    assert str(answer) == "Hello from scripted-small today"


def test_a_query_engine_without_a_selected_choice_raises(ranker, embedding, llm):
    index = VectorStoreIndex.from_documents(
        [Document(text=t) for t in DESCRIBED], embed_model=embedding
    )
    selector = TryageSelector(ranker=ranker, abstain_below=1.01)
    engine = RouterQueryEngine.from_defaults(engines(index, llm), llm=llm, selector=selector)
    with pytest.raises(ValueError, match="Failed to select query engine"):
        engine.query("Hi")


@pytest.mark.parametrize("k", [1, 2])
async def test_retrievers_are_chosen(ranker, llm, k):
    tools = [
        RetrieverTool.from_defaults(
            SummaryIndex.from_documents([Document(text=text)]).as_retriever(), description=text
        )
        for text in DESCRIBED
    ]
    selector = TryageSelector(ranker=ranker, k=k)
    retriever = RouterRetriever.from_defaults(tools, llm=llm, selector=selector)
    for nodes in (retriever.retrieve(QUERIES[2]), await retriever.aretrieve(QUERIES[2])):
        assert nodes[0].text == RECIPES
        assert len(nodes) == k
