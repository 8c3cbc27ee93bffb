"""Which experts chat models are, what is known of them, how they are made and named."""

from __future__ import annotations

import datetime
import re

import pytest
from langchain_openai import ChatOpenAI
from pydantic import ValidationError

from tryage import Expert, Router
from tryage.errors import InputError
from tryage.hub.catalog import Catalogue
from tryage.hub.parse import parse_model
from tryage.testing import FixedPerception
from tryage_langchain import ChatTryage
from tryage_langchain._clients import ChatModelPool
from tryage_langchain.testing import ScriptedChatModel

SECRET = "sk-proj-verysecretindeed"  # noqa: S105 - not a real key


def openai(name, **settings):
    return ChatOpenAI(model=name, api_key=SECRET, base_url="http://127.0.0.1:9/v1", **settings)


def library(chat):
    return chat._pool.library


# Facts -------------------------------------------------------------------------------------------


def test_models_are_recognised_and_their_known_facts_are_filled_in():
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


def test_recognised_models_have_the_predictions_of_the_bundled_router():
    chat = ChatTryage.from_models({"mini": openai("gpt-4o-mini"), "old": "openai:gpt-3.5-turbo"})
    losses = {
        r.name: r.predicted_loss for r in chat._session.chat_router.router.route("2 + 2?").ranking
    }
    bundled = Router.from_pretrained().route("2 + 2?").ranking
    assert losses["mini"] == pytest.approx(bundled.entry("gpt-4o-mini").predicted_loss)
    assert losses["old"] == pytest.approx(bundled.entry("gpt-3.5-turbo").predicted_loss)


def test_one_model_at_two_providers_has_one_prediction_and_each_can_answer():
    first = ScriptedChatModel(model="gpt-4o", fails=[TimeoutError()])
    second = ScriptedChatModel(model="openai/gpt-4o")
    chat = ChatTryage.from_models({"here": first, "there": second, "other": "openai:gpt-4-turbo"})
    ranking = chat._session.chat_router.router.route("2 + 2?").ranking
    assert ranking.entry("here").predicted_loss == ranking.entry("there").predicted_loss
    assert ranking.entry("other").predicted_loss != ranking.entry("here").predicted_loss
    assert chat.invoke("2 + 2?", model="there").text


def test_the_users_facts_win_over_all_others():
    facts = Expert("mini", input_price=9.0, cached_input_price=1.0, capabilities=["tools"])
    chat = ChatTryage.from_models({"mini": openai("gpt-4o-mini")}, experts=[facts])
    (mini,) = library(chat)
    assert (mini.input_price, mini.cached_input_price, mini.output_price) == (9.0, 1.0, 0.60)
    assert mini.capabilities == {"tools", "structured_output"}
    assert mini.context_length == 128_000


def test_facts_from_the_users_catalogue_have_their_source_in_the_explanation(tmp_path, monkeypatch):
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
    expert = library(chat)["new"]
    assert (expert.parameters, expert.context_length, expert.aliases) == (
        9e9,
        64_000,
        ("org/new-9b",),
    )
    explanation = chat._session.chat_router.router.route("2 + 2?").explain()
    assert re.search(r"Facts about new: parameters from .+ \(2026-11-20\)\.", explanation)


def test_a_profile_wins_over_the_library_and_its_unknown_fields_stay_unknown():
    profile = {"max_input_tokens": 64_000, "tool_calling": True, "image_inputs": False}
    model = ScriptedChatModel(model="gpt-4o-mini", profile=profile)
    (mini,) = library(ChatTryage.from_models([model]))
    assert mini.context_length == 64_000
    unlisted = {"vision", "audio", "video", "pdf", "files", "reasoning"}
    assert mini.capabilities == {"tools", "structured_output", *unlisted}
    bare = ScriptedChatModel(model="mine", profile={"release_date": "2025-01"})
    (mine,) = library(ChatTryage.from_models([bare]))
    assert mine.to_dict() == {"name": "mine"}


def test_the_profile_has_the_abilities_of_every_model():
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
    old = openai("gpt-3.5-turbo").profile
    assert (strings["tool_calling"], strings["image_inputs"]) == (old["tool_calling"], False)
    given = {"max_input_tokens": 7}
    assert ChatTryage.from_models(models, profile=given).profile == given


# Making models -----------------------------------------------------------------------------------


def test_a_model_is_made_once_when_it_is_first_chosen():
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


def test_strings_go_to_init_chat_model_with_the_other_settings(monkeypatch):
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


@pytest.mark.parametrize(
    ("model", "meant"),
    [
        ("opnai:gpt-5", "openai:gpt-5"),
        ("Antropic:claude-haiku-4-5", "anthropic:claude-haiku-4-5"),
        ("OpenAI:gpt-5", "openai:gpt-5"),
        ("google-genai:gemini-3", "google_genai:gemini-3"),
        ("azure:gpt-5@low", "azure_ai:gpt-5 or azure_openai:gpt-5"),
    ],
)
def test_a_misspelt_provider_is_refused_before_any_call(model, meant):
    pytest.importorskip("langchain.chat_models")
    with pytest.raises((InputError, ValidationError), match=f"Did you mean {meant}"):
        ChatTryage.from_models([model, "openai:gpt-5-mini"])


@pytest.mark.parametrize("model", ["mistral:7b", "llama3:8b", "gemma:2b", "gpt-5", "qwen3-8b"])
def test_a_name_without_a_provider_is_taken_as_it_is(model):
    assert list(ChatModelPool({"m": model}, {})) == ["m"]


def test_a_provider_that_the_settings_name_makes_any_string_good():
    assert ChatModelPool({"m": "opnai:gpt-5"}, {"model_provider": "openai"})
