"""TryageMiddleware: one decision per turn, the right model, and what happens when a model fails."""

from __future__ import annotations

import logging

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    wrap_model_call,
)
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel, PrivateAttr

from tryage import Expert, Library, Preferences, Router
from tryage.errors import (
    AllFailedError,
    InputError,
    LibraryError,
    NoExpertError,
    PerceptionError,
)
from tryage.testing import FailingPerception
from tryage.traffic.health import process_health
from tryage_langchain import TryageContext, TryageMiddleware


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def asynchronous(request):
    return request.param


@pytest.fixture
def run(asynchronous):
    """Run an agent, sync or async, and return its state."""

    async def run(agent, value, config=None):
        return await agent.ainvoke(value, config) if asynchronous else agent.invoke(value, config)

    return run


@pytest.fixture
def counting_models(make_model):
    """Models that count their own calls in a private attribute."""

    class CountingModel(make_model):
        _count: int = PrivateAttr(0)

        def _reply(self, messages, kwargs):
            self._count += 1
            return super()._reply(messages, kwargs)

        @property
        def count(self):
            return self._count

    return {"small": CountingModel("small"), "big": CountingModel("big")}


def thread_config(name="t"):
    return {"configurable": {"thread_id": name}}


# Which model answers -----------------------------------------------------------------------------


async def test_every_prompt_goes_to_the_right_model(run, router, models, agent_model, user_input):
    agent = create_agent(agent_model, middleware=[TryageMiddleware(models, router)])
    for name in models:
        state = await run(agent, user_input(f"{name} question"))
        assert state["messages"][-1].content == f"I am {name}"
        assert state["tryage"]["model"] == state["tryage"]["served_by"] == name
    assert agent_model.seen == []


async def test_a_turn_has_one_decision_through_its_tool_loop(
    run, router, perception, models, agent_model, lookup, user_input
):
    models["big"].loops = 3
    agent = create_agent(agent_model, [lookup], middleware=[TryageMiddleware(models, router)])
    state = await run(agent, user_input("big question"))
    assert state["messages"][-1].content == "I am big"
    assert len(models["big"].seen) == 4
    assert models["small"].seen == [], "the output of the tool changed the choice"
    assert perception.passes == [["big question"]]
    assert state["tryage"]["how"] == "kept for the turn"


async def test_sticky_call_decides_every_call_on_the_users_request(
    run, router, perception, models, agent_model, lookup, user_input
):
    agent = create_agent(
        agent_model, [lookup], middleware=[TryageMiddleware(models, router, sticky="call")]
    )
    await run(agent, user_input("big question"))
    assert perception.passes == [["big question"]] * 2


@pytest.mark.parametrize(("sticky", "second"), [("turn", "small"), ("thread", "big")])
async def test_the_next_turn_is_decided_anew_unless_the_thread_is_sticky(
    run, router, models, agent_model, user_input, sticky, second
):
    agent = create_agent(
        agent_model,
        middleware=[TryageMiddleware(models, router, sticky=sticky)],
        checkpointer=InMemorySaver(),
    )
    await run(agent, user_input("big question"), thread_config())
    state = await run(agent, user_input("small talk"), thread_config())
    assert state["tryage"]["served_by"] == second
    other = await run(agent, user_input("small talk"), thread_config("another"))
    assert other["tryage"]["served_by"] == "small"


@pytest.mark.usefixtures("needs_run_config")
async def test_a_run_may_name_a_model_and_have_preferences(
    run, router, models, agent_model, user_input
):
    agent = create_agent(agent_model, middleware=[TryageMiddleware(models, router)])
    state = await run(agent, user_input("big one"), {"configurable": {"tryage_model": "SMALL"}})
    assert (state["tryage"]["served_by"], state["tryage"]["how"]) == ("small", "asked for")
    preferences = Preferences(only=["small"]).to_dict()
    config = {"configurable": {"tryage_preferences": preferences}}
    state = await run(agent, user_input("big one"), config)
    assert state["tryage"]["served_by"] == "small"
    with pytest.raises(LibraryError, match="huge"):
        await run(agent, user_input("big one"), {"configurable": {"tryage_model": "huge"}})
    with pytest.raises(InputError, match="tryage_preferences is a int"):
        await run(agent, user_input("big one"), {"configurable": {"tryage_preferences": 7}})


async def test_flags_choose_and_do_not_reach_the_model(
    run, flag_router, models, agent_model, user_input
):
    agent = create_agent(agent_model, middleware=[TryageMiddleware(models, flag_router)])
    await run(agent, user_input("big one [Flag: model=small]"))
    ((sent, _),) = models["small"].seen
    assert sent[-1].content == "big one"


