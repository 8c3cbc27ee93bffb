"""A view of a chat model is the model itself with other values of a few fields."""

from __future__ import annotations

import copy
import gc
import pickle
from collections import Counter

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_openai import ChatOpenAI
from pydantic import PrivateAttr

from tryage_langchain import ChatTryage
from tryage_langchain._clients import view_model
from tryage_langchain.testing import ScriptedChatModel


class CountingModel(ScriptedChatModel):
    """Counts its own calls in a field, in a private attribute, and in a table."""

    count: int = 0
    _count: int = PrivateAttr(0)
    _table: Counter[str] = PrivateAttr(default_factory=Counter)

    def _generate(self, *args, **kwargs):
        self.count += 1
        self._count += 1
        self._table["calls"] += 1
        return super()._generate(*args, **kwargs)

    @property
    def counts(self):
        return self.count, self._count, self._table["calls"]


def test_a_view_has_other_values_and_the_model_keeps_its_own():
    model = ScriptedChatModel(tags=["own"])
    view = view_model(model, {"tags": ["other"], "metadata": {"a": 1}})
    assert (view.tags, view.metadata, view.model) == (["other"], {"a": 1}, "scripted")
    assert (model.tags, type(view).__name__, isinstance(view, ScriptedChatModel)) == (
        ["own"], "ScriptedChatModel", True,
    )  # fmt: skip


@pytest.mark.parametrize("bind", [lambda view: view, lambda view: view.bind_tools([])])
def test_what_a_view_counts_the_model_has_counted(bind):
    model = CountingModel()
    bind(view_model(model, {"tags": ["other"]})).invoke("hello")
    assert model.counts == (1, 1, 1)
    view_model(view_model(model, {"tags": ["other"]}), {"callbacks": None}).invoke("hello")
    assert model.counts == (2, 2, 2)


def test_a_view_of_a_view_has_both_values():
    model = ScriptedChatModel()
    view = view_model(view_model(model, {"tags": ["a"], "name": "n"}), {"tags": ["b"]})
    assert (view.tags, view.name) == (["b"], "n")
    assert type(view).__mro__.count(ScriptedChatModel) == 1


def test_a_real_client_is_the_same_for_traces_and_caches():
    model = ChatOpenAI(model="gpt-4o", api_key="x")
    view = view_model(model, {"tags": ["t"]})
    assert view.root_client is model.root_client
    assert view._get_ls_params() == model._get_ls_params()
    assert view._get_llm_string() == model._get_llm_string()
    assert (view.lc_id(), view.profile) == (model.lc_id(), model.profile)
    assert isinstance(view, ChatOpenAI)


def test_an_iterator_inside_a_model_goes_on():
    model = GenericFakeChatModel(messages=iter([AIMessage("a"), AIMessage("b")]))
    assert view_model(model, {"tags": ["t"]}).invoke("x").text == "a"
    assert model.invoke("x").text == "b"


def test_a_view_keeps_its_model_alive():
    view = view_model(CountingModel(), {"tags": ["t"]})
    gc.collect()
    assert view.invoke("x").text
    assert view.counts == (1, 1, 1)


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        lambda view: view.model_copy(),
        lambda view: pickle.loads(pickle.dumps(view)),  # noqa: S301 - written here
    ],
)
def test_a_copy_of_a_view_is_a_model_of_its_own(copied):
    model = ScriptedChatModel()
    clone = copied(view_model(model, {"tags": ["t"]}))
    assert type(clone) is ScriptedChatModel
    assert clone.tags == ["t"]
    clone.model = "other"
    assert model.model == "scripted"


def test_chattryage_never_copies_a_model_for_a_setting_of_its_own(router):
    models = {"small": CountingModel(), "big": CountingModel()}
    limiter = InMemoryRateLimiter(requests_per_second=1_000)
    chat = ChatTryage.from_models(models, router=router, rate_limiter=limiter, cache=False)
    chat.invoke("small question")
    assert models["small"].counts == (1, 1, 1)
    assert models["small"].rate_limiter is None


def test_a_cache_of_chattryage_serves_a_model_without_one(router):
    models = {"small": CountingModel(), "big": CountingModel()}
    chat = ChatTryage.from_models(models, router=router, cache=InMemoryCache())
    assert chat.invoke("small question").text == chat.invoke("small question").text
    assert models["small"].counts == (1, 1, 1)
