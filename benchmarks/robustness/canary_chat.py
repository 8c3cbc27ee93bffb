"""Runs with canaries in clients of chat models: LangChain, agents, LlamaIndex and the server."""

# ruff: noqa: ANN401 - clients, answers and configurations are of any type.

from __future__ import annotations

import asyncio
import copy
import json
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from canary_search import as_url_part
from canary_servers import QUOTES, model_server

from tryage import Router
from tryage.testing import FunctionPerception
from tryage.traffic.health import process_health

if TYPE_CHECKING:
    from collections.abc import Callable

    from canary_search import Sweep
    from canary_servers import ModelServer

NAMES = ("small", "large")


def make_router(names: tuple[str, ...] = NAMES) -> Router:
    """Return a router that sends a prompt to the model that it names, else to the first."""
    return Router(FunctionPerception(names, partial(_losses, names)))


def _losses(names: tuple[str, ...], prompt: str) -> list[float]:
    return [0.0 if name in prompt else 0.5 + i for i, name in enumerate(names)]


# Callers -----------------------------------------------------------------------------------------


def show_chat(sweep: Sweep, chat: Any) -> None:
    """Keep everything that a chat model shows of itself, and its pickle."""
    from langchain_core.load import dumps

    sweep.add("repr", f"{chat!r} {chat} {chat._clients!r} {chat._session!r}")  # noqa: SLF001 - all that can be printed
    sweep.add("model_dump", f"{chat.model_dump()} {chat.model_dump_json()}")
    sweep.add("serialized for traces", dumps(chat))
    identity = f"{chat._identifying_params} {chat._get_llm_string()}"  # noqa: SLF001 - what LangChain's cache writes
    sweep.add("key of LangChain's cache", identity)
    sweep.add("graph", json.dumps(chat.get_graph().to_json(with_schemas=True), default=str))
    sweep.add("health", chat.health())
    plan = chat.route("small talk")
    sweep.add(
        "decision", f"{plan!r} {plan.record()} {plan.decision.to_dict()} {chat.explain('Hi')}"
    )
    sweep.add("deep copy", repr(copy.deepcopy(chat)))
    sweep.add_pickle("pickle", chat)


async def _all_ways(chat: Any, messages: Any, config: Any) -> list[Any]:
    """Return the answers of all ways to call a chat model, or the errors."""
    calls: list[Callable[[], Any]] = [
        lambda: chat.invoke(messages, config),
        lambda: list(chat.stream(messages, config)),
        lambda: chat.batch([messages], config),
    ]
    found: list[Any] = []
    for call in calls:
        process_health().clear()
        found.append(await asyncio.to_thread(_result_of, call))
    for acall in (_astream, _abatch, _ainvoke, _aevents):
        process_health().clear()
        try:
            found.append(await acall(chat, messages, config))
        except Exception as error:  # noqa: BLE001 - each client raises its own
            found.append(error)
    return found


async def _ainvoke(chat: Any, messages: Any, config: Any) -> Any:
    return await chat.ainvoke(messages, config)


async def _astream(chat: Any, messages: Any, config: Any) -> Any:
    return [chunk async for chunk in chat.astream(messages, config)]


async def _abatch(chat: Any, messages: Any, config: Any) -> Any:
    return await chat.abatch([messages], config)


async def _aevents(chat: Any, messages: Any, config: Any) -> Any:
    events = [one async for one in chat.astream_events(messages, config, version="v2")]
    return [one for one in events if one["name"] in ("tryage_route", type(chat).__name__)]


