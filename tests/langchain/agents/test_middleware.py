"""TryageMiddleware: one decision per turn, the right model, nothing lost when something fails."""

from __future__ import annotations

import logging

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    wrap_model_call,
)
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from tryage import Expert, Library, Preferences, Router
from tryage.errors import InputError, LibraryError
from tryage.testing import FailingPerception
from tryage_langchain import TryageMiddleware

pytestmark = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@pytest.fixture
def run(asynchronous):
    """Run an agent, either way, and return its state."""

    async def go(agent, given, config=None):
        return await agent.ainvoke(given, config) if asynchronous else agent.invoke(given, config)

    return go


def thread(name="t", **more):
    return {"configurable": {"thread_id": name, **more}}


# Who answers ------------------------------------------------------------------------------------


async def test_every_prompt_goes_to_the_right_model(run, router, models, own, ask):
    agent = create_agent(own, middleware=[TryageMiddleware(models, router)])
    for name in models:
        state = await run(agent, ask(f"{name} question"))
        assert state["messages"][-1].content == f"I am {name}"
        assert state["tryage"]["model"] == state["tryage"]["served_by"] == name
    assert own.seen == []


async def test_a_turn_has_one_decision_through_its_tool_loop(
    run, router, perception, models, own, lookup, ask
):
    models["big"].loops = 3
    agent = create_agent(own, [lookup], middleware=[TryageMiddleware(models, router)])
    state = await run(agent, ask("big question"))
    assert state["messages"][-1].content == "I am big"
    assert len(models["big"].seen) == 4
    assert models["small"].seen == [], "what the tool said led the router astray"
    assert perception.passes == [["big question"]]
    assert state["tryage"]["how"] == "kept for the turn"


async def test_called_every_time_each_call_is_decided_on_the_same_request(
    run, router, perception, models, own, lookup, ask
):
    agent = create_agent(
        own, [lookup], middleware=[TryageMiddleware(models, router, sticky="call")]
    )
    await run(agent, ask("big question"))
    assert perception.passes == [["big question"]] * 2


@pytest.mark.parametrize(("sticky", "second"), [("turn", "small"), ("thread", "big")])
async def test_the_next_turn_is_decided_anew_unless_the_thread_stays(
    run, router, models, own, ask, sticky, second
):
    agent = create_agent(
        own,
        middleware=[TryageMiddleware(models, router, sticky=sticky)],
        checkpointer=InMemorySaver(),
    )
    await run(agent, ask("big question"), thread())
    state = await run(agent, ask("small talk"), thread())
    assert state["tryage"]["served_by"] == second
    other = await run(agent, ask("small talk"), thread("another"))
    assert other["tryage"]["served_by"] == "small"


@pytest.mark.usefixtures("knows_its_run")
async def test_a_model_can_be_asked_for_and_preferences_given_per_run(
    run, router, models, own, ask
):
    agent = create_agent(own, middleware=[TryageMiddleware(models, router)])
    state = await run(agent, ask("big one"), {"configurable": {"tryage_model": "SMALL"}})
    assert (state["tryage"]["served_by"], state["tryage"]["how"]) == ("small", "asked for")
    wish = Preferences(only=["small"]).to_dict()
    state = await run(agent, ask("big one"), {"configurable": {"tryage_preferences": wish}})
    assert state["tryage"]["served_by"] == "small"
    with pytest.raises(LibraryError, match="huge"):
        await run(agent, ask("big one"), {"configurable": {"tryage_model": "huge"}})
    with pytest.raises(InputError, match="tryage_preferences is a int"):
        await run(agent, ask("big one"), {"configurable": {"tryage_preferences": 7}})


async def test_flags_choose_and_do_not_reach_the_model(run, flagged, models, own, ask):
    agent = create_agent(own, middleware=[TryageMiddleware(models, flagged)])
    await run(agent, ask("big one [Flag: model=small]"))
    ((sent, _),) = models["small"].seen
    assert sent[-1].content == "big one"


async def test_a_model_is_made_from_its_string_when_it_is_first_chosen(
    run, router, models, own, ask, monkeypatch
):
    made = []
    monkeypatch.setattr(
        "langchain.chat_models.init_chat_model",
        lambda name: made.append(name) or models["big"],
    )
    given = {"small": models["small"], "big": "acme:big"}
    agent = create_agent(own, middleware=[TryageMiddleware(given, router)])
    await run(agent, ask("small talk"))
    assert made == []
    for _ in range(2):
        assert (await run(agent, ask("big one")))["messages"][-1].content == "I am big"
    assert made == ["acme:big"]


# What a model can do ----------------------------------------------------------------------------


IMAGE = {"type": "image", "base64": "AA==", "mime_type": "image/png"}


