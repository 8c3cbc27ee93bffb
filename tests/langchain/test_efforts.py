"""Efforts reach each provider in its own parameter: real client packages ask a loopback server."""

from __future__ import annotations

import pickle

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from tryage import Expert, Router
from tryage.errors import InputError
from tryage.testing import FunctionPerception
from tryage_langchain import ChatTryage, TryageRouter
from tryage_langchain._efforts import effort_values, offered_efforts, own_effort
from tryage_langchain.testing import ScriptedChatModel

openai = pytest.importorskip("langchain_openai")
anthropic = pytest.importorskip("langchain_anthropic")
google = pytest.importorskip("langchain_google_genai")
groq = pytest.importorskip("langchain_groq")
mistral = pytest.importorskip("langchain_mistralai")
ollama = pytest.importorskip("langchain_ollama")
deepseek = pytest.importorskip("langchain_deepseek")


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def chat_models(url):
    """Return chat models of real packages by case."""
    key, v1 = "none", f"{url}/v1"
    claude = {"api_key": key, "base_url": url, "max_retries": 0}
    gemini = {"api_key": key, "base_url": url, "max_retries": 1, "vertexai": False}
    return {
        "OpenAI": openai.ChatOpenAI(model="gpt-5-mini", api_key=key, base_url=v1),
        "Claude with levels": anthropic.ChatAnthropic(model="claude-opus-5-5", **claude),
        "Claude with budgets": anthropic.ChatAnthropic(model="claude-haiku-4-5", **claude),
        "Gemini 3.5": google.ChatGoogleGenerativeAI(model="gemini-3.5-flash", **gemini),
        "Gemini 2.5": google.ChatGoogleGenerativeAI(model="gemini-2.5-flash", **gemini),
        "Groq": groq.ChatGroq(model="openai/gpt-oss-20b", api_key=key, base_url=url),
        "Ollama": ollama.ChatOllama(model="gpt-oss:20b", base_url=url),
        "Mistral": mistral.ChatMistralAI(model="mistral-small-2603", api_key=key, base_url=v1),
        "DeepSeek": deepseek.ChatDeepSeek(model="deepseek-v4-pro", api_key=key, base_url=v1),
    }


def find(body, *path):
    for key in path:
        body = body.get(key) if isinstance(body, dict) else None
    return body


SENT_AT_LOW = {
    "OpenAI": (("reasoning_effort",), "low"),
    "Claude with levels": (("output_config", "effort"), "low"),
    "Claude with budgets": (("thinking",), {"type": "enabled", "budget_tokens": 1_024}),
    "Gemini 3.5": (("generationConfig", "thinkingConfig", "thinking_level"), "low"),
    "Gemini 2.5": (("generationConfig", "thinkingConfig", "thinking_budget"), 1_024),
    "Groq": (("reasoning_effort",), "low"),
    "Ollama": (("think",), "low"),
    "Mistral": (("reasoning_effort",), "low"),
    "DeepSeek": (("reasoning_effort",), "low"),
}


async def consume(chunks):
    return [chunk async for chunk in chunks]


CALLS = {
    "invoke": lambda chat: chat.invoke("2 + 2?"),
    "stream with tools": lambda chat: list(chat.bind_tools([add]).stream("2 + 2?")),
    "ainvoke with tools": lambda chat: chat.bind_tools([add]).ainvoke("2 + 2?"),
    "astream": lambda chat: consume(chat.astream("2 + 2?")),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("case", SENT_AT_LOW)
async def test_an_effort_arrives_in_the_providers_own_parameter(providers, case, call):
    model = chat_models(providers.url)[case]
    path, expected = SENT_AT_LOW[case]
    chat = ChatTryage.from_models({"it@low": model})
    answer = CALLS[call](chat)
    answer = await answer if hasattr(answer, "__await__") else answer
    sent = find(providers.bodies[-1], *path)
    assert (sent.lower() if isinstance(sent, str) else sent) == expected
    assert bool(providers.bodies[-1].get("tools")) == ("tools" in call)
    providers.bodies.clear()
    model.invoke("2 + 2?")  # the user's own object is as it was
    assert find(providers.bodies[-1], *path) is None


def test_claude_with_a_budget_gets_no_temperature_and_room_for_its_answer(providers):
    claude = chat_models(providers.url)["Claude with budgets"]
    claude.max_tokens = 300
    chat = ChatTryage.from_models({"it@medium": claude}, temperature=0, max_tokens=100)
    chat.invoke("2 + 2?")
    body = providers.bodies[-1]
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 4_096}
    assert (body["max_tokens"], "temperature" in body) == (4_196, False)
    ChatTryage.from_models({"it@medium": claude}).invoke("2 + 2?")
    assert providers.bodies[-1]["max_tokens"] == 4_396


