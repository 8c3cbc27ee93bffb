"""Each class of chat models gets the settings that it has; a setting of no class is refused."""

from __future__ import annotations

import pytest
from langchain_openai import ChatOpenAI
from pydantic import Field, ValidationError

from tryage_langchain import ChatTryage
from tryage_langchain._arguments import translate_parameters
from tryage_langchain._clients import accepted_settings, model_class
from tryage_langchain.testing import ScriptedChatModel


def test_a_string_makes_the_class_that_langchain_makes():
    assert model_class("openai:gpt-4o", {}) is ChatOpenAI
    assert model_class("gpt-4o", {}) is ChatOpenAI
    assert model_class("mine", {"model_provider": "openai"}) is ChatOpenAI
    assert model_class("upstage:solar", {}) is None
    assert model_class("who knows", {}) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stickyy": "turn"}, "'stickyy' is not a setting.*Did you mean sticky"),
        ({"preference": {}}, "Did you mean preferences"),
        ({"reasoning_efort": "low"}, "Did you mean reasoning_effort"),
    ],
)
def test_a_misspelt_setting_has_the_nearest_name(settings, message):
    with pytest.raises(ValidationError, match=message):
        ChatTryage.from_models(["openai:gpt-4o", "openai:gpt-4o-mini"], **settings)


@pytest.mark.parametrize("settings", [{"stickyy": "turn"}, {"max_attempt": 1}, {"top_p": 0.5}])
def test_models_that_are_made_already_take_no_settings(settings):
    with pytest.raises(ValidationError, match="is not a setting of ChatTryage"):
        ChatTryage.from_models([ScriptedChatModel()], **settings)


def test_a_common_setting_that_changes_nothing_is_logged(caplog):
    ChatTryage.from_models([ScriptedChatModel()], max_retries=2)
    assert "max_retries" in caplog.text


def test_a_time_limit_is_not_said_to_change_nothing_because_each_call_has_it(caplog):
    chat = ChatTryage.from_models([model := ScriptedChatModel()], timeout=5, max_retries=2)
    assert "['max_retries'] change nothing" in caplog.text
    assert "timeout" not in caplog.text
    openai = ChatOpenAI(model="gpt-4o", api_key="k")
    assert chat._child_kwargs(None, {})["timeout"] == 5
    assert translate_parameters(openai, {"timeout": 5}) == {"timeout": 5}
    assert translate_parameters(model, {"timeout": 5}) == {}


def test_a_misspelt_setting_is_an_error_before_anything_is_logged(caplog):
    with pytest.raises(ValidationError):
        ChatTryage.from_models([ScriptedChatModel()], timeout=5, max_retries=2, stickyy="turn")
    assert caplog.text == ""


def test_each_class_gets_the_settings_that_it_has():
    class Other(ScriptedChatModel):
        client_kwargs: dict = Field(default_factory=dict)
        thinking: bool = False

    settings = {"thinking": True, "reasoning_effort": "low", "timeout": 3, "api_key": "x"}
    assert accepted_settings(Other, settings) == {
        "thinking": True, "api_key": "x", "client_kwargs": {"timeout": 3},
    }  # fmt: skip
    assert "thinking" not in accepted_settings(ChatOpenAI, settings)
    assert accepted_settings(None, settings) == settings


# Credentials that are given for all models ----------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{"api_key": "kwozqmtr"}, {"default_headers": {"Authorization": "kwozqmtr"}}],
    ids=["key", "header"],
)
def test_a_credential_for_models_of_two_providers_is_refused(settings):
    pytest.importorskip("langchain_anthropic")
    models = ["openai:gpt-5.4-mini", "anthropic:claude-opus-5"]
    with pytest.raises(
        ValueError, match=r"several providers \(ChatAnthropic, ChatOpenAI\)"
    ) as info:
        ChatTryage.from_models(models, **settings)
    assert "kwozqmtr" not in str(info.value)


@pytest.mark.parametrize(
    ("models", "settings"),
    [
        (["openai:gpt-5.4-mini", "openai:gpt-5.4"], {}),
        (["openai:gpt-5.4-mini", "anthropic:claude-opus-5"], {"base_url": "http://127.0.0.1:9"}),
    ],
    ids=["one provider", "one server"],
)
def test_a_credential_for_models_of_one_server_is_taken(models, settings):
    chat = ChatTryage.from_models(models, api_key="kwozqmtr", **settings)
    assert chat.settings["api_key"] == "kwozqmtr"


def test_a_credential_that_one_provider_alone_takes_is_taken():
    pytest.importorskip("langchain_anthropic")
    models = ["openai:gpt-5.4-mini", "anthropic:claude-opus-5"]
    assert ChatTryage.from_models(models, openai_api_key="kwozqmtr").settings