async def test_a_model_is_made_from_its_string_when_it_is_first_chosen(
    run, router, models, agent_model, user_input, monkeypatch
):
    made = []
    monkeypatch.setattr(
        "langchain.chat_models.init_chat_model",
        lambda name: made.append(name) or models["big"],
    )
    sources = {"small": models["small"], "big": "acme:big"}
    agent = create_agent(agent_model, middleware=[TryageMiddleware(sources, router)])
    await run(agent, user_input("small talk"))
    assert made == []
    for _ in range(2):
        assert (await run(agent, user_input("big one")))["messages"][-1].content == "I am big"
    assert made == ["acme:big"]


# What a model can do -----------------------------------------------------------------------------


IMAGE = {"type": "image", "base64": "AA==", "mime_type": "image/png"}


def router_with_facts(perception, **small):
    """Return a router with facts about the small model, and a big one that can do everything."""
    able = frozenset({"tools", "vision", "structured_output"})
    return Router(
        perception,
        Library([Expert("small", **small), Expert("big", capabilities=able, context_length=10**6)]),
    )


async def test_a_model_without_tools_is_left_out_if_the_agent_has_tools(
    run, perception, models, agent_model, lookup, user_input
):
    middleware = TryageMiddleware(models, router_with_facts(perception, capabilities=frozenset()))
    assert (await run(create_agent(agent_model, middleware=[middleware]), user_input("small")))[
        "tryage"
    ]["served_by"] == "small"
    state = await run(
        create_agent(agent_model, [lookup], middleware=[middleware]), user_input("small")
    )
    assert state["tryage"]["served_by"] == "big"


async def test_a_model_without_vision_is_left_out_if_there_is_an_image(
    run, perception, models, agent_model
):
    router = router_with_facts(perception, capabilities=frozenset({"tools"}))
    agent = create_agent(agent_model, middleware=[TryageMiddleware(models, router)])
    shown = HumanMessage([{"type": "text", "text": "small picture"}, IMAGE])
    assert (await run(agent, {"messages": [shown]}))["tryage"]["served_by"] == "big"


async def test_a_model_with_a_short_context_is_left_out_for_a_long_conversation(
    run, perception, models, agent_model
):
    router = router_with_facts(perception, context_length=2_000)
    agent = create_agent(agent_model, middleware=[TryageMiddleware(models, router)])
    talk = [HumanMessage("small " + "word " * 3_000), AIMessage("So."), HumanMessage("small talk")]
    assert (await run(agent, {"messages": talk}))["tryage"]["served_by"] == "big"
    assert (await run(agent, {"messages": talk[-1:]}))["tryage"]["served_by"] == "small"


async def test_a_turn_leaves_its_model_if_a_tool_returns_an_image_that_it_cannot_read(
    run, asynchronous, perception, models, agent_model, lookup, user_input
):
    @wrap_model_call
    async def ashow(request, handler):
        return await handler(shown(request))

    @wrap_model_call
    def show(request, handler):
        return handler(shown(request))

    def shown(request):
        picture = HumanMessage([IMAGE], additional_kwargs={"lc_source": "tool"})
        more = [picture] if request.messages[-1].type == "tool" else []
        return request.override(messages=[*request.messages, *more])

    router = router_with_facts(perception, capabilities=frozenset({"tools"}))
    outer = ashow if asynchronous else show
    agent = create_agent(
        agent_model, [lookup], middleware=[outer, TryageMiddleware(models, router)]
    )
    state = await run(agent, user_input("small talk"))
    assert [bool(model.seen) for model in models.values()] == [True, True]
    assert state["tryage"]["served_by"] == "big"


async def test_the_chosen_model_makes_a_structured_answer_in_its_own_way(
    run, perception, agent_model, make_model, user_input
):
    class Answer(BaseModel):
        q: str

    models = {
        "small": make_model("small"),
        "big": make_model("big", profile={"structured_output": True}),
    }
    agent = create_agent(
        agent_model,
        middleware=[TryageMiddleware(models, Router(perception), max_attempts=1)],
        response_format=Answer,
    )
    await run(agent, user_input("small"))
    assert models["small"].seen[0][1]["tool_choice"] == "any"
    with pytest.raises(Exception, match="JSON"):
        await run(agent, user_input("big"))  # it is asked for JSON and answers in plain words
    assert "response_format" in models["big"].seen[0][1]


