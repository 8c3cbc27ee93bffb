"""What the deployments of a LiteLLM router tell of their models."""

import pytest

from tryage_litellm.deployments import deployment_id, describe_model, group_deployments


def deployment(model, *, info=None, **parameters):
    return {"litellm_params": {"model": model, **parameters}, "model_info": info or {}}


def test_deployments_of_one_model_stand_together_and_an_effort_is_another_model():
    east, west = deployment("azure/gpt", info={"id": "e"}), deployment("azure/gpt")
    low = deployment("azure/gpt", reasoning_effort="low")
    groups = group_deployments([east, low, west, {}, {"litellm_params": {"model": " "}}])
    assert groups == {"azure/gpt": [east, west], "azure/gpt@low": [low]}
    assert describe_model([low]).effort == "low"
    assert (deployment_id(east), deployment_id(west), deployment_id({})) == ("e", None, None)


def test_the_base_model_of_a_deployment_names_its_model():
    named = deployment("azure/my-name", info={"base_model": "azure/gpt-4o"})
    assert describe_model([named]).name == "azure/gpt-4o"
    assert describe_model([deployment("azure/my-name")]).name == "azure/my-name"


def test_prices_are_those_of_the_dearest_deployment_per_million_tokens():
    cheap = deployment("m", info={"input_cost_per_token": 1e-6, "max_input_tokens": 900})
    dear = deployment("m", input_cost_per_token=3e-6, info={"max_input_tokens": 800})
    facts = describe_model([cheap, dear, deployment("m")]).facts
    assert facts == {"input_price": pytest.approx(3.0), "context_length": 800}


def test_a_price_list_counts_where_the_deployment_tells_nothing():
    listed = {"m": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}}
    told = deployment("m", info={"input_cost_per_token": 5e-6})
    facts = describe_model([told], lambda name: listed.get(name, {})).facts
    assert facts == {"input_price": pytest.approx(5.0), "output_price": pytest.approx(2.0)}
    assert describe_model([deployment("m")]).facts == {}
