"""ChatTryage from what people already have: objects, strings, functions; facts and secrets."""

from __future__ import annotations

import copy
import datetime
import pickle
import re
import sys
import types

import pytest
from langchain_openai import ChatOpenAI
from pydantic import ValidationError

from tryage import Expert, Library, Router
from tryage.errors import MissingExtraError
from tryage.hub.catalog import Catalogue
from tryage.hub.parse import parse_model
from tryage.testing import FixedPerception
from tryage_langchain import ChatTryage
from tryage_langchain.testing import ScriptedChatModel

SECRET = "sk-proj-verysecretindeed"  # noqa: S105 - no key of anybody


def openai(name, **settings):
    return ChatOpenAI(model=name, api_key=SECRET, base_url="http://127.0.0.1:9/v1", **settings)


def library(chat):
    return chat._pool.library


def test_models_are_recognised_and_what_is_known_of_them_is_filled_in():
    chat = ChatTryage.from_models([openai("gpt-4o-mini"), "anthropic:claude-3-5-sonnet-latest"])
    mini, sonnet = library(chat)
    assert (mini.name, mini.aliases) == ("gpt-4o-mini", ("gpt-4o-mini-2024-07-18",))
    assert (mini.input_price, mini.output_price) == (0.15, 0.60)  # of the bundled library
    assert mini.context_length == 128_000
    assert mini.released == datetime.date(2024, 7, 18)
    assert {"tools", "vision", "structured_output"} <= mini.capabilities
    assert sonnet.name == "anthropic:claude-3-5-sonnet-latest"
    assert sonnet.aliases == ("claude-3-5-sonnet-20241022",)
    assert sonnet.context_length == 200_000


def test_recognised_models_are_told_apart_by_the_bundled_router():
    chat = ChatTryage.from_models({"mini": openai("gpt-4o-mini"), "old": "openai:gpt-3.5-turbo"})
    losses = {
        r.name: r.predicted_loss for r in chat._session.chat_router.router.route("2 + 2?").ranking
    }
    bundled = Router.from_pretrained().route("2 + 2?").ranking
    assert losses["mini"] == pytest.approx(bundled.entry("gpt-4o-mini").predicted_loss)
    assert losses["old"] == pytest.approx(bundled.entry("gpt-3.5-turbo").predicted_loss)


def test_one_model_at_two_providers_is_predicted_alike_and_one_can_stand_in():
    first = ScriptedChatModel(model="gpt-4o", fails=[TimeoutError()])
    second = ScriptedChatModel(model="openai/gpt-4o")
    chat = ChatTryage.from_models({"here": first, "there": second, "other": "openai:gpt-4-turbo"})
    ranking = chat._session.chat_router.router.route("2 + 2?").ranking
    assert ranking.entry("here").predicted_loss == ranking.entry("there").predicted_loss
    assert ranking.entry("other").predicted_loss != ranking.entry("here").predicted_loss
    assert chat.invoke("2 + 2?", model="there").text


def test_what_the_user_says_of_a_model_counts_before_all_else():
    told = Expert("mini", input_price=9.0, cached_input_price=1.0, capabilities=["tools"])
    chat = ChatTryage.from_models({"mini": openai("gpt-4o-mini")}, experts=[told])
    (mini,) = library(chat)
    assert (mini.input_price, mini.cached_input_price, mini.output_price) == (9.0, 1.0, 0.60)
    assert mini.capabilities == {"tools", "structured_output"}
    assert mini.context_length == 128_000


