"""Steps that are not answers have policies: a cheap model, a fixed one, or as the query."""

from __future__ import annotations

from contextlib import suppress

import pytest
from llama_index.core import Document, PromptTemplate, VectorStoreIndex
from llama_index.core.chat_engine import CondenseQuestionChatEngine
from llama_index.core.evaluation import (
    AnswerRelevancyEvaluator,
    ContextRelevancyEvaluator,
    CorrectnessEvaluator,
    FaithfulnessEvaluator,
    GuidelineEvaluator,
    PairwiseComparisonEvaluator,
    RelevancyEvaluator,
)
from llama_index.core.extractors import (
    KeywordExtractor,
    QuestionsAnsweredExtractor,
    SummaryExtractor,
    TitleExtractor,
)
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.indices.query.query_transform.base import DecomposeQueryTransform
from llama_index.core.llms import ChatMessage
from llama_index.core.query_engine import TransformQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import TextNode

from tryage import Expert, Preferences, Router
from tryage.errors import InputError
from tryage_llamaindex import TryageLLM
from tryage_llamaindex._call_routing import DESCRIPTIONS, read_policies
from tryage_llamaindex.testing import ScriptedLLM

PRICES = (
    Expert("small", input_price=1.0, output_price=1.0),
    Expert("big", input_price=10.0, output_price=10.0),
)
FLAG = "[Flag: model=big]"
EXTRACTORS = [TitleExtractor, KeywordExtractor, QuestionsAnsweredExtractor, SummaryExtractor]
JUDGED = {"query": "small?", "response": "big answer", "contexts": ["big context"]}
EVALUATORS = [
    (AnswerRelevancyEvaluator, {}),
    (ContextRelevancyEvaluator, {}),
    (CorrectnessEvaluator, {"reference": "big"}),
    (FaithfulnessEvaluator, {}),
    (GuidelineEvaluator, {}),
    (PairwiseComparisonEvaluator, {"reference": "big", "second_response": "bigger"}),
    (RelevancyEvaluator, {}),
]


@pytest.fixture
def priced(perception):
    """Return a function that makes a TryageLLM with prices that obeys flags."""

    def make(**settings):
        children = {name: ScriptedLLM(window=100_000) for name in ("small", "big")}
        router = Router(perception, prompt_flags=True)
        return TryageLLM(llms=children, router=router, experts=PRICES, **settings)

    return make


@pytest.fixture
def index(embedding):
    return VectorStoreIndex.from_documents([Document(text="big fact")], embed_model=embedding)


def models(records):
    return [record["model"] for record in records]


def condense_calls(records):
    """Return the models of the condense steps: all calls but the answers, every second one."""
    return models(records)[1::2]


@pytest.mark.parametrize("mode", ["condense_plus_context", "condense_question"])
async def test_a_condense_step_goes_to_the_cheap_model_and_the_answer_as_the_query(
    priced, index, mode
):
    llm = priced()
    chat = index.as_chat_engine(mode, llm=llm)
    for child in llm.llms.values():
        child.replies = ["big question", "big question", "big"]
    with llm.using() as records:
        chat.chat("big question " + FLAG)
        chat.chat("big question")
        await chat.achat("big question")
    assert condense_calls(records) == ["small", "small"]
    assert models(records)[0::2] == ["big", "big", "big"]


def test_hyde_and_decomposition_go_to_the_cheap_model(priced, index):
    llm = priced()
    engine = TransformQueryEngine(index.as_query_engine(llm=llm), HyDEQueryTransform(llm=llm))
    with llm.using() as records:
        engine.query("big question")
        DecomposeQueryTransform(llm=llm).run("big question", {"index_summary": "big"})
    assert models(records) == ["small", "big", "small"]


async def test_queries_of_a_fusion_retriever_go_to_the_cheap_model(priced, index):
    llm = priced()
    retriever = QueryFusionRetriever([index.as_retriever()], llm=llm, use_async=False)
    with llm.using() as records:
        retriever.retrieve("big question")
        await retriever.aretrieve("big question")
    assert models(records) == ["small", "small"]


@pytest.mark.parametrize("kind", EXTRACTORS)
async def test_extractors_go_to_the_cheap_model_and_flags_in_documents_are_data(priced, kind):
    llm = priced()
    text = f"big text {FLAG}"
    with llm.using() as records:
        kind(llm=llm).extract([TextNode(text=text)])
        await kind(llm=llm).aextract([TextNode(text=text)])
    assert set(models(records)) == {"small"}
    assert all("flags" not in record for record in records)
    assert any(FLAG in str(call["messages"]) for call in llm.llms["small"].calls)


