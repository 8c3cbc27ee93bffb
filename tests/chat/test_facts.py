"""What is known of clients, who is whose twin, and what of their settings is a secret."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from tryage import Expert
from tryage.chat.model_names import group_identical_experts, model_name_of, name_models
from tryage.core.client_errors import is_secret, without_secrets
from tryage.errors import InputError


def test_models_in_a_list_are_named_after_what_they_call():
    one, other = SimpleNamespace(model="gpt-4o"), SimpleNamespace(model_name="my-own")
    assert name_models([one, other], model_name_of) == {"gpt-4o": one, "my-own": other}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("gpt-4o", "The models are a str"),
        (7, "The models are a int"),
        ([SimpleNamespace()], "has no name"),
        ([SimpleNamespace(model="a"), SimpleNamespace(model="a")], "Two models are called 'a'"),
    ],
)
def test_models_that_cannot_be_named_are_refused(given, told):
    with pytest.raises(InputError, match=told):
        name_models(given, model_name_of)


def test_one_model_at_two_providers_has_a_twin():
    experts = [Expert("here", aliases=["gpt-4o"]), Expert("there", aliases=["gpt-4o"])]
    alone, equal = group_identical_experts(experts)
    assert equal == {"there": "here"}
    assert [expert.aliases for expert in alone] == [("gpt-4o",), ()]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key", "anything"),
        ("openai_api_key", "x"),
        ("hf_token", "x"),
        ("apiKey", "x"),
        ("x-api-key", "x"),
        ("Authorization", "Bearer x"),
        ("aws_credentials", {"a": 1}),
        ("whatever", SecretStr("x")),
        ("api_base", "https://user:word@host/v1"),
        ("note", "sk-abcdefgh"),
    ],
)
def test_a_credential_is_known_by_its_name_its_type_or_its_looks(name, value):
    assert is_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 5),
        ("tokenizer", "gpt2"),
        ("eos_token_id", 2),
        ("api_key", None),
        ("api_base", "https://host/v1"),
        ("model", "gpt-4o"),
    ],
)
def test_other_settings_are_kept(name, value):
    assert not is_secret(name, value)


def test_credentials_are_left_out_at_any_depth():
    given = {"a": {"Authorization": "x", "b": ["sk-abcdefgh", "kept"]}, "c": ({"token": "x"},)}
    assert without_secrets(given) == {"a": {"b": ["kept"]}, "c": ({},)}