# What must not reach the chosen model ------------------------------------------------------------


async def test_reasoning_and_cache_markers_do_not_reach_another_provider(
    run, router, models, agent_model
):
    marker = {"cache_control": {"type": "ephemeral"}}
    reasoning = AIMessage(
        [
            {"type": "thinking", "thinking": "Hm.", "signature": "E"},
            {"type": "text", "text": "So."},
        ],
        response_metadata={"model_provider": "own"},
    )
    talk = [
        HumanMessage([{"type": "text", "text": "hi", **marker}]),
        reasoning,
        HumanMessage("big one"),
    ]
    system = SystemMessage([{"type": "text", "text": "Be kind.", **marker}])
    agent = create_agent(
        agent_model, middleware=[TryageMiddleware(models, router)], system_prompt=system
    )
    state = await run(agent, {"messages": talk})
    ((sent, _),) = models["big"].seen
    assert [message.content for message in sent] == [
        [{"type": "text", "text": "Be kind."}],
        [{"type": "text", "text": "hi"}],
        "So.",
        "big one",
    ]
    assert state["messages"][1].content == reasoning.content, "the state lost the reasoning"


async def test_reasoning_and_cache_markers_reach_their_own_provider(
    run, router, models, agent_model
):
    models["big"].provider = "own"
    reasoning = AIMessage(
        [{"type": "thinking", "thinking": "Hm.", "signature": "E"}],
        response_metadata={"model_provider": "own"},
    )
    marked = HumanMessage([{"type": "text", "text": "big", "cache_control": {}}])
    agent = create_agent(agent_model, middleware=[TryageMiddleware(models, router)])
    await run(agent, {"messages": [HumanMessage("hi"), reasoning, marked]})
    ((sent, _),) = models["big"].seen
    assert [message.content for message in sent[1:]] == [reasoning.content, marked.content]


# When the routing fails --------------------------------------------------------------------------


async def test_a_routing_failure_is_logged_and_the_agents_own_model_answers(
    run, models, agent_model, user_input, caplog
):
    router = Router(FailingPerception(["small", "big"]))
    agent = create_agent(agent_model, middleware=[TryageMiddleware(models, router)])
    with caplog.at_level(logging.WARNING):
        state = await run(agent, user_input("a secret question"))
    assert state["messages"][-1].content == "I am own"
    assert (state["tryage"]["how"], state["tryage"]["served_by"]) == ("default", "own-model")
    assert "PerceptionError" in caplog.text
    assert "secret question" not in caplog.text


async def test_the_log_of_a_routing_failure_shows_no_key(
    run, models, agent_model, user_input, caplog
):
    broken = FailingPerception(["small", "big"], ValueError("refused: api_key=kwozqmtr"))
    agent = create_agent(agent_model, middleware=[TryageMiddleware(models, Router(broken))])
    with caplog.at_level(logging.DEBUG, "tryage_langchain.middleware"):
        await run(agent, user_input("a question"))
    assert "refused: api_key=***" in caplog.text
    assert "kwozqmtr" not in caplog.text


@pytest.mark.parametrize("error", [None, KeyError("bug"), ValueError("bug")])
async def test_after_a_routing_failure_the_declared_default_answers(
    run, models, agent_model, user_input, error
):
    router = Router(FailingPerception(["small", "big"], error))
    agent = create_agent(agent_model, middleware=[TryageMiddleware(models, router, default="BIG")])
    state = await run(agent, user_input("small talk"))
    assert state["tryage"]["served_by"] == "big"


# When a model fails ------------------------------------------------------------------------------


DOWN = ConnectionError("gone")


async def test_before_a_fallback_middleware_the_record_names_both_models(
    run, router, models, agent_model, make_model, user_input
):
    models["big"].fails = DOWN
    backup = make_model("backup")
    agent = create_agent(
        agent_model, middleware=[TryageMiddleware(models, router), ModelFallbackMiddleware(backup)]
    )
    state = await run(agent, user_input("big question"))
    assert state["messages"][-1].content == "I am backup"
    assert (state["tryage"]["model"], state["tryage"]["served_by"]) == ("big", "backup-model")
    assert len(models["big"].seen) == 1


