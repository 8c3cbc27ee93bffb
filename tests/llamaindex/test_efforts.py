"""Efforts reach each provider in its own parameter: real LLMs ask a loopback server."""

from __future__ import annotations

import pickle
from importlib import import_module

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool

from tryage import Expert
from tryage.errors import InputError
from tryage_llamaindex import TryageLLM
from tryage_llamaindex._efforts import llm_with_effort, offered_efforts, own_effort
from tryage_llamaindex.testing import ScriptedLLM

MESSAGES = [ChatMessage("2 + 2?")]


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


TOOL = FunctionTool.from_defaults(add)


# Real LLMs, and what their server gets -----------------------------------------------------------


def openai(url, model="gpt-5-mini", **settings):
    module = pytest.importorskip("llama_index.llms.openai")
    return module.OpenAI(model=model, api_key="k", api_base=f"{url}/v1", max_retries=0, **settings)


def anthropic(url, model="claude-haiku-4-5", **settings):
    module = pytest.importorskip("llama_index.llms.anthropic")
    return module.Anthropic(model=model, api_key="k", base_url=url, max_retries=0, **settings)


def gemini(url, model="gemini-3.5-flash"):
    module = pytest.importorskip("llama_index.llms.google_genai")
    options = import_module("google.genai.types").HttpOptions(base_url=url)
    return module.GoogleGenAI(model=model, api_key="k", context_window=9_000, http_options=options)


def ollama(url, model="gpt-oss:20b"):
    module = pytest.importorskip("llama_index.llms.ollama")
    return module.Ollama(model=model, base_url=url, context_window=4_096)


def mistral(url):
    module = pytest.importorskip("llama_index.llms.mistralai")
    return module.MistralAI(model="mistral-small-latest", api_key="k", endpoint=url, max_retries=1)


CASES = {
    "OpenAI": (openai, ("reasoning_effort",), "low"),
    "Claude with budgets": (
        anthropic, ("thinking",), {"type": "enabled", "budget_tokens": 1_024},
    ),
    "Claude with levels": (
        lambda url: anthropic(url, "claude-opus-4-6"), ("output_config", "effort"), "low",
    ),
    "Gemini 3.5": (gemini, ("generationConfig", "thinkingConfig", "thinking_level"), "low"),
    "Gemini 2.5": (
        lambda url: gemini(url, "gemini-2.5-flash"),
        ("generationConfig", "thinkingConfig", "thinking_budget"),
        1_024,
    ),
    "Ollama": (ollama, ("think",), "low"),
    "Mistral": (mistral, ("reasoning_effort",), "low"),
}  # fmt: skip


def find(body, *path):
    for key in path:
        body = body.get(key) if isinstance(body, dict) else None
    return body


async def consume(chunks):
    return [chunk async for chunk in await chunks]


CALLS = {
    "chat": lambda llm: llm.chat(MESSAGES),
    "stream_chat": lambda llm: list(llm.stream_chat(MESSAGES)),
    "complete": lambda llm: llm.complete("2 + 2?"),
    "chat_with_tools": lambda llm: llm.chat_with_tools([TOOL], user_msg="2 + 2?"),
}


def check_sent(providers, case, *, has_tools=False):
    _, path, expected = CASES[case]
    body = providers.bodies[-1]
    sent = find(body, *path)
    assert (sent.lower() if isinstance(sent, str) else sent) == expected
    assert bool(body.get("tools")) == has_tools


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("case", CASES)
def test_an_effort_arrives_in_the_providers_own_parameter(providers, case, call):
    make, path, _ = CASES[case]
    child = make(providers.url)
    CALLS[call](TryageLLM.from_llms({"it@low": child}))
    check_sent(providers, case, has_tools="tools" in call)
    child.chat(MESSAGES)  # the user's own object is as it was
    assert find(providers.bodies[-1], *path) is None


@pytest.mark.parametrize("case", CASES)
async def test_an_effort_arrives_with_awaited_answers_and_streams(providers, case):
    llm = TryageLLM.from_llms({"it@low": CASES[case][0](providers.url)})
    await llm.achat(MESSAGES)
    check_sent(providers, case)
    await consume(llm.astream_chat_with_tools([TOOL], user_msg="2 + 2?"))
    check_sent(providers, case, has_tools=True)


def test_claude_with_a_budget_has_room_for_its_answer(providers):
    llm = TryageLLM.from_llms({"it@medium": anthropic(providers.url, max_tokens=300)})
    llm.chat(MESSAGES)
    assert providers.bodies[-1]["max_tokens"] == 4_396
    assert providers.bodies[-1]["temperature"] == 1
    llm.chat(MESSAGES, max_tokens=100, temperature=0.0)
    assert providers.bodies[-1]["max_tokens"] == 4_196
    assert providers.bodies[-1].get("temperature") == 1


# The experts --------------------------------------------------------------------------------------


def experts_of(llms, **settings):
    return {expert.name: expert for expert in TryageLLM.from_llms(llms, **settings)._pool.library}


