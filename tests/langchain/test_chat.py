"""ChatTryage as an object: construction, identity, secrets, copies and pickles."""

from __future__ import annotations

import copy
import functools
import pickle
import sys
import types

import pytest
from langchain_core.messages import AIMessage, HumanMessage, trim_messages
from langchain_openai import ChatOpenAI
from pydantic import ValidationError

from tryage import Expert, Library, Preferences, Router
from tryage.chat import Conversation, Turn
from tryage.chat.clients import HubClientFactory
from tryage.errors import MissingExtraError
from tryage.testing import FixedPerception
from tryage_langchain import ChatTryage
from tryage_langchain.testing import ScriptedChatModel

SECRET = "sk-proj-verysecretindeed"  # noqa: S105 - not a real key


def openai(name, **settings):
    return ChatOpenAI(model=name, api_key=SECRET, base_url="http://127.0.0.1:9/v1", **settings)


def conversation(text, thread=None):
    return Conversation([Turn("user", text)], thread=thread)


def chat_router(chat):
    return chat._session.chat_router


def model_of(answer):
    return answer.response_metadata["tryage"]["model"]


# Construction ------------------------------------------------------------------------------------


def test_the_users_router_keeps_its_default_and_its_strict_mode():
    library = Library([Expert("small", parameters=1e9), Expert("big", parameters=1e11)])
    router = Router(
        FixedPerception({"small": 0.3, "big": 0.2}), library, default="small", strict=True
    )
    models = {"quick": ScriptedChatModel(model="small"), "big": ScriptedChatModel(model="big")}
    chat = ChatTryage.from_models(models, router=router)
    built = chat_router(chat).router
    assert (built.default, built.strict) == ("quick", True)
    assert chat.invoke("a").response_metadata["tryage"]["scores"] == {"big": 0.2, "quick": 0.3}


@pytest.mark.parametrize(
    ("models", "message"),
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
def test_wrong_models_are_refused(models, message):
    with pytest.raises(ValueError, match=message):
        ChatTryage(models=models)


@pytest.mark.parametrize(
    "wrong",
    [{"sticky": "forever"}, {"default": "huge"}, {"model": "huge"}, {"max_attempts": 0},
     {"preferences": {"colour": 1}}, {"router": "bundled"}],
)  # fmt: skip
def test_wrong_settings_are_refused(wrong):
    with pytest.raises((ValidationError, ValueError)):
        ChatTryage(models={"a": ScriptedChatModel()}, **wrong)


def test_models_of_the_hub_are_made_when_they_are_chosen(monkeypatch):
    made, queries = [], []
    fake = types.ModuleType("langchain_huggingface")

    def endpoint(**settings):
        made.append(settings)
        return settings["repo_id"]

    fake.HuggingFaceEndpoint = endpoint
    fake.ChatHuggingFace = lambda llm: ScriptedChatModel(model=llm)
    fake.__spec__ = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "langchain_huggingface", fake)

    def from_hub(task, **query):
        queries.append((task, query))
        return Router(FixedPerception({"a/one": 0.3, "b/two": 0.1}))

    monkeypatch.setattr(Router, "from_hub", from_hub)
    settings = {"max_new_tokens": 9, "huggingfacehub_api_token": "hf_secret"}
    chat = ChatTryage.from_hub(limit=2, model_settings=settings, chat={"sticky": "thread"})
    assert queries == [("text-generation", {"served": True, "limit": 2})]
    assert (made, chat.sticky) == ([], "thread")
    assert chat.invoke("hello").text == "Hello from b/two today"
    assert made == [{"repo_id": "b/two", "provider": "auto", **settings}]


def test_models_of_the_hub_need_their_package(monkeypatch):
    monkeypatch.setattr("tryage.core.validation.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tryage\[huggingface\]'"):
        ChatTryage.from_hub()