async def test_after_a_fallback_middleware_it_keeps_the_model_that_the_fallback_chose(
    run, router, perception, models, agent_model, make_model, user_input
):
    models["big"].fails = DOWN
    lost, backup = make_model("lost", fails=DOWN), make_model("backup")
    agent = create_agent(
        agent_model,
        middleware=[
            ModelFallbackMiddleware(lost, backup),
            TryageMiddleware(models, router, max_attempts=1),
        ],
    )
    state = await run(agent, user_input("big question"))
    assert state["messages"][-1].content == "I am backup"
    assert (len(models["big"].seen), len(lost.seen)) == (1, 1), "the failed model was asked again"
    assert state["tryage"]["how"] == "replaced by another middleware"
    assert (state["tryage"]["model"], state["tryage"]["served_by"]) == ("big", "backup-model")
    assert perception.passes == [["big question"]]


async def test_a_failure_in_one_run_is_forgotten_in_the_next(
    run, router, models, agent_model, make_model, user_input
):
    agent = create_agent(
        agent_model,
        middleware=[
            ModelFallbackMiddleware(make_model("backup")),
            TryageMiddleware(models, router, max_attempts=1),
        ],
    )
    models["big"].fails = DOWN
    await run(agent, user_input("big question"))
    models["big"].fails = None
    process_health().clear()
    assert (await run(agent, user_input("big question")))["tryage"]["served_by"] == "big"


async def test_the_chosen_model_is_recorded_even_if_its_reply_has_no_name(
    run, router, models, agent_model, make_model, user_input
):
    backup = make_model("backup", nameless=True)
    agent = create_agent(
        agent_model, middleware=[TryageMiddleware(models, router), ModelFallbackMiddleware(backup)]
    )
    models["big"].nameless = True
    assert (await run(agent, user_input("big one")))["tryage"]["served_by"] == "big"
    models["big"].fails = DOWN
    assert (await run(agent, user_input("big one")))["tryage"]["served_by"] is None


async def test_the_turn_stays_with_a_fallback_that_is_one_of_the_models(
    run, router, models, agent_model, lookup, user_input
):
    models["big"].fails = DOWN
    agent = create_agent(
        agent_model,
        [lookup],
        middleware=[TryageMiddleware(models, router), ModelFallbackMiddleware(models["small"])],
    )
    state = await run(agent, user_input("big question"))
    assert state["tryage"]["served_by"] == "small"
    assert len(models["big"].seen) == 1, "the turn returned to the model that had failed"


async def test_a_retry_by_another_middleware_is_no_second_decision(
    run, router, perception, models, agent_model, user_input
):
    retry = ModelRetryMiddleware(max_retries=2, initial_delay=0)
    routing = TryageMiddleware(models, router, max_attempts=1)
    agent = create_agent(agent_model, middleware=[retry, routing])
    models["big"].fails = DOWN
    state = await run(agent, user_input("big question"))
    assert perception.passes == [["big question"]]
    assert len(models["big"].seen) == 1, "a model that cools down was asked again"
    assert state["tryage"]["served_by"] == "small"


async def test_the_next_model_in_the_ranking_answers(run, router, models, agent_model, user_input):
    models["big"].fails = DOWN
    routing = TryageMiddleware(models, router)
    agent = create_agent(agent_model, middleware=[routing])
    state = await run(agent, user_input("big question"))
    record = state["tryage"]
    assert state["messages"][-1].content == "I am small"
    assert (record["model"], record["served_by"], record["reason"]) == (
        "small", "small", "big failed",
    )  # fmt: skip
    assert list(record["failed"]) == ["big"]
    assert agent_model.seen == []
    health = routing.health()
    assert (health["big"]["state"], health["small"]["state"]) == ("cooling down", "healthy")


async def test_the_rest_of_the_turn_stays_with_the_model_that_answered(
    run, router, perception, models, agent_model, lookup, user_input
):
    models["big"].fails = DOWN
    agent = create_agent(agent_model, [lookup], middleware=[TryageMiddleware(models, router)])
    state = await run(agent, user_input("big question"))
    assert (len(models["big"].seen), len(models["small"].seen)) == (1, 2)
    assert state["tryage"]["how"] == "kept for the turn"
    assert perception.passes == [["big question"]]


@pytest.mark.usefixtures("needs_run_config")
async def test_the_next_model_gets_its_own_tags_and_is_no_copy(
    run, router, agent_model, user_input, recorder, counting_models
):
    models = counting_models
    models["big"].fails = DOWN
    agent = create_agent(agent_model, middleware=[TryageMiddleware(models, router)])
    await run(agent, user_input("big question"), {"callbacks": [recorder]})
    tags = [run["tags"][-1] for run in recorder.of_kind("model")]
    assert tags == ["tryage:big", "tryage:small"]
    assert (models["big"].count, models["small"].count) == (1, 1)
    assert models["small"].tags is None