def test_each_effort_of_a_model_that_reasons_is_an_expert(providers):
    llms = [ollama(providers.url), ollama(providers.url, "llama3"), gemini(providers.url)]
    experts = experts_of(llms, efforts=["high", "low"])
    assert {name: expert.effort for name, expert in experts.items()} == {
        "gpt-oss:20b@high": "high",
        "gpt-oss:20b@low": "low",
        "llama3": None,
        "gemini-3.5-flash@high": "high",
        "gemini-3.5-flash@low": "low",
    }
    assert list(experts_of(llms[:1], efforts=True)) == [
        f"gpt-oss:20b@{effort}" for effort in ("low", "medium", "high")
    ]


def test_a_function_is_named_with_its_effort(providers):
    llm = TryageLLM.from_llms({"gpt-oss@high": lambda: ollama(providers.url)})
    llm.chat(MESSAGES)
    assert providers.bodies[-1]["think"] == "high"


def test_an_llm_with_an_effort_of_its_own_is_named_by_it(providers):
    low, high = (llm_with_effort(ollama(providers.url), effort) for effort in ("low", "high"))
    experts = experts_of([low, high], efforts=True)
    assert list(experts) == ["gpt-oss:20b@low", "gpt-oss:20b@high"]


def test_an_llm_without_a_known_parameter_is_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match=r"how a ScriptedLLM takes .* 'low'.*effort='low'"):
        TryageLLM.from_llms({"it@low": ScriptedLLM(model="x")})
    told = experts_of({"it": ScriptedLLM(model="x")}, experts=[Expert("it", effort="low")])
    assert told["it"].effort == "low"


def test_efforts_survive_pickles_and_dicts(providers):
    llm = TryageLLM.from_llms([ollama(providers.url)], efforts=["low"])
    copy = pickle.loads(pickle.dumps(llm))  # noqa: S301 - our own bytes
    copy.chat(MESSAGES)
    assert providers.bodies[-1]["think"] == "low"
    again = TryageLLM.from_dict(llm.to_dict(), llms=[ollama(providers.url)])
    assert list(again._pool.library.names) == ["gpt-oss:20b@low"]
    assert "k" not in str(llm.to_dict()["llms"])


def test_no_effort_turns_the_thinking_off(providers):
    TryageLLM.from_llms({"it@none": ollama(providers.url, "qwen3")}).chat(MESSAGES)
    assert providers.bodies[-1]["think"] is False


# Classes whose packages are not installed here, as their source reads ----------------------------


def stand_in(package, **fields):
    """Return an LLM of a class of a package of LlamaIndex, with some fields."""
    annotations = {
        "additional_kwargs": dict,
        **{name: type(value) for name, value in fields.items()},
    }
    namespace = {"__module__": f"llama_index.llms.{package}.base", "__annotations__": annotations}
    cls = type("Model", (ScriptedLLM,), {**namespace, "additional_kwargs": {}, **fields})
    return cls(model=fields.get("model", "m"))


@pytest.mark.parametrize("package", ["groq", "deepseek", "litellm", "openai_like", "azure_openai"])
def test_compatible_packages_get_it_among_their_other_arguments(package):
    made = llm_with_effort(stand_in(package, additional_kwargs={"seed": 1}), "high")
    assert made.additional_kwargs == {"seed": 1, "reasoning_effort": "high"}
    assert own_effort(made) == "high"


def test_openrouter_and_the_responses_api_get_an_object():
    body = {"provider": {"order": ["x"]}}
    made = llm_with_effort(stand_in("openrouter", additional_kwargs={"extra_body": body}), "low")
    assert made.additional_kwargs == {"extra_body": {**body, "reasoning": {"effort": "low"}}}
    responses = llm_with_effort(stand_in("openai", reasoning_options={"summary": "auto"}), "low")
    assert responses.reasoning_options == {"summary": "auto", "effort": "low"}


@pytest.mark.parametrize(
    ("limit", "sent"), [(300, 4_396), (4_200, 8_296), (8_192, 8_192), (64_000, 64_000)]
)
def test_a_limit_that_leaves_claude_room_for_its_answer_stays(limit, sent):
    claude = stand_in("anthropic", model="claude-haiku-4-5", max_tokens=limit, thinking_dict={},
                      temperature=0.1)  # fmt: skip
    made = llm_with_effort(claude, "medium")
    assert (made.max_tokens, made.temperature) == (sent, 1.0)
    assert made.thinking_dict == {"type": "enabled", "budget_tokens": 4_096}


def test_claude_on_bedrock_thinks_with_a_budget_and_room_for_its_answer():
    claude = stand_in("bedrock_converse", model="claude-x", max_tokens=300, thinking={},
                      temperature=0.1)  # fmt: skip
    made = llm_with_effort(claude, "medium")
    assert made.thinking == {"type": "enabled", "budget_tokens": 4_096}
    assert (made.max_tokens, made.temperature) == (4_396, 1.0)
    made = llm_with_effort(claude, "none")
    assert (made.thinking, made.max_tokens, made.temperature) == ({}, 300, 0.1)
    with pytest.raises(InputError, match="how a Model takes"):
        llm_with_effort(stand_in("bedrock_converse", model="titan"), "low")


def test_which_efforts_an_llm_offers():
    assert offered_efforts("gpt-5", ScriptedLLM(model="gpt-5")) == ()
    assert offered_efforts("x", stand_in("openai", model="gpt-5")) == ("low", "medium", "high")
    assert offered_efforts("x", stand_in("ollama", model="qwen3")) == ()
    assert offered_efforts("gpt-5", lambda: None) == ("low", "medium", "high")
