"""Temperature, length, stops and time limits reach real clients in their own words.

Each client of a partner package asks a server on loopback, which keeps what it was sent. A package
that is not installed is skipped.
"""

from __future__ import annotations

import json
from importlib import import_module

import pytest
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI

from tryage_langchain import ChatTryage
from tryage_langchain._arguments import translate_parameters
from tryage_langchain.testing import ScriptedChatModel

ALL = {"temperature": 0.2, "max_tokens": 77, "stop": ["END"], "timeout": 9.0}


def make_client(package, name, **settings):
    pytest.importorskip(package)
    return getattr(import_module(package), name)(**settings)


# Class -> how a client is made, and what its server gets.
CLIENTS = {
    "ChatOpenAI": (
        lambda url: make_client(
            "langchain_openai", "ChatOpenAI", model="gpt-4o", api_key="x", base_url=f"{url}/v1"
        ),
        {"temperature": 0.2, "max_completion_tokens": 77, "stop": ["END"]},
    ),
    "ChatAnthropic": (
        lambda url: make_client(
            "langchain_anthropic",
            "ChatAnthropic",
            model="claude-3-5-haiku-latest",
            api_key="x",
            base_url=url,
        ),
        {"temperature": 0.2, "max_tokens": 77, "stop_sequences": ["END"]},
    ),
    "ChatOllama": (
        lambda url: make_client("langchain_ollama", "ChatOllama", model="m", base_url=url, seed=5),
        {"options": {"temperature": 0.2, "num_predict": 77, "stop": ["END"], "seed": 5}},
    ),
    "ChatGoogleGenerativeAI": (
        lambda url: make_client(
            "langchain_google_genai",
            "ChatGoogleGenerativeAI",
            model="gemini-2.0-flash",
            api_key="x",
            base_url=url,
            transport="rest",
            top_k=3,
        ),
        {
            "generationConfig": {
                "temperature": 0.2,
                "maxOutputTokens": 77,
                "stopSequences": ["END"],
                "topK": 3,
            }
        },
    ),
    "ChatMistralAI": (
        lambda url: make_client(
            "langchain_mistralai", "ChatMistralAI", model="m", api_key="x", endpoint=f"{url}/v1"
        ),
        {"temperature": 0.2, "max_tokens": 77, "stop": ["END"]},
    ),
    "ChatGroq": (
        lambda url: make_client("langchain_groq", "ChatGroq", model="m", api_key="x", base_url=url),
        {"temperature": 0.2, "max_tokens": 77, "stop": ["END"]},
    ),
    "ChatDeepSeek": (
        lambda url: make_client(
            "langchain_deepseek", "ChatDeepSeek", model="m", api_key="x", api_base=f"{url}/v1"
        ),
        {"temperature": 0.2, "max_tokens": 77, "stop": ["END"]},
    ),
}


def contains(body, expected):
    return all(
        contains(body[key], value) if isinstance(value, dict) else body.get(key) == value
        for key, value in expected.items()
    )


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("given", ["fields", "arguments"])
@pytest.mark.parametrize("method", ["invoke", "ainvoke", "batch", "abatch"])
async def test_parameters_reach_a_client_in_its_own_words(
    providers, router, call_chat, method, name, given
):
    make, expected = CLIENTS[name]
    client = make(providers.url)
    fields, arguments = (ALL, {}) if given == "fields" else ({}, ALL)
    chat = ChatTryage.from_models({"big": client}, router=router, **fields)
    answer = await call_chat(method, chat, "big question", **arguments)
    assert answer.text == "4"
    body = providers.bodies.pop()
    assert contains(body, expected)
    assert "timeout" not in json.dumps(body), "the time limit is the client's, not the server's"


@pytest.mark.parametrize("name", CLIENTS)
def test_without_parameters_a_client_keeps_its_own(providers, router, name):
    make, _ = CLIENTS[name]
    client = make(providers.url)
    client.invoke("big question")
    alone = providers.bodies.pop()
    ChatTryage.from_models({"big": client}, router=router).invoke("big question")
    assert providers.bodies.pop() == alone


def test_a_temperature_that_the_profile_refuses_is_left_out(providers, router):
    model = ChatOpenAI(model="gpt-5-mini", api_key="x", base_url=f"{providers.url}/v1")
    assert model.profile["temperature"] is False
    chat = ChatTryage.from_models({"big": model}, router=router, temperature=0, max_tokens=5)
    chat.invoke("big question")
    body = providers.bodies.pop()
    assert "temperature" not in body
    assert body["max_completion_tokens"] == 5


def test_stops_of_ollama_itself_and_of_the_call_do_not_clash():
    ollama = pytest.importorskip("langchain_ollama")
    model = ollama.ChatOllama(model="m", stop=["mine"], num_ctx=9)
    kwargs = translate_parameters(model, {"stop": ["END"]})
    options = model._chat_params([], **kwargs)["options"]
    assert options == {"stop": ["END"], "num_ctx": 9}


def test_the_options_of_ollama_are_all_those_that_the_model_has():
    ollama = pytest.importorskip("langchain_ollama")
    options = {
        "mirostat": 1, "mirostat_eta": 0.1, "mirostat_tau": 5.0, "num_ctx": 9, "num_gpu": 1,
        "num_thread": 2, "repeat_last_n": 3, "repeat_penalty": 1.1, "seed": 4, "tfs_z": 1.0,
        "top_k": 5, "top_p": 0.5,
    }  # fmt: skip
    model = ollama.ChatOllama(model="m", **options)
    kwargs = translate_parameters(model, {"temperature": 0.0})
    assert model._chat_params([], **kwargs)["options"] == {**options, "temperature": 0.0}


def test_other_arguments_and_other_runnables_are_left_alone():
    arguments = {**ALL, "tools": [], "seed": 1}
    assert translate_parameters(RunnableLambda(str), arguments) == arguments
    assert translate_parameters(ScriptedChatModel(), {"seed": 1}) == {"seed": 1}
    assert translate_parameters(ScriptedChatModel(), arguments) == {
        "temperature": 0.2, "max_tokens": 77, "stop": ["END"], "tools": [], "seed": 1,
    }  # fmt: skip


def test_a_time_limit_is_at_least_positive(router):
    with pytest.raises(ValueError, match="timeout"):
        ChatTryage.from_models({"big": ScriptedChatModel()}, router=router, timeout=0)