def test_facts_come_from_the_users_catalogue_of_the_hub_and_the_explanation_says_so(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("TRYAGE_HOME", str(tmp_path))
    seen = datetime.datetime(2026, 11, 20, tzinfo=datetime.timezone.utc)
    sizes = {"total": 9 * 10**9, "parameters": {"BF16": 9 * 10**9}}
    record = {"_id": "1" * 24, "id": "org/new-9b", "safetensors": sizes, "downloads": 7}
    Catalogue().put([parse_model(record, seen)])
    profile = {"max_input_tokens": 64_000}
    new = ScriptedChatModel(model="together:org/new-9b", profile=profile)
    chat = ChatTryage.from_models(
        {"new": new, "mini": openai("gpt-4o-mini")}, preferences={"weights": {"size": 9.0}}
    )
    found = library(chat)["new"]
    assert (found.parameters, found.context_length, found.aliases) == (9e9, 64_000, ("org/new-9b",))
    told = chat._session.chat_router.router.route("2 + 2?").explain()
    assert re.search(r"Facts about new: parameters from .+ \(2026-11-20\)\.", told)


def test_a_profile_counts_before_the_library_and_what_it_leaves_open_stays_open():
    profile = {"max_input_tokens": 64_000, "tool_calling": True, "image_inputs": False}
    model = ScriptedChatModel(model="gpt-4o-mini", profile=profile)
    (mini,) = library(ChatTryage.from_models([model]))
    assert mini.context_length == 64_000
    assert mini.capabilities == {"tools", "structured_output", "vision", "audio", "reasoning"}
    bare = ScriptedChatModel(model="mine", profile={"release_date": "2025-01"})
    (mine,) = library(ChatTryage.from_models([bare]))
    assert mine.to_dict() == {"name": "mine"}


def test_the_profile_is_what_every_model_can():
    wide = {"max_input_tokens": 200, "max_output_tokens": 20, "tool_calling": True,
            "image_inputs": True, "image_url_inputs": True, "audio_inputs": False}  # fmt: skip
    narrow = {"max_input_tokens": 100, "max_output_tokens": 50, "tool_calling": True,
              "image_inputs": False, "image_url_inputs": False, "audio_inputs": False}  # fmt: skip
    models = {"a": ScriptedChatModel(profile=wide), "b": ScriptedChatModel(profile=narrow)}
    profile = ChatTryage.from_models(models).profile
    assert profile["max_input_tokens"] == 100
    assert profile["max_output_tokens"] == 20
    assert profile["tool_calling"] is True
    assert profile["image_inputs"] is False
    models["c"] = ScriptedChatModel()
    assert ChatTryage.from_models(models).profile is None
    strings = ChatTryage.from_models(["openai:gpt-4o-mini", "openai:gpt-3.5-turbo"]).profile
    assert strings["max_input_tokens"] == 16_385
    assert (strings["tool_calling"], strings["image_inputs"]) == (True, False)
    given = {"max_input_tokens": 7}
    assert ChatTryage.from_models(models, profile=given).profile == given


def test_a_router_of_ones_own_keeps_its_constraints_default_and_preferences():
    own = Library([Expert("small", parameters=1e9), Expert("big", parameters=1e11)])
    router = Router(FixedPerception({"small": 0.3, "big": 0.2}), own, default="small", strict=True)
    models = {"quick": ScriptedChatModel(model="small"), "big": ScriptedChatModel(model="big")}
    chat = ChatTryage.from_models(models, router=router)
    inner = chat._session.chat_router.router
    assert (inner.default, inner.strict) == ("quick", True)
    assert chat.invoke("a").response_metadata["tryage"]["scores"] == {"big": 0.2, "quick": 0.3}


def test_a_model_is_made_when_it_is_first_chosen_and_once():
    made = []

    def make(name):
        def maker():
            made.append(name)
            return ScriptedChatModel(model=name)

        return maker

    router = Router(FixedPerception({"a": 0.1, "b": 0.2}))
    chat = ChatTryage.from_models({"a": make("a"), "b": make("b")}, router=router)
    assert made == []
    chat.invoke("hello")
    chat.invoke("hello again")
    assert made == ["a"]


def test_strings_are_made_by_langchain_with_the_settings_that_are_not_ours(monkeypatch):
    seen = []

    def init_chat_model(spec, **settings):
        seen.append((spec, settings))
        return ScriptedChatModel(model=spec)

    monkeypatch.setattr("langchain.chat_models.init_chat_model", init_chat_model)
    chat = ChatTryage.from_models(
        ["openai:gpt-4o-mini"], temperature=0.5, timeout=9, api_key=SECRET, sticky="call"
    )
    assert chat.invoke("hello").text == "Hello from openai:gpt-4o-mini today"
    assert seen == [("openai:gpt-4o-mini", {"timeout": 9, "api_key": SECRET})]


async def test_strings_make_real_clients():
    chat = ChatTryage.from_models(["openai:gpt-4o-mini"], api_key=SECRET)
    assert isinstance(chat._clients.get_client("openai:gpt-4o-mini"), ChatOpenAI)


def hide(text):
    return SECRET not in str(text)


def test_no_key_is_in_a_repr_a_trace_a_cache_key_or_a_pickle():
    chat = ChatTryage.from_models(
        {"mini": openai("gpt-4o-mini"), "old": "openai:gpt-3.5-turbo"}, api_key=SECRET
    )
    chat._clients.get_client("old")
    assert hide(repr(chat))
    assert hide(chat)
    assert hide(chat._serialized)
    assert hide(chat._identifying_params)
    assert hide(chat._get_llm_string())
    assert hide(chat.bind_tools([]))
    assert hide(chat._session)
    strings = ChatTryage.from_models(["openai:gpt-3.5-turbo"], api_key=SECRET, timeout=3)
    strings._clients.get_client("openai:gpt-3.5-turbo")
    written = pickle.dumps(strings)
    assert SECRET.encode() not in written


def test_a_pickle_is_read_back_and_chooses_alike(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    chat = ChatTryage.from_models(
        ["openai:gpt-4o-mini", "openai:gpt-3.5-turbo"], api_key="another", sticky="thread"
    )
    chat._session.chat_router.plan(_asked("2 + 2?"))
    again = pickle.loads(pickle.dumps(chat))  # noqa: S301 - our own
    assert again.sticky == "thread"
    assert again._identifying_params == chat._identifying_params
    first, second = (one._session.chat_router.plan(_asked("2 + 2?")).first for one in (chat, again))
    assert first == second
    assert (
        again._clients.get_client("openai:gpt-4o-mini").openai_api_key.get_secret_value() == SECRET
    )


def _asked(text):
    from tryage.chat import Conversation, Turn

    return Conversation([Turn("user", text)])


def test_a_deep_copy_shares_the_clients():
    chat = ChatTryage.from_models({"mini": openai("gpt-4o-mini")})
    clone = copy.deepcopy(chat)
    assert clone._clients.get_client("mini") is chat._clients.get_client("mini")
    clone.metadata["mine"] = True
    assert "mine" not in chat.metadata


def test_copies_and_pickles_forget_conversations():
    router = Router(FixedPerception({"a": 0.1, "b": 0.2}))
    chat = ChatTryage.from_models({"a": ScriptedChatModel(), "b": "openai:b"}, router=router)
    chat.invoke("hello secret")
    assert chat._session.chat_router.last_served_by(_asked("hello secret")) == "a"
    assert copy.deepcopy(chat)._session.chat_router.last_served_by(_asked("hello secret")) is None
    again = pickle.loads(pickle.dumps(chat))  # noqa: S301 - our own
    assert again._session.chat_router.last_served_by(_asked("hello secret")) is None
    assert again.invoke("hello").response_metadata["tryage"]["model"] == "a"


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ([], "no models"),
        ({}, "no models"),
        ("openai:gpt-4o", "a list of chat models"),
        (7, "a list of chat models"),
        (["openai:gpt-4o", "openai:gpt-4o"], "Two models are called"),
        ([lambda: None], "has no name"),
        ({"a": 7}, "The model 'a' is a int"),
        ({"a": ScriptedChatModel(), "A": ScriptedChatModel()}, "Two experts are called 'A'"),
    ],
)
def test_what_cannot_be_a_choice_of_models_is_refused(models, told):
    with pytest.raises(ValueError, match=told):
        ChatTryage(models=models)