def test_a_limit_that_leaves_claude_few_tokens_for_its_answer_is_raised(providers):
    claude = chat_models(providers.url)["Claude with budgets"]
    for limit, sent in ((4_200, 8_296), (8_192, 8_192), (64_000, 64_000)):
        claude.max_tokens = limit
        ChatTryage.from_models({"it@medium": claude}).invoke("2 + 2?")
        assert providers.bodies[-1]["max_tokens"] == sent


def test_no_effort_turns_the_reasoning_off(providers):
    off = {
        "OpenAI": (("reasoning_effort",), "none"),
        "Claude with budgets": (("thinking",), {"type": "disabled"}),
        "Gemini 2.5": (("generationConfig", "thinkingConfig", "thinking_budget"), 0),
        "Ollama": (("think",), False),
    }
    for case, (path, expected) in off.items():
        ChatTryage.from_models({"it@none": chat_models(providers.url)[case]}).invoke("2 + 2?")
        assert find(providers.bodies[-1], *path) == expected


# The experts -------------------------------------------------------------------------------------


def experts_of(models, **settings):
    return {
        expert.name: expert for expert in ChatTryage.from_models(models, **settings)._pool.library
    }


def test_each_effort_of_a_model_that_reasons_is_an_expert():
    experts = experts_of(["openai:gpt-5-mini", "openai:gpt-4o-mini"], efforts=True)
    assert list(experts) == [
        *(f"openai:gpt-5-mini@{effort}" for effort in ("low", "medium", "high")),
        "openai:gpt-4o-mini",
    ]
    assert [expert.effort for expert in experts.values()] == ["low", "medium", "high", None]


def test_only_the_efforts_that_are_wanted_and_that_a_model_takes_become_experts():
    models = ["google_genai:gemini-3-pro-preview", "openai:gpt-5.6", "ollama:qwen3"]
    assert list(experts_of(models, efforts=["xhigh", "medium", "low"])) == [
        "google_genai:gemini-3-pro-preview@low",
        *(f"openai:gpt-5.6@{effort}" for effort in ("xhigh", "medium", "low")),
        "ollama:qwen3",
    ]


