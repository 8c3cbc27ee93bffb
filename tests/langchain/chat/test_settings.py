"""What ChatTryage is given itself: callbacks, tags, cache, limits, preferences, sampling."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.rate_limiters import BaseRateLimiter

from tryage import Preferences
from tryage.errors import LibraryError, NoExpertError
from tryage_langchain import ChatTryage


class Gate(BaseRateLimiter):
    """Counts who passes."""

    def __init__(self):
        self.passed = 0

    def acquire(self, *, blocking=True):  # noqa: ARG002 - as called
        self.passed += 1
        return True

    async def aacquire(self, *, blocking=True):
        return self.acquire(blocking=blocking)


@pytest.fixture
def over(router, small, big):
    """Make ChatTryage over the same children with other settings."""

    def made(**settings):
        return ChatTryage(models={"small": small, "big": big}, router=router, **settings)

    return made


def model_of(answer):
    return answer.response_metadata["tryage"]["model"]


async def test_its_own_callbacks_tags_and_metadata_reach_the_run_of_the_model(
    how, call, over, recorder
):
    chat = over(callbacks=[recorder], tags=["house"], metadata={"team": "a"})
    await call(how, chat, "big question", {"tags": ["mine"]})
    (model,) = recorder.of("model")
    assert {"house", "mine", "tryage:big"} <= set(model["tags"])
    assert model["metadata"]["team"] == "a"
    assert "langchain-core" in model["metadata"]["lc_versions"]


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "batch", "abatch"])
async def test_its_cache_answers_the_second_time(how, call, over, big):
    chat = over(cache=InMemoryCache(), sticky="call")
    first = await call(how, chat, "big question")
    again = await call(how, chat, "big question")
    assert first.text == again.text
    assert len(big.calls) == 1
    await call(how, chat, "big other")
    assert len(big.calls) == 2


def test_a_childs_own_cache_is_left_to_it(over, big):
    own = InMemoryCache()
    big.cache = own
    over(cache=InMemoryCache()).invoke("big question")
    assert own._cache


async def test_its_rate_limiter_is_asked_once_per_call(how, call, over):
    gate = Gate()
    await call(how, over(rate_limiter=gate), "big question")
    assert gate.passed == 1


@pytest.mark.parametrize("how", ["stream", "astream"])
async def test_where_streaming_is_off_the_answer_comes_whole(how, call, over, big):
    chat = over(disable_streaming=True)
    big.breaks_after = 0  # a stream would fail
    assert (await call(how, chat, "big question")).text == "Hello from scripted-big today"
    assert len(list(chat.stream("small one"))) == 1


def test_streaming_may_be_off_for_tools_only(over):
    chat = over(disable_streaming="tool_calling")

    def look(where: str) -> str:
        """Look."""
        return where

    assert len(list(chat.stream("big one"))) > 1
    assert len(list(chat.bind_tools([look]).stream("big one"))) == 1


async def test_sampling_and_stops_are_passed_on_and_a_call_may_say_otherwise(how, call, over, big):
    chat = over(temperature=0.2, max_tokens=50, stop=["END"])
    await call(how, chat, "big question")
    await call(how, chat, "big question", temperature=0.9, stop=["\n"])
    first, second = big.calls
    assert (first["temperature"], first["max_tokens"], first["stop"]) == (0.2, 50, ["END"])
    assert (second["temperature"], second["max_tokens"], second["stop"]) == (0.9, 50, ["\n"])


async def test_what_nobody_set_is_not_passed_on(how, call, chat, big):
    await call(how, chat, "big question")
    assert set(big.calls[0]) == {"messages", "stop"}
    assert big.calls[0]["stop"] is None


@pytest.mark.parametrize(
    "given", [Preferences(only=["small"]), Preferences(only=["small"]).to_dict()]
)
async def test_preferences_hold_for_all_calls_or_for_one(how, call, over, given):
    assert model_of(await call(how, over(preferences=given), "big question")) == "small"
    config = {"configurable": {"tryage_preferences": given}}
    assert model_of(await call(how, over(), "big question", config)) == "small"


async def test_a_model_may_be_asked_for_in_three_ways(how, call, over):
    asked = {"configurable": {"tryage_model": "big"}}
    for answer in (
        await call(how, over(model="big"), "small question"),
        await call(how, over(), "small question", model="big"),
        await call(how, over(), "small question", asked),
    ):
        assert model_of(answer) == "big"
        assert answer.response_metadata["tryage"]["how"] == "asked for"
    with pytest.raises(LibraryError, match="huge"):
        await call(how, over(), "small question", model="huge")


async def test_a_default_answers_where_no_choice_is_possible(how, call, over):
    nobody = {"configurable": {"tryage_preferences": Preferences(only=["nobody"])}}
    answer = await call(how, over(default="small"), "big question", nobody)
    assert answer.response_metadata["tryage"]["reason"].startswith("default: ")
    with pytest.raises(NoExpertError):
        await call(how, over(), "big question", nobody)


def test_a_thread_stays_with_its_model(over):
    chat, thread = over(sticky="thread"), {"configurable": {"thread_id": "1"}}
    first = chat.invoke("small one", thread)
    talk = [("human", "small one"), first, ("human", "big two")]
    later = chat.invoke(talk, thread)
    assert (model_of(later), later.response_metadata["tryage"]["how"]) == (
        "small", "kept for the thread",
    )  # fmt: skip
    assert model_of(chat.invoke(talk, {"configurable": {"thread_id": "2"}})) == "big"


def test_a_copy_with_other_settings_chooses_by_them(chat):
    assert model_of(chat.invoke("big question")) == "big"
    other = chat.model_copy(update={"preferences": Preferences(only=["small"])})
    assert model_of(other.invoke("big question")) == "small"
    assert model_of(chat.invoke("big question")) == "big"


def test_a_batch_is_one_encoder_pass_and_every_row_has_its_own_config(chat, perception):
    inputs = ["big 1", "small 2", "big 3", 7]
    configs = [{}, {}, {"configurable": {"tryage_model": "small"}}, {}]
    *answers, wrong = chat.batch(inputs, configs, return_exceptions=True)
    assert [model_of(answer) for answer in answers] == ["big", "small", "small"]
    assert isinstance(wrong, ValueError)
    assert perception.passes == [["big 1", "small 2", "big 3"]]
    assert chat.batch([]) == []


async def test_an_async_batch_is_one_encoder_pass_too(chat, perception):
    answers = await chat.abatch(["big 1", "small 2"], {"max_concurrency": 1})
    assert [model_of(answer) for answer in answers] == ["big", "small"]
    assert len(perception.passes) == 1


async def test_a_thousand_calls_at_once_lose_and_mix_nothing(over):
    chat = over()
    names = ["small", "big"] * 500
    asked = (chat.ainvoke(f"{name} {row}") for row, name in enumerate(names))
    answers = await asyncio.gather(*asked)
    assert [model_of(answer) for answer in answers] == names
    assert [answer.text for answer in answers] == [f"Hello from scripted-{n} today" for n in names]
    heard = {m["messages"][0].text for child in chat.models.values() for m in child.calls}
    assert len(heard) == 1_000


def test_generate_is_answered_by_the_chosen_model(chat):
    result = chat.generate([chat._convert_input("big question").to_messages()])
    message = result.generations[0][0].message
    assert message.text == "Hello from scripted-big today"
    assert model_of(message) == "big"


async def test_generate_is_awaited_too(chat):
    result = await chat.agenerate([chat._convert_input("small one").to_messages()])
    assert model_of(result.generations[0][0].message) == "small"


def test_events_of_version_three_are_those_of_the_chosen_model(chat, recorder):
    stream = chat.stream_events("big question", {"callbacks": [recorder]}, version="v3")
    assert stream.output.text == "Hello from scripted-big today"
    (model,) = recorder.of("model")
    assert model["metadata"]["tryage_model"] == "big"


async def test_events_of_version_three_are_awaited_too(chat):
    stream = await chat.astream_events("small question", version="v3")
    assert (await stream.output).text == "Hello from scripted-small today"


def test_two_that_choose_alike_are_one_to_a_cache_and_others_are_not(over, chat):
    assert over()._identifying_params == chat._identifying_params
    for other in ({"sticky": "call"}, {"preferences": Preferences({"cost": 1})}, {"model": "big"}):
        assert over(**other)._identifying_params != chat._identifying_params
