"""TryageRouter written down and read back: an address and its children, never a secret."""

from __future__ import annotations

import json

import pytest
from langchain_core.load import dumpd, dumps, load, loads
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from tryage import Router
from tryage.errors import InputError, PersistenceError
from tryage_langchain import TryageRouter

HOUSE = {"allowed_objects": [TryageRouter, RunnablePassthrough],
         "valid_namespaces": ["tryage_langchain"]}  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("router")
    Router.from_pretrained().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def names():
    return Router.from_pretrained().library.names[:2]


def test_a_router_with_an_address_is_read_back_with_its_children(saved, names):
    children = dict.fromkeys(names, RunnablePassthrough())
    chooser = TryageRouter.from_pretrained(saved, children, input_key="q")
    again = load(dumpd(chooser), **HOUSE)
    assert isinstance(again, TryageRouter)
    assert (again.input_key, set(again.runnables), again.pretrained) == (
        "q", set(names), {"name_or_path": str(saved)},
    )  # fmt: skip
    given = {"q": "Prove it."}
    assert again.invoke(given) == given == chooser.invoke(given)


def test_the_bundled_router_needs_no_address():
    text = dumps(TryageRouter.from_pretrained())
    again = loads(text, **HOUSE)
    asked = "Sort it in Rust."
    assert again.invoke(asked).expert == TryageRouter.from_pretrained().invoke(asked).expert
    assert json.loads(text)["kwargs"] == {"pretrained": {}}
    assert len(text) < 300


def test_a_router_made_in_memory_says_how_to_give_it_an_address(router):
    with pytest.raises(PersistenceError, match=r"save_pretrained.*from_pretrained"):
        dumpd(TryageRouter(router))


def test_the_secret_of_a_child_is_not_written_down(saved, names):
    openai = pytest.importorskip("langchain_openai")
    child = openai.ChatOpenAI(model="gpt-4o", api_key="sk-very-secret")
    text = dumps(TryageRouter.from_pretrained(saved, {names[0]: child}))
    assert "very-secret" not in text
    assert "OPENAI_API_KEY" in text


def test_only_who_is_allowed_is_loaded(saved):
    dumped = dumpd(TryageRouter.from_pretrained(saved))
    with pytest.raises(ValueError, match="not allowed"):
        load(dumped, allowed_objects=[RunnablePassthrough], valid_namespaces=["tryage_langchain"])


def test_an_address_that_is_gone_or_of_another_form_is_refused(tmp_path):
    with pytest.raises(PersistenceError, match="not a folder"):
        TryageRouter.from_pretrained(tmp_path / "gone")
    with pytest.raises(InputError, match="pretrained may hold"):
        TryageRouter(pretrained={"token": "hf_x"})
    with pytest.raises(InputError, match="Give a router"):
        TryageRouter()


def test_a_pipeline_around_it_is_written_down_too(saved):
    chain = ChatPromptTemplate.from_template("{q}") | TryageRouter.from_pretrained(saved)
    kwargs = dumpd(chain)["kwargs"]
    assert kwargs["last"]["id"] == ["tryage_langchain", "router", "TryageRouter"]


def test_the_repr_tells_neither_weights_nor_experts(saved):
    assert repr(TryageRouter.from_pretrained(saved)).count("\n") == 0
    assert "Learned" not in repr(TryageRouter.from_pretrained(saved))