def test_a_string_may_end_with_an_effort(providers, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    names = ["openai:gpt-5.6@low", "openai:gpt-5.6@high"]
    chat = ChatTryage.from_models(names, base_url=f"{providers.url}/v1")
    for name in names:
        answer = chat.invoke("2 + 2?", model=name)
        assert answer.response_metadata["tryage"]["model"] == name
        body = providers.bodies[-1]
        assert (body["model"], body["reasoning_effort"]) == ("gpt-5.6", name.partition("@")[2])


def test_an_object_with_an_effort_of_its_own_is_named_by_it():
    low, high = (
        openai.ChatOpenAI(model="gpt-5-mini", api_key="none", reasoning_effort=effort)
        for effort in ("low", "high")
    )
    experts = experts_of([low, high], efforts=True)
    assert {name: expert.effort for name, expert in experts.items()} == {
        "gpt-5-mini@low": "low",
        "gpt-5-mini@high": "high",
    }


def test_an_effort_among_the_settings_is_that_of_the_models_that_take_it():
    names = ["openai:gpt-5-mini", "openai:gpt-4o-mini"]
    experts = experts_of(names, reasoning_effort="low")
    assert [expert.effort for expert in experts.values()] == ["low", None]


def test_what_is_told_of_a_model_holds_for_all_of_its_efforts():
    told = [Expert("gpt-5-mini", input_price=7.0), Expert("openai:gpt-5-mini@high", latency=3.0)]
    experts = experts_of(["openai:gpt-5-mini"], efforts=["low", "high"], experts=told[:1])
    assert [expert.input_price for expert in experts.values()] == [7.0, 7.0]
    experts = experts_of(["openai:gpt-5-mini"], efforts=["low", "high"], experts=told[1:])
    assert [expert.latency for expert in experts.values()][1] == 3.0


def test_two_efforts_for_one_model_are_an_error():
    with pytest.raises(ValueError, match=r"'quick@low' is 'openai:gpt-5@high': two efforts"):
        ChatTryage.from_models({"quick@low": "openai:gpt-5@high"})
    with pytest.raises(ValueError, match=r"'hihg' is no effort.*Did you mean high"):
        ChatTryage.from_models(["openai:gpt-5"], efforts=["hihg"])
    with pytest.raises(ValueError, match=r"efforts is 'high'. Expected True"):
        ChatTryage.from_models(["openai:gpt-5"], efforts="high")


def test_a_chat_model_without_a_known_parameter_is_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match=r"how a ScriptedChatModel takes .* 'low'.*effort='low'"):
        ChatTryage.from_models({"it@low": ScriptedChatModel(model="x")})
    told = experts_of({"it": ScriptedChatModel(model="x")}, experts=[Expert("it", effort="low")])
    assert told["it"].effort == "low"


