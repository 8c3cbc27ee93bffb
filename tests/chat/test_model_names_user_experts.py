"""An expert that a user describes is the model that the user means, or it is an error."""

from __future__ import annotations

import pytest

from tryage import Expert
from tryage.chat.model_names import bundled_library, match_user_experts
from tryage.errors import InputError


def match(models, *experts):
    """Match experts, by name, to models, which may call themselves differently."""
    names = {name: [name, *filter(None, [own])] for name, own in models.items()}
    matches = match_user_experts(names, [Expert(name) for name in experts], bundled_library())
    return {name: expert.name for name, expert in matches.items()}


@pytest.mark.parametrize(
    ("models", "given", "model"),
    [
        ({"openai:gpt-4o": None, "openai:gpt-4o-mini": None}, "gpt-4o", "openai:gpt-4o"),
        ({"openai:gpt-4o": None, "mine": None}, "GPT-4o ", "openai:gpt-4o"),
        ({"gpt-4o": None, "gpt-4o-mini": None}, "openai:gpt-4o", "gpt-4o"),
        ({"fast": "gpt-4o-mini", "good": "gpt-4o"}, "gpt-4o", "good"),
        ({"good": "gpt-4o", "gpt-4o": "gpt-4o-mini"}, "gpt-4o", "gpt-4o"),
        ({"openai:gpt-4o": None, "b": None}, "gpt-4o-2024-08-06", "openai:gpt-4o"),
        ({"anthropic:claude-3-5-sonnet-latest": None}, "claude-3-5-sonnet-20241022",
         "anthropic:claude-3-5-sonnet-latest"),
        ({"my-own": None, "b": None}, "MY-OWN", "my-own"),
    ],
)  # fmt: skip
def test_an_expert_describes_the_model_that_its_name_means(models, given, model):
    assert match(models, given) == {model: given}


def test_an_alias_of_the_expert_is_enough():
    expert = Expert("the cheap one", aliases=["gpt-4o-mini"])
    models = {"openai:gpt-4o-mini": ["openai:gpt-4o-mini"], "b": ["b"]}
    assert match_user_experts(models, [expert], bundled_library()) == {"openai:gpt-4o-mini": expert}


def test_a_model_with_an_expert_of_its_own_is_not_considered_again():
    models = {"openai:gpt-4o": None, "azure_openai:gpt-4o": None}
    assert match(models, "gpt-4o", "openai:gpt-4o") == {
        "openai:gpt-4o": "openai:gpt-4o",
        "azure_openai:gpt-4o": "gpt-4o",
    }


@pytest.mark.parametrize(
    "given", ["gpt-4o-nano", "groq:gpt-4o", "claude-3-5-sonnet-20240620", "gpt-4o-2024-11-20"]
)
def test_another_model_another_provider_and_another_version_are_refused(given):
    models = {"openai:gpt-4o-2024-08-06": None, "anthropic:claude-3-5-sonnet-20241022": None}
    with pytest.raises(InputError, match="is none of the models"):
        match(models, given)


def test_an_expert_that_is_no_model_is_refused_with_the_nearest_name():
    models = {"openai:gpt-4o": None, "b": None}
    with pytest.raises(InputError, match=r"'openai:gpt-4x' is none .* mean openai[:/]gpt-4o"):
        match(models, "openai:gpt-4x")
    with pytest.raises(InputError, match=r"'gpt-4x' is none .* mean gpt-4o\?"):
        match(models, "gpt-4x")


def test_an_expert_that_may_be_two_models_is_refused():
    with pytest.raises(InputError, match="may be 'openai:gpt-4o', 'azure_openai:gpt-4o'"):
        match({"openai:gpt-4o": None, "azure_openai:gpt-4o": None}, "gpt-4o")


def test_two_experts_that_describe_one_model_are_refused():
    with pytest.raises(InputError, match="both describe the model 'openai:gpt-4o'"):
        match({"openai:gpt-4o": None}, "gpt-4o", "openai/gpt-4o")


def test_of_many_models_a_message_names_a_few():
    with pytest.raises(InputError, match="and 90 more") as caught:
        match({f"model {i}": None for i in range(100)}, "x" * 1_000)
    assert len(str(caught.value)) < 600
