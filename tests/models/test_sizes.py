"""A name tells the size of its model, and no other number in it is taken for one."""

from __future__ import annotations

import pytest

from tryage.models.sizes import size_from_name


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [
        ("Qwen/Qwen2.5-7B-Instruct-1M", 7e9, None),
        ("mistralai/Mistral-7B-Instruct-v0.1", 7e9, None),
        ("meta-llama/Llama-2-13b-hf", 13e9, None),
        ("user/llama_2_7b", 7e9, None),
        ("HuggingFaceTB/SmolLM2-135M", 135e6, None),
        ("Qwen/Qwen2.5-1.5b", 1.5e9, None),
        ("Qwen/Qwen-1_8B-Chat", 1.8e9, None),
        ("bigscience/bloom-1b7", 1.7e9, None),
        ("Qwen/Qwen3-30B-A3B", 30e9, 3e9),
        ("TinyLlama/TinyLlama-1.1B-3T", 1.1e9, None),
        ("allenai/OLMo-1B-300B-tokens", 1e9, None),
        ("lmsys/vicuna7bv1.5", 7e9, None),
    ],
)
def test_the_size_is_read_from_a_name(name, total, active):
    named = size_from_name(name)
    assert named.total == pytest.approx(total)
    assert named.active == active


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [
        ("mistralai/Mixtral-8x7B-v0.1", 46.70e9, 12.88e9),
        ("mistralai/Mixtral-8x22B-v0.1", 140.6e9, 39.1e9),
        ("user/Beyonder-4x7B", 24.15e9, 12.88e9),
        ("user/two-2x7b", 12.88e9, 12.88e9),
    ],
)
def test_the_experts_of_a_mixture_share_all_but_their_feed_forward_parts(name, total, active):
    named = size_from_name(name)
    assert named.total == pytest.approx(total, rel=0.005)
    assert named.active == pytest.approx(active, rel=0.01)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a/",
        "acme/chat-v0.1",
        "acme/chat-4bit",
        "acme/chat-8bpw",
        "acme/chat-2048",
        "acme/chat-16k",
        "acme/chat-3T",
        "acme/chat-2024-05-13",
        "google/gemma-3n-E4B-it",
        "meta-llama/Llama-4-Scout-17B-16E",
        "yuhuili/EAGLE-LLaMA3-8B",
        "x/tiny-random-7b",
        "x/chat-99999b",
        "x/chat-0b",
        "7b/chat",
        "x/模型-\uff17B",
    ],
)
def test_other_numbers_in_a_name_are_not_a_size(name):
    assert size_from_name(name) is None


def test_the_size_after_from_is_that_of_another_model():
    assert size_from_name("DrNicefellow/Mistral-7-from-Mixtral-8x7B-v0.1") is None
