"""TryageRouter is written as an address and its runnables, without a secret, and read back."""

from __future__ import annotations

import json
import pickle

import pytest
from langchain_core.load import dumpd, dumps, load, loads
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from tryage import Router
from tryage.errors import InputError, PersistenceError
from tryage_langchain import TryageRouter

ALLOWED = {"allowed_objects": [TryageRouter, RunnablePassthrough],
           "valid_namespaces": ["tryage_langchain"]}  # fmt: skip


@pytest.fixture(scope="module")
def saved_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("router")
    Router.from_pretrained().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def names():
    return Router.from_pretrained().library.names[:2]


def test_a_router_with_an_address_is_read_back_with_its_runnables(saved_folder, names):
    children = dict.fromkeys(names, RunnablePassthrough())
    tryage_router = TryageRouter.from_pretrained(saved_folder, children, input_key="q")
    again = load(dumpd(tryage_router), **ALLOWED)
    assert isinstance(again, TryageRouter)
    assert (again.input_key, set(again.runnables), again.pretrained) == (
        "q", set(names), {"name_or_path": str(saved_folder)},
    )  # fmt: skip
    given = {"q": "Prove it."}
    assert again.invoke(given) == given == tryage_router.invoke(given)


def test_the_bundled_router_needs_no_address():
    text = dumps(TryageRouter.from_pretrained())
    again = loads(text, **ALLOWED)
    prompt = "Sort it in Rust."
    assert again.invoke(prompt).expert == TryageRouter.from_pretrained().invoke(prompt).expert
    assert json.loads(text)["kwargs"] == {"pretrained": {}}
    assert len(text) < 300


def test_a_router_made_in_memory_cannot_be_written(router):
    with pytest.raises(PersistenceError, match=r"save_pretrained.*from_pretrained"):
        dumpd(TryageRouter(router))


def test_the_secret_of_a_runnable_is_not_written(saved_folder, names):
    openai = pytest.importorskip("langchain_openai")
    child = openai.ChatOpenAI(model="gpt-4o", api_key="sk-very-secret")
    text = dumps(TryageRouter.from_pretrained(saved_folder, {names[0]: child}))
    assert "very-secret" not in text
    assert "OPENAI_API_KEY" in text


def test_only_allowed_classes_are_loaded(saved_folder):
    dumped = dumpd(TryageRouter.from_pretrained(saved_folder))
    with pytest.raises(ValueError, match="not allowed"):
        load(dumped, allowed_objects=[RunnablePassthrough], valid_namespaces=["tryage_langchain"])


def test_a_wrong_address_is_refused(tmp_path):
    with pytest.raises(PersistenceError, match="not a folder"):
        TryageRouter.from_pretrained(tmp_path / "gone")
    with pytest.raises(InputError, match="pretrained may hold"):
        TryageRouter(pretrained={"token": "hf_x"})
    with pytest.raises(InputError, match="Give a router"):
        TryageRouter()


def test_a_pipeline_with_a_router_is_written_too(saved_folder):
    chain = ChatPromptTemplate.from_template("{q}") | TryageRouter.from_pretrained(saved_folder)
    kwargs = dumpd(chain)["kwargs"]
    assert kwargs["last"]["id"] == ["tryage_langchain", "router", "TryageRouter"]


def test_the_repr_holds_neither_weights_nor_experts(saved_folder):
    text = repr(TryageRouter.from_pretrained(saved_folder))
    assert text.count("\n") == 0
    assert "Perception" not in text
    assert "Library" not in text


def test_a_repr_and_a_pickle_hold_no_key_of_a_runnable(names):
    anthropic = pytest.importorskip("langchain_anthropic")
    child = anthropic.ChatAnthropic(model="claude-opus-5", api_key="kwozqmtr")
    bound = child.bind(extra_headers={"Authorization": "kwozqmtr", "X-Team": "a"})
    tryage_router = TryageRouter(Router.from_pretrained(), {names[0]: bound})
    assert "kwozqmtr" not in repr(tryage_router)
    assert names[0] in repr(tryage_router)
    data = pickle.dumps(tryage_router)
    assert b"kwozqmtr" not in data
    again = pickle.loads(data)  # noqa: S301 - our own
    assert again.runnables[names[0]].kwargs == {"extra_headers": {"X-Team": "a"}}