def test_a_dump_holds_the_settings_without_models_router_and_keys():
    chat = ChatTryage.from_models(
        {"a": "openai:gpt-4o-mini"}, api_key=SECRET, sticky="thread", experts=[Expert("a")]
    )
    dump = chat.model_dump(exclude={"metadata"})
    assert (dump["sticky"], dump["experts"], dump["model"]) == (
        "thread", [{"name": "a"}], "tryage-auto",
    )  # fmt: skip
    assert list(dump) == [
        "name", "experts", "efforts", "preferences", "sticky", "default", "default_exempt",
        "max_attempts", "deadline", "attempt_timeout", "retry_on", "signals", "judge_share",
        "judge_budget", "judge_cost", "disable_streaming",
        "output_version", "temperature", "max_tokens", "stop", "timeout", "model", "streaming",
    ]  # fmt: skip


def test_the_identity_for_a_cache_differs_if_the_choice_may_differ(make_chat, chat):
    assert make_chat()._identifying_params == chat._identifying_params
    for other in ({"sticky": "call"}, {"preferences": Preferences({"cost": 1})}, {"model": "big"}):
        assert make_chat(**other)._identifying_params != chat._identifying_params


def test_tokens_are_counted_without_a_download(chat):
    assert chat.get_num_tokens("four words of text") == 4
    talk = [HumanMessage("one word " * 600), AIMessage("y" * 40), HumanMessage("small question")]
    kept = trim_messages(talk, max_tokens=100, token_counter=chat, strategy="last")
    assert [message.type for message in kept] == ["ai", "human"]


# A dry run ---------------------------------------------------------------------------------------


def test_what_would_be_asked_is_told_without_asking(chat, small, big):
    plan = chat.route("big question")
    assert (plan.first, list(plan.order())) == ("big", ["big", "small"])
    assert plan.decision.expert.name == "big"
    assert chat.explain("big question").startswith("big would answer: lowest total of 2.\nbig is")
    assert small.calls == big.calls == []
    assert chat.invoke("big question").response_metadata["tryage"]["how"] == "routed"


def test_a_dry_run_takes_what_a_call_takes(chat, make_chat):
    config = {"configurable": {"tryage_query": "small question"}}
    assert chat.route("big question", config).first == "small"
    assert chat.route("big question", model="small").reason == "asked for"
    assert chat.bind_tools([]).route("big question").first == "big"
    facts = [Expert("big", capabilities=[])]
    assert make_chat(experts=facts).route("big question", tools=[{"name": "x"}]).first == "small"
    thread = {"configurable": {"thread_id": "1"}}
    sticky = make_chat(sticky="thread")
    talk = ["small one", sticky.invoke("small one", thread), "big two"]
    assert sticky.explain(talk, thread).startswith("small would answer: kept for the thread.")


def test_the_health_of_the_models_is_told(chat, big):
    big.fails = [TimeoutError("slow")]
    chat.invoke("big question")
    health = chat.health()
    assert (health["small"]["state"], health["big"]["state"]) == ("healthy", "cooling down")


# Secrets -----------------------------------------------------------------------------------------


def holds_no_secret(text):
    return SECRET not in str(text)


def test_no_key_is_in_a_repr_a_trace_a_cache_key_or_a_pickle():
    chat = ChatTryage.from_models(
        {"mini": openai("gpt-4o-mini"), "old": "openai:gpt-3.5-turbo"}, api_key=SECRET
    )
    chat._clients.get_client("old")
    assert holds_no_secret(repr(chat))
    assert holds_no_secret(chat)
    assert holds_no_secret(chat._serialized)
    assert holds_no_secret(chat._identifying_params)
    assert holds_no_secret(chat._get_llm_string())
    assert holds_no_secret(chat.bind_tools([]))
    assert holds_no_secret(chat._session)
    strings = ChatTryage.from_models(["openai:gpt-3.5-turbo"], api_key=SECRET, timeout=3)
    strings._clients.get_client("openai:gpt-3.5-turbo")
    assert SECRET.encode() not in pickle.dumps(strings)


def test_no_key_in_the_parameters_of_a_model_is_in_the_key_of_a_cache():
    models = {"mini": openai("gpt-4o-mini", extra_body={"user_key": "kwozqmtr", "tier": "flex"})}
    chat = ChatTryage.from_models(models)
    assert "kwozqmtr" not in str(chat._identifying_params)
    assert "flex" in chat._get_llm_string()