def _result_of(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - each client raises its own
        return error


def _tracer(runs: list[Any]) -> Any:
    """Return a tracer as LangSmith's: it keeps each tree of runs as it would be sent."""
    from langchain_core.tracers.base import BaseTracer

    class Tracer(BaseTracer):
        def _persist_run(self, run: Any) -> None:
            runs.append(run)

    return Tracer()


def _add_runs(sweep: Sweep, run: Any) -> None:
    """Keep a run and those below it: Tryage's own apart from those of the clients."""
    kind = "clients' own traces" if run.name.startswith("Chat") and "Tryage" not in run.name else ""
    parts = (run.name, run.serialized, run.extra, run.inputs, run.outputs, run.tags, run.events)
    sweep.add(kind or "traces of Tryage", f"{parts}")
    error = "errors of clients in traces" if kind or "AllFailed" not in str(run.error) else ""
    sweep.add(error or "traces of Tryage", run.error)
    for child in run.child_runs:
        _add_runs(sweep, child)


def ask_in_all_ways(
    sweep: Sweep, chat: Any, servers: list[ModelServer], config: Any = None
) -> None:
    """Ask while the first server fails, while all fail, and while none does."""
    runs: list[Any] = []
    given = {**(config or {}), "callbacks": [_tracer(runs)]}
    for quotes in (*QUOTES, None):
        for n_failing in range(1, len(servers) + 1) if quotes else (0,):
            for i, server in enumerate(servers):
                server.quotes = quotes if i < n_failing else None
            for found in asyncio.run(_all_ways(chat, "small talk", given)):
                _add_result(
                    sweep, found, "all failed" if n_failing == len(servers) else "one failed"
                )
            sweep.add("health", chat.health())
    for run in runs:
        _add_runs(sweep, run)


def _add_result(sweep: Sweep, found: Any, when: str) -> None:
    from tryage.errors import TryageError

    if isinstance(found, TryageError):
        sweep.add_error(f"error of Tryage, {when}", found)
    elif isinstance(found, Exception):
        sweep.add("errors of clients, passed on", f"{found!r}")
    else:
        sweep.add("answers", f"{found}")


# Runs --------------------------------------------------------------------------------------------


def langchain_objects(sweep: Sweep) -> None:
    """Chat models of LangChain that hold keys, headers, parameters and an http client."""
    from httpx import Client
    from langchain_anthropic import ChatAnthropic
    from langchain_openai import ChatOpenAI

    places = {
        "small": [
            "api_key",
            "header Authorization",
            "header of no known name",
            "query",
            "key in the body",
        ],
        "large": ["key of Anthropic", "header of Anthropic"],
    }
    with (
        model_server(sweep, "the first model", *places["small"], "auth of http_client") as first,
        model_server(sweep, "the second model", *places["large"]) as second,
    ):
        headers = {
            "Proxy-Authorization": f"Bearer {sweep.canary('header Authorization')}",
            "X-Corp-Route": sweep.canary("header of no known name"),
        }
        small = ChatOpenAI(
            model="gpt-5.4-mini",
            api_key=sweep.canary("api_key"),
            base_url=f"{first.url}/v1",
            default_headers=headers,
            default_query={"subscription": sweep.canary("query")},
            extra_body={"user_key": sweep.canary("key in the body")},
            http_client=Client(headers={"X-Gate": sweep.canary("auth of http_client")}),
            max_retries=0,
        )
        large = ChatAnthropic(
            model="claude-opus-5",
            api_key=sweep.canary("key of Anthropic"),
            base_url=second.url,
            default_headers={"X-Team-Pass": sweep.canary("header of Anthropic")},
            max_retries=0,
        )
        _langchain_run(sweep, {"small": small, "large": large}, [first, second])


def _langchain_run(sweep: Sweep, models: Any, servers: list[ModelServer], **settings: Any) -> None:
    from tryage_langchain import ChatTryage

    chat = ChatTryage.from_models(models, router=make_router(), **settings)
    show_chat(sweep, chat)
    ask_in_all_ways(sweep, chat, servers)
    show_chat(sweep, chat)


def langchain_pickles(sweep: Sweep) -> None:
    """Chat models that can be pickled: made by a partial, bound to headers, and in chains."""
    from langchain_anthropic import ChatAnthropic
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_ollama import ChatOllama
    from langchain_openai import ChatOpenAI

    from tryage_langchain import ChatTryage

    claude = partial(ChatAnthropic, model="claude-opus-5", base_url="http://127.0.0.1:9")
    template = ChatPromptTemplate.from_messages([("placeholder", "{messages}")])
    sources = {
        "object": claude(api_key=sweep.canary("key of an object")),
        "partial": partial(ChatOpenAI, api_key=sweep.canary("key of a partial")),
        "bound": claude(api_key="none").bind(
            extra_headers={"Authorization": sweep.canary("bound header")}
        ),
        "chain": template | claude(api_key=sweep.canary("key in a chain")),
        "pairs": partial(
            ChatOpenAI, default_headers=[("Authorization", sweep.canary("header in a pair"))]
        ),
        "address": ChatOllama(
            model="gemma3",
            base_url=f"http://me:{as_url_part(sweep.canary('password in base_url'))}@127.0.0.1:9",
            client_kwargs={"headers": {"Authorization": sweep.canary("header of Ollama")}},
        ),
    }
    for name, source in sources.items():
        if not callable(source):
            _show_router(sweep, name, source)
        chat = ChatTryage.from_models({name: source}, router=make_router((name,)))
        sweep.add_pickle(f"pickle of ChatTryage over a model in a {name}", chat)
        sweep.add("repr", f"{chat!r} {chat._identifying_params}")  # noqa: SLF001 - what a cache writes


def _show_router(sweep: Sweep, name: str, runnable: Any) -> None:
    """Keep what a router over runnables shows, and its pickle."""
    from langchain_core.load import dumps

    from tryage_langchain import TryageRouter

    router = TryageRouter(make_router((name,)), {name: runnable})
    sweep.add_pickle(f"pickle of TryageRouter over a model in a {name}", router)
    sweep.add("repr", f"{router!r} {router}")
    with suppress(OSError):  # a router that is not from a folder has no address
        sweep.add("serialized for traces", dumps(router))


def langchain_call_settings(sweep: Sweep) -> None:
    """Give keys with a call: among its arguments, its settings, and the arguments of a tool."""
    from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
    from langchain_openai import ChatOpenAI

    from tryage_langchain import ChatTryage

    known = ("header of a call", "argument of a tool")
    with model_server(sweep, "the model", *known) as server:
        model = ChatOpenAI(
            model="m", base_url=f"{server.url}/v1", api_key="not-needed", max_retries=0
        )
        header = {"Authorization": f"Bearer {sweep.canary('header of a call')}"}
        call = {"name": "look", "args": {"password": sweep.canary("argument of a tool")}, "id": "1"}
        messages = [HumanMessage("small talk"), AIMessage("", tool_calls=[call])]
        messages.append(ToolMessage("done", tool_call_id="1"))
        chat = ChatTryage.from_models(
            dict.fromkeys(NAMES, model),
            router=make_router(),
            traffic=f"sqlite:///{sweep.folder}/c.db",
        )
        bound = chat.bind(extra_headers=header)
        config = {"configurable": {"openai_api_key": sweep.canary("key in configurable")}}
        for server.quotes in (None, "as it is", "as Base64"):
            process_health().clear()
            _add_result(sweep, _result_of(partial(bound.invoke, messages, config)), "call")
            sweep.add("health", chat.health())
        chat.traffic.close()


def langchain_environment(sweep: Sweep) -> None:
    """Models named by strings, with keys of the environment and in the settings."""
    from tryage_langchain import ChatTryage

    openai, anthropic = sweep.canary("OPENAI_API_KEY"), sweep.canary("ANTHROPIC_API_KEY")
    with (
        model_server(sweep, "OpenAI", "OPENAI_API_KEY") as first,
        model_server(sweep, "Anthropic", "ANTHROPIC_API_KEY") as second,
        sweep.environment(
            OPENAI_API_KEY=openai,
            ANTHROPIC_API_KEY=anthropic,
            OPENAI_BASE_URL=f"{first.url}/v1",
            ANTHROPIC_API_URL=second.url,
            TRYAGE_SERVER_KEYS=sweep.canary("TRYAGE_SERVER_KEYS"),
            HF_TOKEN=sweep.canary("HF_TOKEN of nobody here"),
        ),
    ):
        chat = ChatTryage.from_models(
            {"small": "openai:gpt-5.4-mini", "large": "anthropic:claude-opus-5"},
            router=make_router(),
            max_retries=0,
        )
        show_chat(sweep, chat)
        ask_in_all_ways(sweep, chat, [first, second])
        show_chat(sweep, chat)


def langchain_one_key_for_all(sweep: Sweep) -> None:
    """One key in the settings of models of two providers: only one of them may see it."""
    from tryage_langchain import ChatTryage

    key = sweep.canary("api_key for all models")
    with (
        model_server(sweep, "OpenAI", "api_key for all models") as first,
        model_server(sweep, "Anthropic") as second,
        sweep.environment(OPENAI_BASE_URL=f"{first.url}/v1", ANTHROPIC_API_URL=second.url),
    ):
        names = {"small": "openai:gpt-5.4-mini", "large": "anthropic:claude-opus-5"}
        try:
            chat = ChatTryage.from_models(names, router=make_router(), api_key=key, max_retries=0)
            ask_in_all_ways(sweep, chat, [first, second])
        except ValueError as error:  # pydantic's, around an InputError
            sweep.add_error("error of Tryage, refused", error)


def langchain_redirects(sweep: Sweep) -> None:
    """Ask servers that send their clients on to another one, which must not see the key."""
    from langchain_anthropic import ChatAnthropic
    from langchain_openai import ChatOpenAI

    from tryage_langchain import ChatTryage

    known = ("key of OpenAI", "key of Anthropic", "header of no known name")
    with (
        model_server(sweep, "the model", *known) as own,
        model_server(sweep, "the stranger, by a redirect that the client follows") as stranger,
    ):
        own.redirects_to = stranger.url
        models = {
            "small": ChatOpenAI(
                model="m",
                base_url=f"{own.url}/v1",
                api_key=sweep.canary("key of OpenAI"),
                default_headers={"X-Corp-Route": sweep.canary("header of no known name")},
            ),
            "large": ChatAnthropic(
                model="m", base_url=own.url, api_key=sweep.canary("key of Anthropic")
            ),
        }
        chat = ChatTryage.from_models(models, router=make_router())
        for name in NAMES:
            with suppress(Exception):
                chat.invoke(f"{name} talk")


def langchain_checks(sweep: Sweep) -> None:
    """Judges and checks of cascades that fail with a key in their error, and agents."""
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI

    from tryage.policies import Cascade
    from tryage_langchain import ChatTryage, TryageMiddleware

    key = sweep.canary("key of a check")

    def check(*_: Any) -> float:
        raise ConnectionError(f"the check with {key} has failed; api_key={key}")

    with model_server(sweep, "the model", "key of an agent") as server:
        make = partial(ChatOpenAI, base_url=f"{server.url}/v1", max_retries=0)
        own = make(model="gpt-5.4-mini", api_key=sweep.canary("key of an agent"))
        models = dict.fromkeys(NAMES, own)
        url = f"sqlite:///{sweep.folder}/judged.db"
        chat = ChatTryage.from_models(
            models, router=make_router(), judge=check, judge_share=1.0, traffic=url
        )
        ask_in_all_ways(sweep, chat, [server])
        with suppress(Exception):
            cascade = Cascade(check, answer_value=1.0)
            ChatTryage.from_models(models, router=make_router().with_policy(cascade)).invoke("Hi")
        agent = create_agent(own, [_tool], middleware=[TryageMiddleware(models, make_router())])
        for quotes in (None, "as it is"):
            server.quotes = quotes
            process_health().clear()
            try:
                state = agent.invoke({"messages": [{"role": "user", "content": "small talk"}]})
                sweep.add("state of an agent", state)
            except Exception as error:  # noqa: BLE001 - each client raises its own
                _add_result(sweep, error, "agent")


def _tool(where: str = "x") -> str:
    """Return the weather."""
    return where


def llamaindex_objects(sweep: Sweep) -> None:
    """LLMs of LlamaIndex that hold keys: their records, events, dicts and pickles."""
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.mistralai import MistralAI

    from tryage_llamaindex import TryageLLM

    with (
        model_server(sweep, "the first model", "key of the first LLM") as first,
        model_server(sweep, "the second model", "key of the second LLM") as second,
    ):
        make = partial(MistralAI, model="mistral-small-latest", max_retries=0)
        llm = TryageLLM.from_llms(
            {
                "small": make(endpoint=first.url, api_key=sweep.canary("key of the first LLM")),
                "large": partial(
                    make, endpoint=second.url, api_key=sweep.canary("key of the second LLM")
                ),
                "headers": partial(
                    make, additional_kwargs={"h": [("Authorization", sweep.canary("pair"))]}
                ),
            },
            router=make_router((*NAMES, "headers")),
        )
        for quotes in (*QUOTES, None):
            for n_failing in (1, 2):
                first.quotes, second.quotes = quotes, quotes if n_failing == 2 else None
                for call in (llm.chat, llm.stream_chat, llm.complete):
                    process_health().clear()
                    given = "small talk" if call == llm.complete else [ChatMessage("small talk")]
                    _add_result(sweep, _result_of(partial(_read, call, given)), "LlamaIndex")
        sweep.add("repr", f"{llm!r} {llm} {llm._clients!r} {llm._session!r}")  # noqa: SLF001 - all that can be printed
        sweep.add("model_dump", f"{llm.to_dict()} {llm.to_json()} {llm.model_dump_json()}")
        sweep.add("health", llm.health())
        sweep.add_pickle("pickle", llm)


def _read(call: Any, given: Any) -> Any:
    answer = call(given)
    return list(answer) if hasattr(answer, "__next__") else answer


def server_of_openai(sweep: Sweep) -> None:
    """`tryage serve`: the keys of its clients and of its models, in answers, errors and logs."""
    from langchain_openai import ChatOpenAI
    from starlette.testclient import TestClient

    from tryage_langchain import ChatTryage
    from tryage_server import ServerSettings, create_app

    own_key = sweep.canary("key of the server") + "0" * 16
    with ExitStack() as stack:
        enter = stack.enter_context
        first = enter(model_server(sweep, "the first model", "key of a served model"))
        second = enter(model_server(sweep, "the second model", "key of a served model"))
        key = sweep.canary("key of a served model")
        models = {
            name: ChatOpenAI(model=name, base_url=f"{one.url}/v1", api_key=key, max_retries=0)
            for name, one in zip(NAMES, (first, second), strict=True)
        }
        url = f"sqlite:///{sweep.folder}/served.db"
        chat = ChatTryage.from_models(models, router=make_router(), traffic=url)
        client = enter(TestClient(create_app(chat, ServerSettings(keys=(own_key,)))))
        wrong = sweep.canary("wrong key of a client")
        for bearer in (own_key, wrong):
            headers = [(b"authorization", f"Bearer {bearer}".encode())]
            for quotes in (*QUOTES, None):
                for server in (first, second):
                    server.quotes = quotes
                    server.status = 400 if quotes == "as it is" else 500
                ask_server(sweep, client, headers)


def ask_server(sweep: Sweep, client: Any, headers: Any) -> None:
    """Send requests of all kinds to the server, and keep its answers."""
    said = {"model": "tryage", "messages": [{"role": "user", "content": "small talk"}]}
    posts = [
        ("/v1/chat/completions", said),
        ("/v1/chat/completions", {**said, "stream": True}),
        ("/v1/chat/completions", {**said, "model": "none"}),
        ("/v1/decide", said),
        ("/v1/feedback", {"id": "x", "score": 1.0}),
        ("/v1/feedback", {"id": 5}),
    ]
    for path, body in posts:
        process_health().clear()
        answer = client.post(path, json=body, headers=headers)
        sweep.add(f"answer of the server: {path}", f"{answer.headers} {answer.text}")
    for path in ("/v1/models", "/health", "/ready", "/metrics", "/openapi.json", "/v1/none"):
        answer = client.get(path, headers=headers)
        sweep.add(f"answer of the server: {path}", f"{answer.headers} {answer.text}")


CHAT_RUNS = (
    langchain_objects,
    langchain_pickles,
    langchain_call_settings,
    langchain_environment,
    langchain_one_key_for_all,
    langchain_redirects,
    langchain_checks,
    llamaindex_objects,
    server_of_openai,
)