def knowing(perception, **small):
    """Return a router that knows something of the small model and all good of the big one."""
    able = frozenset({"tools", "vision", "structured_output"})
    return Router(
        perception,
        Library([Expert("small", **small), Expert("big", capabilities=able, context_length=10**6)]),
    )


async def test_a_model_that_cannot_call_tools_is_left_out_when_there_are_any(
    run, perception, models, own, lookup, ask
):
    middleware = TryageMiddleware(models, knowing(perception, capabilities=frozenset()))
    assert (await run(create_agent(own, middleware=[middleware]), ask("small")))["tryage"][
        "served_by"
    ] == "small"
    state = await run(create_agent(own, [lookup], middleware=[middleware]), ask("small"))
    assert state["tryage"]["served_by"] == "big"


async def test_a_model_that_cannot_see_is_left_out_when_there_is_a_picture(
    run, perception, models, own
):
    router = knowing(perception, capabilities=frozenset({"tools"}))
    agent = create_agent(own, middleware=[TryageMiddleware(models, router)])
    shown = HumanMessage([{"type": "text", "text": "small picture"}, IMAGE])
    assert (await run(agent, {"messages": [shown]}))["tryage"]["served_by"] == "big"


async def test_a_model_that_is_too_short_is_left_out_for_a_long_conversation(
    run, perception, models, own
):
    router = knowing(perception, context_length=2_000)
    agent = create_agent(own, middleware=[TryageMiddleware(models, router)])
    talk = [HumanMessage("small " + "word " * 3_000), AIMessage("So."), HumanMessage("small talk")]
    assert (await run(agent, {"messages": talk}))["tryage"]["served_by"] == "big"
    assert (await run(agent, {"messages": talk[-1:]}))["tryage"]["served_by"] == "small"