def test_efforts_survive_pickles_and_copies(providers, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    chat = ChatTryage.from_models(
        ["openai:gpt-5.6"], efforts=["low"], base_url=f"{providers.url}/v1"
    )
    for copy in (pickle.loads(pickle.dumps(chat)), chat.model_copy()):  # noqa: S301 - our own bytes
        copy.invoke("2 + 2?")
        assert providers.bodies[-1]["reasoning_effort"] == "low"
    bound = chat_models(providers.url)["OpenAI"].bind(seed=1)
    ChatTryage.from_models({"it@low": bound}).invoke("2 + 2?")
    assert (providers.bodies[-1]["reasoning_effort"], providers.bodies[-1]["seed"]) == ("low", 1)


@pytest.mark.parametrize("case", ["OpenAI", "Ollama"])
def test_a_cache_tells_two_efforts_of_a_model_apart(providers, case):
    model, (path, _) = chat_models(providers.url)[case], SENT_AT_LOW[case]
    models = {f"it@{effort}": model for effort in ("low", "high")}
    chat = ChatTryage.from_models(models, cache=InMemoryCache())
    for effort in ("low", "high", "low", "high"):
        chat.invoke("2 + 2?", model=f"it@{effort}")
    assert [find(body, *path) for body in providers.bodies] == ["low", "high"]


def test_an_agent_with_tools_asks_with_the_chosen_effort(providers):
    agents = pytest.importorskip("langchain.agents")
    from tryage_langchain import TryageMiddleware

    model = chat_models(providers.url)["OpenAI"]
    router = TryageMiddleware([model], efforts=["low", "high"])
    agent = agents.create_agent(model, [add], middleware=[router])
    config = {"configurable": {"tryage_model": "gpt-5-mini@high"}}
    state = agent.invoke({"messages": [("user", "2 + 2?")]}, config)
    assert state["tryage"]["model"] == "gpt-5-mini@high"
    assert providers.bodies[-1]["reasoning_effort"] == "high"
    assert providers.bodies[-1]["tools"]


def test_a_router_runs_a_chat_model_with_the_effort_of_its_expert(providers):
    model = chat_models(providers.url)["OpenAI"]
    losses = FunctionPerception(["m@low", "m@high"], lambda text: [len(text) > 5, len(text) <= 5])
    experts = [Expert(f"m@{effort}", effort=effort) for effort in ("low", "high")]
    router = TryageRouter(Router(losses, experts), {"m@low": model, "m@high": model.bind(seed=1)})
    for prompt, effort in (("short", "low"), ("a longer one", "high")):
        router.invoke(prompt)
        assert providers.bodies[-1]["reasoning_effort"] == effort
        router.bind_tools([add]).invoke(prompt)
        assert providers.bodies[-1]["reasoning_effort"] == effort
        assert providers.bodies[-1]["tools"]


def test_a_router_leaves_chains_and_models_with_an_effort_as_they_are(providers):
    own = chat_models(providers.url)["OpenAI"].model_copy(update={"reasoning_effort": "minimal"})
    perception = FunctionPerception(["a"], lambda _: [0.0])
    router = Router(perception, [Expert("a", effort="high")])
    TryageRouter(router, {"a": own}).invoke("hi")
    assert providers.bodies[-1]["reasoning_effort"] == "minimal"
    chain = RunnableLambda(lambda _: "x")
    for runnable in (chain, chain.bind(), lambda _: "x"):
        assert TryageRouter(router, {"a": runnable}).invoke("hi") == "x"
    with pytest.raises(InputError, match="how a ScriptedChatModel takes"):
        TryageRouter(router, {"a": ScriptedChatModel(model="x")})


# Classes whose packages are not installed here, as their source reads ----------------------------


def stand_in(package, **fields):
    """Return an object of a class of a partner package, with some fields."""
    namespace = {"__module__": package, "__annotations__": {"reasoning_effort": str | None}}
    namespace |= {"reasoning_effort": None}
    cls = type("Model", (ScriptedChatModel,), namespace)
    made = cls(model=fields.pop("model", "m"))
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


@pytest.mark.parametrize(
    ("package", "expected"),
    [("langchain_xai", {"reasoning_effort": "high"}),
     ("langchain_fireworks.chat_models", {"reasoning_effort": "high"}),
     ("langchain_openrouter", {"reasoning": {"effort": "high"}}),
     ("langchain_litellm.chat_models", {"model_kwargs": {"reasoning_effort": "high"}}),
     ("langchain_google_vertexai", {"thinking_budget": 16_384})],
)  # fmt: skip
def test_other_packages_get_the_effort_in_the_parameter_of_their_source(package, expected):
    assert effort_values(stand_in(package), "high") == expected


def test_bedrock_gets_the_fields_of_its_request():
    claude = stand_in("langchain_aws.chat_models", model="us.anthropic.claude-sonnet-4-5-v1:0")
    thinking = {"type": "enabled", "budget_tokens": 16_384}
    assert effort_values(claude, "high") == {
        "additional_model_request_fields": {"thinking": thinking},
        "temperature": None,
    }
    assert effort_values(claude, "none") == {
        "additional_model_request_fields": {"thinking": {"type": "disabled"}}
    }
    object.__setattr__(claude, "max_tokens", 1_000)
    assert effort_values(claude, "high")["max_tokens"] == 17_384
    with pytest.raises(InputError, match="how a Model takes"):
        effort_values(stand_in("langchain_aws.chat_models", model="amazon.titan"), "high")


@pytest.mark.parametrize(
    ("model", "expected"),
    [("openrouter:qwen/qwen3-32b", ("low", "medium", "high")), ("ollama:qwen3", ()),
     ("ollama:gpt-oss:20b", ("low", "medium", "high")), ("openai:gpt-5-chat-latest", ()),
     ("mistralai:mistral-small-2603", ()), ("openai:gpt-4o", ()), ("my-own", ()), ("", ())],
)  # fmt: skip
def test_which_efforts_a_string_offers(model, expected):
    assert tuple(offered_efforts(model, model)) == expected


def test_the_own_effort_of_a_model_is_read_in_every_spelling():
    assert own_effort(stand_in("langchain_openrouter", reasoning={"effort": "low"})) == "low"
    assert own_effort(stand_in("langchain_ollama", reasoning=True)) == "thinking"
    assert (
        own_effort(stand_in("langchain_mistralai", model_kwargs={"reasoning_effort": "high"}))
        == "high"
    )
    assert own_effort(stand_in("langchain_anthropic", thinking={"type": "disabled"})) == "none"
    assert own_effort(stand_in("langchain_google_vertexai", thinking_budget=100)) == "thinking"
    assert own_effort(stand_in("langchain_openai")) is None
    assert own_effort("openai:gpt-5") is None
