"""Which expert a model name means, which name a client has, which models are identical."""

from __future__ import annotations

import contextlib
import datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage import Expert, Library
from tryage.chat import resolve_model_name
from tryage.chat.model_names import (
    bundled_library,
    candidate_spellings,
    find_model,
    group_identical_experts,
    model_name_of,
    name_models,
)
from tryage.errors import InputError, LibraryError


@pytest.fixture(scope="module")
def known():
    return bundled_library()


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
        ("openai:gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
        ("azure_openai:gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
        ("openrouter/openai/gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-08-06"),
        ("gpt-4o-2024-11-20", "gpt-4o-2024-11-20"),
        ("gpt-4-0613", "gpt-4-0613"),
        ("anthropic/claude-3-5-sonnet", "claude-3-5-sonnet-20241022"),
        ("anthropic:claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022"),
        ("claude-3-5-sonnet-20240620", "claude-3-5-sonnet-20240620"),
        ("google_vertexai:claude-3-5-sonnet@20240620", "claude-3-5-sonnet-20240620"),
        (
            "bedrock_converse:us.anthropic.claude-3-5-sonnet-20241022-v2:0",
            "claude-3-5-sonnet-20241022",
        ),
        ("google_genai:models/gemini-1.5-pro", "gemini-1.5-pro-002"),
        ("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("huggingface:Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("qwen2.5-7b-instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("openrouter:qwen/qwen-2.5-7b-instruct:free", "Qwen/Qwen2.5-7B-Instruct"),
        ("ollama:llama3:8b", "meta-llama/Meta-Llama-3-8B-Instruct"),
        ("  GPT-4O  ", "gpt-4o-2024-08-06"),
    ],
)
def test_a_name_of_a_known_model_is_recognised(known, spec, name):
    assert resolve_model_name(known, spec).name == name


@pytest.mark.parametrize(
    "spec",
    [
        "",
        ":",
        "/",
        "openai",
        "gpt-4o-nano",
        "openai:gpt",
        "gpt-5-pico",
        "llama3:1b",
        "my-own",
        "客",
    ],
)
def test_the_name_of_another_model_is_not_recognised(known, spec):
    assert resolve_model_name(known, spec) is None


def test_every_name_and_alias_means_its_own_expert(known):
    for expert in known:
        for name in (expert.name, *expert.aliases):
            assert resolve_model_name(known, name).name == expert.name
            assert resolve_model_name(known, f"someone:{name}").name == expert.name


@pytest.mark.parametrize(
    ("names", "given", "found"),
    [
        (["openai:gpt-4o-mini", "openai:gpt-4o"], "gpt-4o-mini", "openai:gpt-4o-mini"),
        (["openai:gpt-4o-mini", "openai:gpt-4o"], " GPT-4o ", "openai:gpt-4o"),
        (["gpt-4o", "gpt-4o-mini"], "openai:gpt-4o", "gpt-4o"),
        (["together:org/a-7b", "org/a-7b"], "org/a-7b", "org/a-7b"),
        (["together:org/a-7b"], "a-7b", "together:org/a-7b"),
    ],
)
def test_a_model_is_found_by_its_name_without_the_provider(names, given, found):
    assert find_model(Library(names), given) == found


def test_a_name_that_may_mean_two_models_is_refused():
    library = Library(["openai:gpt-4o", "azure_openai:gpt-4o"])
    with pytest.raises(LibraryError, match="'gpt-4o' may mean 'openai:gpt-4o' or 'azure_openai"):
        find_model(library, "gpt-4o")


@pytest.mark.parametrize("given", ["gpt-4", "openai:gpt-4", "", "openai", 7, None])
def test_a_name_of_no_model_is_refused(given):
    with pytest.raises(LibraryError):
        find_model(Library(["openai:gpt-4o"]), given)


def test_models_in_a_list_are_named_after_the_model_that_they_call():
    one, other = SimpleNamespace(model="gpt-4o"), SimpleNamespace(model_name="my-own")
    assert name_models([one, other], model_name_of) == {"gpt-4o": one, "my-own": other}


def test_the_first_client_with_a_name_gives_it():
    assert model_name_of(SimpleNamespace(model=" "), None, SimpleNamespace(repo_id="a/b")) == "a/b"
    assert model_name_of(object()) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gpt-4o", "The models are a str"),
        (7, "The models are a int"),
        ({7: SimpleNamespace(model="a")}, "The name of a model is a string, got 7"),
        ([SimpleNamespace()], "has no name"),
        ([SimpleNamespace(model="a"), SimpleNamespace(model="a")], "Two models are called 'a'"),
    ],
)
def test_models_that_cannot_be_named_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        name_models(given, model_name_of)


