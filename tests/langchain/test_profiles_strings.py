"""What a string for `init_chat_model` says: its profile, and the string of an expert."""

from __future__ import annotations

import subprocess
import sys

import pytest
from langchain_openai import ChatOpenAI

from tryage import Expert, Router
from tryage.errors import InputError
from tryage_langchain import ChatTryage, TryageRouter, model_string
from tryage_langchain._profiles import PROVIDER_PACKAGES, profile_of_string

OPENAI = ("gpt-5", "gpt-5-mini", "o3", "gpt-4o-mini", "gpt-4.1")

# The profile of a string -------------------------------------------------------------------------


@pytest.mark.parametrize("model", OPENAI)
def test_a_string_knows_as_much_as_the_object_that_it_makes(model):
    made = ChatOpenAI(model=model, api_key="x")
    (of_string,) = ChatTryage.from_models({"a": f"openai:{model}"})._pool.library
    (of_object,) = ChatTryage.from_models({"a": made})._pool.library
    assert of_string == of_object
    assert of_string.context_length == made.profile["max_input_tokens"]
    assert "pdf" in of_string.capabilities or not made.profile["pdf_inputs"]
    assert profile_of_string(model) == profile_of_string(f"openai:{model}"), "without a provider"


def test_the_profile_of_a_string_needs_no_key_and_imports_no_client():
    code = (
        "import sys; from tryage_langchain._profiles import profile_of_string as p; "
        "print(p('openai:gpt-5')['max_input_tokens'], 'openai' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - this interpreter
    assert done.stdout.split()[1] == "False"
    assert int(done.stdout.split()[0]) > 100_000


@pytest.mark.parametrize("model", ["openai:nothing-like-it", "ollama:llama3", "upstage:x", "x", ""])
def test_a_string_without_a_profile_has_an_empty_one(model):
    assert profile_of_string(model) == {}


def test_a_caller_may_change_the_profile_that_it_gets():
    profile_of_string("openai:gpt-5").clear()
    assert profile_of_string("openai:gpt-5")


# The string of an expert -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expert",
    [
        Expert("openai:gpt-4o"),
        Expert("gpt", aliases=("acme/gpt", "gpt:4o", "openai:gpt-4o")),
        Expert("openai:old", metadata={"chat_model": "openai:gpt-4o"}),
    ],
)
def test_an_expert_has_the_string_that_init_chat_model_takes(expert):
    assert model_string(expert) == "openai:gpt-4o"


@pytest.mark.parametrize("name", ["gpt-4o", "llama3:8b", "openai:", ":gpt-4o", "meta/llama:free"])
def test_a_name_without_a_provider_is_refused(name):
    with pytest.raises(InputError, match=r"init_chat_model.*openai:gpt-4o"):
        model_string(Expert(name))


def test_a_router_before_model_string_yields_the_string(perception):
    router = Router(perception, [Expert("small"), Expert("big", aliases=("xai:grok-4",))])
    assert (TryageRouter(router) | model_string).invoke("big") == "xai:grok-4"


def test_every_known_provider_is_one_of_init_chat_model():
    base = pytest.importorskip("langchain.chat_models.base")
    assert set(base._BUILTIN_PROVIDERS) >= set(PROVIDER_PACKAGES)