@pytest.mark.parametrize(
    "wrong",
    [{"sticky": "forever"}, {"default": "huge"}, {"model": "huge"}, {"max_attempts": 0},
     {"preferences": {"colour": 1}}, {"router": "bundled"}],
)  # fmt: skip
def test_wrong_settings_are_refused(wrong):
    with pytest.raises((ValidationError, ValueError)):
        ChatTryage(models={"a": ScriptedChatModel()}, **wrong)


def test_hub_candidates_become_chat_models_when_they_are_chosen(monkeypatch):
    made = []
    fake = types.ModuleType("langchain_huggingface")

    def endpoint(**settings):
        made.append(settings)
        return settings["repo_id"]

    fake.HuggingFaceEndpoint = endpoint
    fake.ChatHuggingFace = lambda llm: ScriptedChatModel(model=llm)
    fake.__spec__ = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "langchain_huggingface", fake)
    asked = []

    def from_hub(task, **query):
        asked.append((task, query))
        return Router(FixedPerception({"a/one": 0.3, "b/two": 0.1}))

    monkeypatch.setattr(Router, "from_hub", from_hub)
    chat = ChatTryage.from_hub(
        limit=2, model_settings={"max_new_tokens": 9}, chat={"sticky": "thread"}
    )
    assert asked == [("text-generation", {"served": True, "limit": 2})]
    assert (made, chat.sticky) == ([], "thread")
    assert chat.invoke("hello").text == "Hello from b/two today"
    assert made == [{"repo_id": "b/two", "provider": "auto", "max_new_tokens": 9}]


def test_hub_candidates_need_the_package_that_runs_them(monkeypatch):
    found = Router(FixedPerception({"a/one": 0.3}))
    monkeypatch.setattr(Router, "from_hub", lambda *_, **__: found)
    monkeypatch.setattr("tryage.core.validation.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tryage\[huggingface\]'"):
        ChatTryage.from_hub()