async def test_a_turn_leaves_its_model_when_a_tool_shows_it_what_it_cannot_take(
    run, perception, models, own, lookup, ask
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

    router = knowing(perception, capabilities=frozenset({"tools"}))
    outer = ashow if run.__closure__[0].cell_contents else show
    agent = create_agent(own, [lookup], middleware=[outer, TryageMiddleware(models, router)])
    state = await run(agent, ask("small talk"))
    assert [bool(model.seen) for model in models.values()] == [True, True]
    assert state["tryage"]["served_by"] == "big"


async def test_a_structured_answer_is_the_chosen_models_own(run, perception, own, make_model, ask):
    class Answer(BaseModel):
        q: str

    models = {
        "small": make_model("small"),
        "big": make_model("big", profile={"structured_output": True}),
    }
    agent = create_agent(
        own, middleware=[TryageMiddleware(models, Router(perception))], response_format=Answer
    )
    await run(agent, ask("small"))
    assert models["small"].seen[0][1]["tool_choice"] == "any"
    with pytest.raises(Exception, match="JSON"):
        await run(agent, ask("big"))  # it is asked for JSON, and answers in words
    assert "response_format" in models["big"].seen[0][1]


# What must not reach the chosen model -----------------------------------------------------------


async def test_what_one_provider_wrote_for_itself_does_not_reach_another(run, router, models, own):
    mark = {"cache_control": {"type": "ephemeral"}}
    thought = AIMessage(
        [
            {"type": "thinking", "thinking": "Hm.", "signature": "E"},
            {"type": "text", "text": "So."},
        ],
        response_metadata={"model_provider": "own"},
    )
    talk = [
        HumanMessage([{"type": "text", "text": "hi", **mark}]),
        thought,
        HumanMessage("big one"),
    ]
    system = SystemMessage([{"type": "text", "text": "Be kind.", **mark}])
    agent = create_agent(own, middleware=[TryageMiddleware(models, router)], system_prompt=system)
    state = await run(agent, {"messages": talk})
    ((sent, _),) = models["big"].seen
    assert [message.content for message in sent] == [
        [{"type": "text", "text": "Be kind."}],
        [{"type": "text", "text": "hi"}],
        "So.",
        "big one",
    ]
    assert state["messages"][1].content == thought.content, "the state lost what was said"


async def test_its_own_provider_gets_all_of_it(run, router, models, own):
    models["big"].provider = "own"
    thought = AIMessage(
        [{"type": "thinking", "thinking": "Hm.", "signature": "E"}],
        response_metadata={"model_provider": "own"},
    )
    marked = HumanMessage([{"type": "text", "text": "big", "cache_control": {}}])
    agent = create_agent(own, middleware=[TryageMiddleware(models, router)])
    await run(agent, {"messages": [HumanMessage("hi"), thought, marked]})
    ((sent, _),) = models["big"].seen
    assert [message.content for message in sent[1:]] == [thought.content, marked.content]


# When something fails ---------------------------------------------------------------------------


GONE = ConnectionError("gone")


async def test_a_failing_router_is_logged_and_the_agents_own_model_answers(
    run, models, own, ask, caplog
):
    router = Router(FailingPerception(["small", "big"]))
    agent = create_agent(own, middleware=[TryageMiddleware(models, router)])
    with caplog.at_level(logging.WARNING):
        state = await run(agent, ask("a secret question"))
    assert state["messages"][-1].content == "I am own"
    assert (state["tryage"]["how"], state["tryage"]["served_by"]) == ("default", "own-model")
    assert "PerceptionError" in caplog.text
    assert "secret question" not in caplog.text


@pytest.mark.parametrize("error", [None, KeyError("bug"), ValueError("bug")])
async def test_a_failing_router_has_a_declared_default(run, models, own, ask, error):
    router = Router(FailingPerception(["small", "big"], error))
    agent = create_agent(own, middleware=[TryageMiddleware(models, router, default="BIG")])
    state = await run(agent, ask("small talk"))
    assert state["tryage"]["served_by"] == "big"


async def test_listed_before_fallbacks_the_fallback_answers_and_is_on_record(
    run, router, models, own, make_model, ask
):
    models["big"].fails = GONE
    backup = make_model("backup")
    agent = create_agent(
        own, middleware=[TryageMiddleware(models, router), ModelFallbackMiddleware(backup)]
    )
    state = await run(agent, ask("big question"))
    assert state["messages"][-1].content == "I am backup"
    assert (state["tryage"]["model"], state["tryage"]["served_by"]) == ("big", "backup-model")
    assert len(models["big"].seen) == 1


async def test_listed_after_fallbacks_a_replaced_model_is_respected(
    run, router, perception, models, own, make_model, ask
):
    models["big"].fails = GONE
    lost, backup = make_model("lost", fails=GONE), make_model("backup")
    agent = create_agent(
        own, middleware=[ModelFallbackMiddleware(lost, backup), TryageMiddleware(models, router)]
    )
    state = await run(agent, ask("big question"))
    assert state["messages"][-1].content == "I am backup"
    assert (len(models["big"].seen), len(lost.seen)) == (1, 1), "the failed model was asked again"
    assert state["tryage"]["how"] == "replaced by another middleware"
    assert (state["tryage"]["model"], state["tryage"]["served_by"]) == ("big", "backup-model")
    assert perception.passes == [["big question"]]


async def test_what_failed_in_one_run_is_forgotten_in_the_next(
    run, router, models, own, make_model, ask
):
    agent = create_agent(
        own,
        middleware=[
            ModelFallbackMiddleware(make_model("backup")),
            TryageMiddleware(models, router),
        ],
    )
    models["big"].fails = GONE
    await run(agent, ask("big question"))
    models["big"].fails = None
    assert (await run(agent, ask("big question")))["tryage"]["served_by"] == "big"


async def test_who_answered_is_known_even_if_replies_are_nameless(
    run, router, models, own, make_model, ask
):
    backup = make_model("backup", nameless=True)
    agent = create_agent(
        own, middleware=[TryageMiddleware(models, router), ModelFallbackMiddleware(backup)]
    )
    models["big"].nameless = True
    assert (await run(agent, ask("big one")))["tryage"]["served_by"] == "big"
    models["big"].fails = GONE
    assert (await run(agent, ask("big one")))["tryage"]["served_by"] is None


async def test_a_fallback_that_is_one_of_ours_keeps_the_rest_of_the_turn(
    run, router, models, own, lookup, ask
):
    models["big"].fails = GONE
    agent = create_agent(
        own,
        [lookup],
        middleware=[TryageMiddleware(models, router), ModelFallbackMiddleware(models["small"])],
    )
    state = await run(agent, ask("big question"))
    assert state["tryage"]["served_by"] == "small"
    assert len(models["big"].seen) == 1, "the turn went back to the model that had failed"


async def test_sent_again_as_it_was_the_same_model_is_asked_without_a_second_decision(
    run, router, perception, models, own, ask
):
    class FlakyError(ConnectionError):
        pass

    retry = ModelRetryMiddleware(max_retries=2, initial_delay=0, retry_on=(FlakyError,))
    agent = create_agent(own, middleware=[retry, TryageMiddleware(models, router)])
    models["big"].fails = FlakyError()
    state = await run(agent, ask("big question"))
    assert len(models["big"].seen) == 3
    assert perception.passes == [["big question"]]
    assert "FlakyError" in state["messages"][-1].content or state["messages"]


async def test_with_nobody_to_step_in_the_models_own_error_comes_out(run, router, models, own, ask):
    models["big"].fails = GONE
    with pytest.raises(ConnectionError, match="gone"):
        await run(create_agent(own, middleware=[TryageMiddleware(models, router)]), ask("big"))
