"""TryageCallback in LiteLLM's own router."""

from __future__ import annotations

import asyncio

import litellm
import pytest

from tryage import Router
from tryage.errors import InputError
from tryage.policies import Budget
from tryage.testing import FixedPolicy, FunctionPerception
from tryage_litellm import TryageCallback
from tryage_litellm.callback import headers_of, metadata_of

# One loop for all: litellm reports answers in the loop of the first call.
in_one_loop = pytest.mark.asyncio(loop_scope="module")

NAMES = ["openai/small", "openai/large"]

ROUTER = Router(FunctionPerception(NAMES, lambda prompt: [float("hard" in prompt), 0.5]))


@pytest.fixture
def make_router(models, monkeypatch):
    """Make LiteLLM's router over `auto`, a group of two models, with a callback in it."""

    def make(callback, *extra, **settings):
        monkeypatch.setattr(litellm, "callbacks", [callback])
        groups = [("auto", "small"), ("auto", "large"), ("other", "spare"), *extra]
        deployments = [
            {
                "model_name": group,
                "litellm_params": {
                    "model": f"openai/{model}",
                    "api_base": models.url,
                    "api_key": "none",
                    "input_cost_per_token": 1e-6,
                    "output_cost_per_token": 1e-6,
                },
            }
            for group, model in groups
        ]
        return litellm.Router(deployments, **{"num_retries": 0, "retry_after": 0, **settings})

    return make


async def ask(router, text, model="auto", **arguments):
    messages = [{"role": "user", "content": text}]
    return (await router.acompletion(model, messages, **arguments)).model


@in_one_loop
async def test_a_model_that_cools_down_is_no_candidate(make_router, models):
    router = make_router(TryageCallback(router=ROUTER), num_retries=1, allowed_fails=0)
    models.down.add("large")
    for _ in range(3):
        assert await ask(router, "hard") == "small"
    assert models.asked.count("large") < 3
    assert models.asked[-1] == "small"


@in_one_loop
async def test_only_named_groups_are_routed(make_router, models):
    callback = TryageCallback(router=ROUTER, groups=["another"])
    router = make_router(callback)
    for _ in range(20):
        await ask(router, "hard")
    assert set(models.asked) == {"small", "large"}  # as litellm draws them


@pytest.mark.parametrize(
    ("preferences", "said"),
    [({"colour": 1}, "colour"), ("cheapest", "cheapest"), (3, "int")],
)
@in_one_loop
async def test_malformed_preferences_are_a_bad_request(make_router, preferences, said):
    router = make_router(TryageCallback(router=ROUTER))
    with pytest.raises(litellm.BadRequestError, match=said):
        await ask(router, "hard", metadata={"tryage_preferences": preferences})


@in_one_loop
async def test_a_budget_that_is_spent_is_a_rate_limit(make_router):
    callback = TryageCallback(router=ROUTER, policy=Budget(usd_per_day=1e-9, hard=True))
    router = make_router(callback)
    with pytest.raises(litellm.RateLimitError, match="budget"):
        await ask(router, "hard")


@in_one_loop
async def test_answers_are_counted(make_router):
    callback = TryageCallback(router=ROUTER)
    router = make_router(callback)
    await ask(router, "easy")
    for _ in range(1_000):
        if not callback.savings().answers:
            await asyncio.sleep(0.01)  # litellm reports answers in the background
    assert callback.savings().billed == pytest.approx(15e-6)


@in_one_loop
async def test_the_record_of_another_request_is_not_continued(make_router, models):
    router = make_router(TryageCallback(router=ROUTER))
    await ask(router, "hard", metadata={"tryage": {"id": "unknown"}})
    await ask(router, "hard", metadata={"tryage": "text"})
    assert models.asked == ["large", "large"]


@pytest.mark.parametrize("num_retries", [0, 1])
@in_one_loop
async def test_a_request_that_finally_fails_is_no_longer_reserved(make_router, models, num_retries):
    policy = FixedPolicy("openai/large")
    router = make_router(TryageCallback(router=ROUTER, policy=policy), num_retries=num_retries)
    models.down |= {"small", "large"}
    with pytest.raises(litellm.ServiceUnavailableError):
        await ask(router, "hard")
    assert policy.settled == [(policy.recorded[0], None, 0.0)]
    assert len(models.asked) == num_retries + 1


@in_one_loop
async def test_a_failure_that_litellm_does_not_repeat_is_no_longer_reserved_after_a_while(
    make_router, models, monkeypatch
):
    monkeypatch.setattr("tryage_litellm.callback._MAX_WAIT", 0.05)
    policy = FixedPolicy("openai/large")
    router = make_router(TryageCallback(router=ROUTER, policy=policy), num_retries=2)
    models.refused.add("large")  # another attempt would be refused, too
    with pytest.raises(litellm.BadRequestError):
        await ask(router, "hard")
    assert policy.settled == []
    for _ in range(1_000):
        if not policy.settled:
            await asyncio.sleep(0.01)
    assert policy.settled == [(policy.recorded[0], None, 0.0)]


@in_one_loop
async def test_an_answer_after_failures_is_settled_once(make_router, models, monkeypatch):
    monkeypatch.setattr("tryage_litellm.callback._MAX_WAIT", 0.05)
    policy = FixedPolicy("openai/large")
    router = make_router(TryageCallback(router=ROUTER, policy=policy), num_retries=1)
    models.down.add("large")
    assert await ask(router, "hard") == "small"
    for _ in range(1_000):
        if not policy.settled:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)  # longer than it waits after a failure
    assert [(one, expert) for one, expert, _ in policy.settled] == [
        (policy.recorded[0], "openai/small")
    ]


@in_one_loop
async def test_a_request_that_goes_on_after_its_last_attempt_is_a_new_one_for_another_model():
    policy = FixedPolicy("openai/large")
    callback = TryageCallback(router=ROUTER, policy=policy)
    deployments = [
        {"litellm_params": {"model": name}, "model_info": {"id": name}} for name in NAMES
    ]
    messages = [{"role": "user", "content": "hard"}]
    request = {"metadata": {"attempted_retries": 0, "max_retries": 0}}
    (first,) = await callback.async_filter_deployments("auto", deployments, messages, request)
    failed = {**request, "model_info": first["model_info"]}
    await callback.async_post_call_failure_deployment_hook(failed, ConnectionError())
    assert policy.settled == [(policy.recorded[0], None, 0.0)]
    (second,) = await callback.async_filter_deployments("auto", deployments, messages, request)
    assert (first, second) == (deployments[1], deployments[0])
    assert len(policy.recorded) == 2
    assert len(policy.settled) == 1  # the first one is over


@pytest.mark.parametrize(
    "settings", [{"groups": "auto"}, {"preferences": 3}, {"preferences": "cheapest"}]
)
def test_a_wrong_setting_is_an_error(settings):
    with pytest.raises(InputError):
        TryageCallback(**settings)


def test_headers_hold_only_what_is_known_and_what_http_may_send():
    record = {"id": "1", "model": "ü", "reason": None, "cost": {"expected": 1e-6}}
    assert headers_of(record) == {
        "x-tryage-id": "1", "x-tryage-model": "?", "x-tryage-expected-cost": "0.00000100",
    }  # fmt: skip
    assert headers_of({"id": "1", "model": None}) == {}


def test_litellms_own_metadata_are_found_or_made():
    own, request = {"a": 1}, {}
    assert metadata_of({"metadata": {}, "litellm_metadata": own}) is own
    assert metadata_of(request) is request["metadata"]