@pytest.mark.parametrize(("kind", "extra"), EVALUATORS)
async def test_one_model_judges_whatever_is_judged(priced, perception, kind, extra):
    llm = priced()
    for child in llm.llms.values():
        child.replies = ["4\nGood. [[A]] YES"] * 20
    judge = kind(llm=llm)
    other = {"query": "big?", "response": f"small {FLAG}"}
    samples = [{**JUDGED, **extra}, {**JUDGED, **other, **extra}]
    with llm.using() as records:
        for sample in samples:
            with suppress(ValueError, IndexError):  # the evaluator may not read a scripted answer
                await judge.aevaluate(**sample)
    assert len(records) >= 2
    assert set(perception.asked) == {DESCRIPTIONS["evaluate"]}
    assert len(set(models(records))) == 1
    assert all("flags" not in record for record in records)


def test_a_template_of_ones_own_with_other_arguments_is_an_answer(priced):
    llm = priced()
    template = PromptTemplate("Judge {query} and {response}")
    with llm.using() as records:
        llm.predict(template, query="big?", response="small")
    assert records[0]["how"] == "routed"
    assert "cost" not in str(records[0]["scores"])


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("cheap", "small"), ("query", "big"), ("big", "big"), (Preferences(only=["big"]), "big")],
)
def test_each_policy_chooses_as_it_says(priced, policy, expected):
    llm = priced(step_policies={"extract": policy})
    with llm.using() as records:
        # The template of a title begins with the text.
        TitleExtractor(llm=llm, node_template="{context_str}").extract([TextNode(text="big text")])
    assert models(records)[0] == expected


def test_a_step_with_the_policy_query_is_routed_on_the_query_of_its_component(priced, perception):
    llm = priced(step_policies={"transform": "query"})
    HyDEQueryTransform(llm=llm).run("big question")
    assert perception.asked == ["big question"]


def test_the_policy_fixed_holds_for_any_step(priced, perception):
    llm = priced(step_policies={"extract": "fixed"})
    TitleExtractor(llm=llm, nodes=1).extract([TextNode(text="big"), TextNode(text="small")])
    assert set(perception.asked) == {DESCRIPTIONS["extract"]}


def test_requirements_and_the_model_of_a_block_come_before_the_policy(priced):
    only_big = Preferences(only=["big"])
    llm = priced(preferences=only_big)
    with llm.using() as records:
        TitleExtractor(llm=llm).extract([TextNode(text="x")])
    other = priced()
    with other.using(model="big") as pinned:
        TitleExtractor(llm=other).extract([TextNode(text="x")])
    with other.using(preferences=Preferences({"cost": 0.001})) as weighted:
        TitleExtractor(llm=other).extract([TextNode(text="big")])
    assert set(models(records)) == set(models(pinned)) == {"big"}
    assert set(models(weighted)) == {"small"}


def test_a_long_document_goes_to_the_cheap_model_too(priced):
    llm = priced()
    text = "big " * 20_000  # it costs more than the reference request of the dearest model
    llm.llms["small"].fails = [None, ConnectionError("down")]
    with llm.using() as records:
        for _ in range(2):
            SummaryExtractor(llm=llm, prompt_template="{context_str}").extract(
                [TextNode(text=text)]
            )
    assert models(records) == ["small", "big"]


def test_without_prices_a_cheap_step_is_routed_on_its_text(llm):
    with llm.using() as records:
        HyDEQueryTransform(llm=llm, hyde_prompt=PromptTemplate("{context_str}")).run("big question")
    assert models(records) == ["big"]


def test_a_cheap_model_that_fails_is_followed_by_the_next(priced):
    llm = priced()
    llm.llms["small"].fails = [ConnectionError("down")]
    with llm.using() as records:
        HyDEQueryTransform(llm=llm).run("question")
    assert models(records) == ["big"]


def test_a_step_leaves_the_turn_and_the_thread_alone(priced):
    llm = priced(sticky="thread")
    first = llm.chat([ChatMessage("big question")])
    HyDEQueryTransform(llm=llm).run("big question")
    answer = llm.chat([ChatMessage("big question"), first.message, ChatMessage("small one")])
    assert answer.additional_kwargs["tryage"]["model"] == "big"


def test_a_chat_engine_condenses_with_any_template(priced, index):
    llm = priced()
    template = PromptTemplate("big: {question} after {chat_history}")
    chat = CondenseQuestionChatEngine.from_defaults(
        index.as_query_engine(llm=llm), condense_question_prompt=template, llm=llm
    )
    with llm.using() as records:
        chat.chat("big question")
        chat.chat("big question")
    assert models(records)[1] == "small"


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        ({"condens": "cheap"}, r"'condens'.*condense"),
        ({"condense": "cheapest"}, "'cheapest'"),
        ({"condense": 3}, "is 3"),
        ({"condense": None}, "is None"),
    ],
)
def test_a_wrong_policy_is_refused(policies, message, priced):
    with pytest.raises(InputError, match=message):
        read_policies(policies, ["small", "big"])
    with pytest.raises(ValueError, match=message):
        priced(step_policies=policies)


def test_policies_are_written_and_read(priced):
    llm = priced(step_policies={"condense": "big", "extract": Preferences(only=["big"])})
    again = TryageLLM.from_dict(llm.to_dict(), llms=dict(llm.llms))
    assert again.step_policies == llm.step_policies
