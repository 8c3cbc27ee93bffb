"""TryageSelector with a router: the query goes to the choice whose expert has the lowest total."""

from __future__ import annotations

import inspect

import pytest
from llama_index.core.base.response.schema import Response
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import CustomQueryEngine, RouterQueryEngine
from llama_index.core.response_synthesizers import TreeSummarize
from llama_index.core.schema import QueryBundle
from llama_index.core.tools import QueryEngineTool, ToolMetadata

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.preferences import Preferences
from tryage.errors import InputError, LibraryError, NoExpertError
from tryage.router import Router
from tryage.testing import FunctionPerception
from tryage_llamaindex import TryageSelection, TryageSelector

EXPERTS = ("law", "code", "poetry")


class EchoEngine(CustomQueryEngine):
    """Answers with its name and the query that reached it."""

    name: str

    def custom_query(self, query_str: str) -> str:
        return f"{self.name}: {query_str}"


def choices(*names):
    return [ToolMetadata(description=f"about {name}", name=name) for name in names]


def engine(selector, *names):
    tools = [
        QueryEngineTool.from_defaults(EchoEngine(name=n), name=n, description=n) for n in names
    ]
    llm = MockLLM()
    return RouterQueryEngine(selector, tools, llm=llm, summarizer=TreeSummarize(llm=llm))


def first_word(prompt):
    """Predict loss 0.25 for the expert that the prompt names first and 1 for the others."""
    return [0.25 if prompt.startswith(name) else 1.0 for name in EXPERTS]


@pytest.fixture
def perception():
    return FunctionPerception(EXPERTS, first_word)


@pytest.fixture
def router(perception):
    return Router(perception)


@pytest.fixture
def selector(router):
    return TryageSelector(router)


def test_the_index_is_that_of_the_choice_whatever_the_order(selector):
    for names in (("law", "code"), ("code", "law"), ("poetry", "code", "law")):
        for wanted in names:
            picked = selector.select(choices(*names), f"{wanted} question")
            assert picked.ind == names.index(wanted)


async def test_selecting_asynchronously_gives_the_same(selector):
    picked = await selector.aselect(choices("law", "code"), QueryBundle("code question"))
    assert isinstance(picked, TryageSelection)
    assert picked.ind == 1


def test_only_the_choices_are_candidates(selector):
    picked = selector.select(choices("law", "poetry"), "code question")
    assert {ranked.name for ranked in picked.decision.ranking} == {"law", "poetry"}


def test_the_reason_holds_the_predicted_loss_and_the_margin(selector):
    picked = selector.select(choices("law", "code"), "code question")
    assert picked.reason == "code: predicted loss 0.250, 0.750 ahead of law"
    assert picked.decision.expert.name == "code"


def test_a_choice_that_is_probably_right_is_selected_although_another_is_smaller():
    known = [Expert("law", parameters=10**9), Expert("code", parameters=10**11)]
    losses = FunctionPerception(("law", "code"), lambda _: [0.75, 0.25])
    selector = TryageSelector(Router(losses, Library(known)), Preferences({"size": 3.0}), k=None)
    picked = selector.select(choices("law", "code"), "code question")
    assert picked.inds == [1]
    assert picked.reason == "code: predicted loss 0.250 + size 2.500, 0.500 behind law"


def test_a_single_choice_has_no_margin(selector):
    assert selector.select(choices("law"), "code").reason == "law: predicted loss 1.000"


def test_a_query_engine_answers_with_the_chosen_engine_and_keeps_the_decision(selector):
    response = engine(selector, "law", "code").query("code question")
    assert isinstance(response, Response)
    assert str(response) == "code: code question"
    assert response.metadata["selector_result"].decision.expert.name == "code"


async def test_a_query_engine_works_asynchronously(selector):
    response = await engine(selector, "law", "code").aquery("law question")
    assert str(response) == "law: law question"


def test_the_case_of_a_choices_name_does_not_matter(selector):
    assert selector.select(choices("LAW", "Code"), "code question").ind == 1


def test_a_choice_that_the_router_does_not_know_is_named_in_the_error(selector):
    with pytest.raises(LibraryError, match="cooking"):
        selector.select(choices("law", "cooking"), "law")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "No choices"),
        (["a text about law"], "Choice 0 has no name"),
        (choices("law", "law"), "Several choices stand for 'law'"),
        (choices("law", "LAW"), "Several choices stand for 'law'"),
    ],
)
def test_choices_without_an_expert_of_their_own_are_refused(selector, given, message):
    with pytest.raises(InputError, match=message):
        selector.select(given, "law")


def test_preferences_come_on_top_of_the_routers_own(router):
    selector = TryageSelector(router, Preferences(only=["law"]))
    assert selector.select(choices("law", "code"), "code question").ind == 0


def test_flags_change_the_choice_if_the_router_allows_them(perception):
    selector = TryageSelector(Router(perception, prompt_flags=True))
    picked = selector.select(choices("law", "code"), "code question [Flag: model=law]")
    assert picked.ind == 0
    assert picked.decision.prompt == "code question"


def test_the_default_of_the_router_is_selected_and_the_reason_says_so(perception, router):
    only_poetry = Preferences(only=["poetry"])
    exempt = Router(perception, default="law", default_exempt=True)
    selector = TryageSelector(exempt, only_poetry)
    picked = selector.select(choices("code", "law"), "code question")
    assert picked.ind == 1
    assert picked.reason.startswith("law: the declared default; ")
    with pytest.raises(NoExpertError):
        TryageSelector(router, only_poetry).select(choices("code", "law"), "code question")


@pytest.mark.parametrize("name", ["_select", "_aselect"])
def test_the_signature_names_the_choices_and_the_query(selector, name):
    bound = inspect.signature(getattr(selector, name)).bind(choices=[], query="law")
    assert dict(bound.arguments) == {"choices": [], "query": "law"}


def test_there_are_no_prompts_to_get_or_to_update(selector):
    assert selector.get_prompts() == {}
    selector.update_prompts({})