async def test_if_all_fail_or_only_one_may_be_asked_the_error_says_so(
    run, router, models, agent_model, user_input
):
    models["big"].fails = models["small"].fails = DOWN
    agent = create_agent(agent_model, middleware=[TryageMiddleware(models, router)])
    with pytest.raises(AllFailedError, match="gone"):
        await run(agent, user_input("big"))
    process_health().clear()
    only_one = TryageMiddleware(models, router, max_attempts=1)
    with pytest.raises(ConnectionError, match="gone"):
        await run(create_agent(agent_model, middleware=[only_one]), user_input("big"))


async def test_a_fault_of_the_request_is_not_tried_with_the_next_model(
    run, router, models, agent_model, user_input
):
    models["big"].fails = TypeError("a mistake in a program")
    agent = create_agent(agent_model, middleware=[TryageMiddleware(models, router)])
    with pytest.raises(TypeError, match="mistake"):
        await run(agent, user_input("big"))
    assert models["small"].seen == []


async def test_an_empty_answer_asks_the_next_model_on_request(
    run, router, models, agent_model, user_input
):
    class SilentModel(type(models["big"])):
        def _reply(self, messages, kwargs):
            return super()._reply(messages, kwargs).model_copy(update={"content": " "})

    models["big"] = SilentModel("big")
    routing = TryageMiddleware(models, router, retry_on=["empty"])
    state = await run(create_agent(agent_model, middleware=[routing]), user_input("big question"))
    assert state["tryage"]["served_by"] == "small"


async def test_a_structured_answer_that_does_not_parse_asks_the_next_model(
    run, router, models, agent_model, user_input
):
    class Person(BaseModel):
        age: int

    class JsonModel(type(models["big"])):
        text: str

        def _reply(self, messages, kwargs):
            return super()._reply(messages, kwargs).model_copy(update={"content": self.text})

    models = {
        "big": JsonModel("big", text="no json"),
        "small": JsonModel("small", text='{"age": 3}'),
    }
    agent = create_agent(
        agent_model,
        middleware=[TryageMiddleware(models, router)],
        response_format=ProviderStrategy(Person),
    )
    state = await run(agent, user_input("big question"))
    assert state["structured_response"] == Person(age=3)
    assert state["tryage"]["served_by"] == "small"


@pytest.mark.usefixtures("needs_run_config")
async def test_no_model_breaks_a_limit_not_even_the_default(
    run, router, models, agent_model, user_input
):
    for default in (None, "small"):
        routing = TryageMiddleware(models, router, default=default)
        agent = create_agent(agent_model, middleware=[routing], context_schema=TryageContext)
        nobody = {"configurable": {"tryage_preferences": Preferences(only=["nobody"])}}
        with pytest.raises(NoExpertError):
            await run(agent, user_input("big question"), nobody)
    assert agent_model.seen == []


async def test_the_turn_goes_on_after_a_reply_that_names_its_model_by_an_alias(
    run, perception, agent_model, make_model, lookup, user_input
):
    library = Library([Expert("small"), Expert("big", aliases=["backup-model"])])
    models = {"small": make_model("small"), "big": make_model("big", fails=DOWN)}
    agent = create_agent(
        agent_model,
        [lookup],
        middleware=[
            TryageMiddleware(models, Router(perception, library)),
            ModelFallbackMiddleware(make_model("backup")),
        ],
    )
    state = await run(agent, user_input("big question"))
    assert state["tryage"]["how"] == "kept for the turn"
    assert (state["tryage"]["model"], state["tryage"]["served_by"]) == ("big", "backup-model")


# Construction ------------------------------------------------------------------------------------


def test_wrong_arguments_are_refused(router, models):
    with pytest.raises(PerceptionError, match="huge"):
        TryageMiddleware({"huge": models["big"]}, router)
    with pytest.raises(InputError, match="no models"):
        TryageMiddleware({}, router)
    with pytest.raises(LibraryError, match="huge"):
        TryageMiddleware(models, router, default="huge")
    with pytest.raises(InputError, match=r"sticky is 'day'.*'turn', 'thread', 'call'"):
        TryageMiddleware(models, router, sticky="day")
    with pytest.raises(InputError, match=r"'big' is a .*Binding"):
        TryageMiddleware({"big": models["big"].bind(stop=["x"])}, router)


def test_the_default_must_be_one_of_the_models(router, models):
    with pytest.raises(LibraryError, match="big"):
        TryageMiddleware({"small": models["small"]}, router, default="big")