def test_no_key_of_a_model_that_can_be_pickled_is_in_a_pickle():
    anthropic = pytest.importorskip("langchain_anthropic")
    model = anthropic.ChatAnthropic(model="claude-opus-5", api_key=SECRET, max_tokens=7)
    models = {"object": model, "partial": functools.partial(ChatOpenAI, api_key=SECRET)}
    chat = ChatTryage.from_models(
        models, router=Router(FixedPerception({"object": 0.1, "partial": 0.2}))
    )
    data = pickle.dumps(chat)
    assert SECRET.encode() not in data
    again = pickle.loads(data)  # noqa: S301 - written here
    assert again.models["object"] is again._clients.get_client("object")
    assert again.models["object"].max_tokens == 7
    assert chat.route("Hi").first == again.route("Hi").first == "object"


def test_no_token_for_the_hub_is_in_a_pickle():
    models = {"a": HubClientFactory(ScriptedChatModel, "a", {"token": SECRET})}
    chat = ChatTryage.from_models(models, router=Router(FixedPerception({"a": 0.1})))
    assert holds_no_secret(repr(chat._clients["a"]))
    assert SECRET.encode() not in pickle.dumps(chat)


# Copies and pickles ------------------------------------------------------------------------------


def test_a_pickle_is_read_back_and_chooses_alike(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    chat = ChatTryage.from_models(
        ["openai:gpt-4o-mini", "openai:gpt-3.5-turbo"], api_key="another", sticky="thread"
    )
    first = chat_router(chat).plan(conversation("2 + 2?")).first
    again = pickle.loads(pickle.dumps(chat))  # noqa: S301 - written here
    assert again.sticky == "thread"
    assert again._identifying_params == chat._identifying_params
    assert chat_router(again).plan(conversation("2 + 2?")).first == first
    client = again._clients.get_client("openai:gpt-4o-mini")
    assert client.openai_api_key.get_secret_value() == SECRET


def test_a_deep_copy_shares_the_clients():
    chat = ChatTryage.from_models({"mini": openai("gpt-4o-mini")})
    clone = copy.deepcopy(chat)
    assert clone._clients.get_client("mini") is chat._clients.get_client("mini")
    clone.metadata["mine"] = True
    assert "mine" not in chat.metadata


def test_copies_and_pickles_forget_conversations():
    router = Router(FixedPerception({"a": 0.1, "b": 0.2}))
    chat = ChatTryage.from_models({"a": ScriptedChatModel(), "b": "openai:b"}, router=router)
    chat.invoke("hello secret", {"configurable": {"thread_id": "1"}})
    assert chat_router(chat).last_served_by(conversation("hello secret", "1")) == "a"
    for clone in (copy.deepcopy(chat), pickle.loads(pickle.dumps(chat))):  # noqa: S301 - written here
        assert chat_router(clone).last_served_by(conversation("hello secret", "1")) is None
        assert model_of(clone.invoke("hello")) == "a"


@pytest.mark.parametrize("sticky", ["turn", "thread", "call"])
def test_a_pickle_holds_no_word_of_a_prompt_or_an_answer(sticky):
    names = ["gpt-4o-mini", "gpt-4o"]
    children = {name: ScriptedChatModel() for name in names}
    router = Router.from_pretrained().subset(names)
    chat = ChatTryage.from_models(children, router=router, sticky=sticky)
    chat.invoke("my secret zebra4711 [Flag: cost<zebra4711]")
    chat.invoke("my secret zebra4711", {"configurable": {"thread_id": "zebra4711"}})
    chat.batch(["zebra4711 one", "zebra4711 two"])
    for child in children.values():
        child.calls.clear()  # what the fake model itself has noted
    assert b"zebra4711" not in pickle.dumps(chat)


def test_a_copy_with_other_settings_chooses_by_them(chat):
    assert model_of(chat.invoke("big question")) == "big"
    other = chat.model_copy(update={"preferences": Preferences(only=["small"])})
    assert model_of(other.invoke("big question")) == "small"
    assert model_of(chat.invoke("big question")) == "big"