def test_one_model_at_two_providers_is_a_duplicate_of_the_first():
    experts = [Expert("here", aliases=["gpt-4o"]), Expert("there", aliases=["gpt-4o"])]
    grouped, duplicates = group_identical_experts(experts)
    assert duplicates == {"there": "here"}
    assert [expert.aliases for expert in grouped] == [("gpt-4o",), ()]


def test_an_expert_whose_alias_is_the_name_of_another_is_its_duplicate():
    experts = [Expert("mine", aliases=["GPT-4o"]), Expert("gpt-4o")]
    assert group_identical_experts(experts)[1] == {"mine": "gpt-4o"}


def test_a_name_without_an_effort_means_the_only_effort_of_the_model():
    assert find_model(Library(["openai:gpt-5@low", "other"]), "gpt-5") == "openai:gpt-5@low"
    both = Library(["openai:gpt-5@low", "openai:gpt-5@high"])
    with pytest.raises(LibraryError, match="'openai:gpt-5@low' or 'openai:gpt-5@high'"):
        find_model(both, "openai:gpt-5")
    assert find_model(both, "gpt-5@high") == "openai:gpt-5@high"


def test_another_version_of_a_model_is_not_taken_for_it():
    library = Library(
        [
            Expert("mistral-large-2411", released=datetime.date(2024, 11, 18)),
            Expert("gpt-4-0314", released=datetime.date(2023, 3, 14)),
            Expert("gpt-4-1106-preview", released=datetime.date(2023, 11, 6)),
        ]
    )
    assert resolve_model_name(library, "mistral-large-2402") is None
    assert resolve_model_name(library, "mistral:mistral-large-latest").name == "mistral-large-2411"
    assert resolve_model_name(library, "gpt-4-0613").name == "gpt-4-0314"
    assert resolve_model_name(library, "gpt-4-turbo") is None


def test_one_place_reads_names_so_that_all_spellings_mean_the_expert():
    library = Library(["mistral-large-2512", "meta-llama/Llama-3.1-8B-Instruct", "deepseek-r1"])
    for spec, name in {
        "Mistral Large 3": "mistral-large-2512",
        "ollama/llama3.1:8b-instruct-q4_K_M": "meta-llama/Llama-3.1-8B-Instruct",
        "us.deepseek.r1-v1:0": "deepseek-r1",
        "Claude 3 Opus": None,
    }.items():
        found = resolve_model_name(library, spec)
        assert (found and found.name) == name


def test_of_weights_with_and_without_instructions_those_with_them_are_meant():
    library = Library(["meta-llama/Meta-Llama-3-8B", "meta-llama/Meta-Llama-3-8B-Instruct"])
    assert resolve_model_name(library, "llama3:8b").name == "meta-llama/Meta-Llama-3-8B-Instruct"


def test_a_name_with_an_effort_means_the_expert_with_it_and_no_other():
    library = Library(["gpt-5", Expert("gpt-5@high", effort="high")])
    assert resolve_model_name(library, "openai:gpt-5@high").name == "gpt-5@high"
    assert resolve_model_name(library, "openai:gpt-5@low") is None
    assert resolve_model_name(library, "gpt-5-2025-08-07").name == "gpt-5"
    assert resolve_model_name(library, "openrouter/openai/gpt-5:thinking").name == "gpt-5"


SPELLINGS = st.sampled_from(
    ["gpt", "-4o", "mini", "claude", "sonnet", "openai:", "openrouter/", "@low", ":free", "-",
     "/", "2024", "-08-06", "qwen", "2.5", "-72b", "instruct", "(high)", " ", "\u0130", "\ud800",
     "[", "]("]
)  # fmt: skip


@given(st.text(max_size=30) | st.lists(SPELLINGS, max_size=8).map("".join))
def test_any_text_means_one_expert_or_none_and_always_the_same(known, text):
    found = resolve_model_name(known, text)
    assert resolve_model_name(known, f" {text} ") == found
    assert found is None or found.name in known
    with contextlib.suppress(LibraryError):
        assert find_model(known, text) in known.names


def test_a_text_of_thousands_of_parts_has_one_spelling(known):
    text = "a/" * 100_000
    assert list(candidate_spellings(text)) == [text]
    assert resolve_model_name(known, text) is None
    with pytest.raises(LibraryError, match="called 'a/a/") as caught:
        find_model(known, text)
    assert len(str(caught.value)) < 1_000
