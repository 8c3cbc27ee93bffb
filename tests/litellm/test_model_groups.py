"""Routers over the models of a group, and the calls that they plan."""

import pickle

import pytest

from tryage import Expert, Router
from tryage.chat.candidates import RouterSettings
from tryage.chat.savings import SavingsCounter
from tryage.core.preferences import Preferences
from tryage.errors import NoExpertError
from tryage.testing import FunctionPerception
from tryage_litellm.conversations import read_conversation
from tryage_litellm.deployments import group_deployments
from tryage_litellm.model_groups import ModelGroups

NAMES = ("openai/small", "openai/large", "openai/huge")

CONVERSATION = read_conversation([{"role": "user", "content": "hello"}], {})


def deployment(model, identity):
    prices = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
    return {"litellm_params": {"model": model}, "model_info": {"id": identity, **prices}}


@pytest.fixture
def counter():
    return SavingsCounter()


@pytest.fixture
def groups(counter):
    router = Router(FunctionPerception(NAMES, lambda _: [0.2, 0.1, 0.3]))
    experts = [Expert("openai/large", context_length=30), Expert("another")]
    return ModelGroups(RouterSettings(router=router), experts, counter)


EAST, WEST = deployment("openai/large", "east"), deployment("openai/large", "west")
SMALL, HUGE = deployment("openai/small", "s"), deployment("openai/huge", "h")


def begin(groups, *deployments, preferences=None):
    models = group_deployments(deployments)
    return groups.begin("auto", models, CONVERSATION, preferences), models


def predict(_):
    return [0.2, 0.1, 0.3]


def test_a_pickle_holds_no_key_of_a_deployment_and_routes_as_before(counter):
    settings = RouterSettings(router=Router(FunctionPerception(NAMES, predict)))
    groups = ModelGroups(settings, [Expert("openai/large", context_length=30)], counter)
    east = {**EAST, "litellm_params": {"model": "openai/large", "api_key": "kwozqmtr"}}
    begin(groups, SMALL, east)
    data = pickle.dumps(groups)
    assert b"kwozqmtr" not in data
    call, models = begin(pickle.loads(data), SMALL, east)  # noqa: S301 - our own
    assert call.choose(models) == [east]


def test_all_deployments_of_the_best_model_are_left_to_litellm(groups):
    call, models = begin(groups, SMALL, EAST, WEST)
    assert call.choose(models) == [EAST, WEST]
    assert call.record["model"] == "openai/large"


def test_after_a_failure_first_another_deployment_of_the_model_then_the_next_model(groups):
    call, models = begin(groups, SMALL, EAST, WEST)
    call.choose(models)
    call.add_failure("east", ConnectionError())
    assert call.choose(models) == [WEST]
    call.add_failure("west", TimeoutError())
    assert call.choose(models) == [SMALL]
    assert call.record["failed"] == {"openai/large": "TimeoutError"}
    call.add_failure("s", ConnectionError())
    assert call.choose(models) == [EAST, WEST]  # once more, as litellm wishes


def test_only_deployments_that_litellm_shows_are_candidates(groups):
    begin(groups, SMALL, EAST)
    call, models = begin(groups, SMALL)
    assert groups.is_choice("auto", models)
    assert call.choose(models) == [SMALL]
    assert not groups.is_choice("other", models)


def test_a_model_that_appears_later_is_a_candidate(groups):
    begin(groups, SMALL, HUGE)
    call, models = begin(groups, SMALL, EAST)
    assert call.choose(models) == [EAST]


def test_no_deployment_is_left_where_those_that_may_answer_cool_down(groups):
    begin(groups, SMALL, EAST)
    call, models = begin(groups, SMALL, preferences=Preferences(only=["openai/large"]))
    assert call.choose(models) == []


def test_a_request_that_no_model_may_answer_is_an_error(groups):
    with pytest.raises(NoExpertError):
        begin(groups, SMALL, EAST, preferences=Preferences(only=["openai/huge"]))


def test_what_the_user_says_of_a_model_counts(groups):
    long = read_conversation([{"role": "user", "content": "hello " * 50}], {})
    models = group_deployments([SMALL, EAST])
    assert groups.begin("auto", models, long, None).choose(models) == [SMALL]


def test_an_answer_is_billed_and_counted(groups, counter):
    call, models = begin(groups, SMALL, EAST)
    call.choose(models)
    call.settle({"prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 1_500})
    assert call.record["cost"]["billed"] == pytest.approx(0.002)
    assert counter.read(None).billed == pytest.approx(0.002)
