"""The number of parameters: recorded cases of the Hub, and published sizes worked out by hand."""

from __future__ import annotations

import pytest

from tryage.hub.parameters import count_from_config, size_from_name

LLAMA_7B = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "intermediate_size": 11008,
    "tie_word_embeddings": False,
}
QWEN_7B = LLAMA_7B | {
    "model_type": "qwen2",
    "vocab_size": 152064,
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18944,
}
MIXTRAL = LLAMA_7B | {
    "model_type": "mixtral",
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}
BERT = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
GPT2 = {
    "model_type": "gpt2",
    "vocab_size": 50257,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "n_positions": 1024,
}


def parameters(model):
    fact = model.facts["parameters"]
    return fact.value, fact.source, fact.confidence


def test_tensor_counts_are_summed(parse):
    model = parse(safetensors={"parameters": {"F32": 110106428, "I64": 514}, "total": 110106942})
    assert parameters(model) == (110106942, "safetensors.parameters", 0.95)


def test_a_total_that_differs_from_the_tensors_does_not_count(parse):  # huggingface_hub #4221
    model = parse(
        "ZonglinY/MOOSE-Star-R1D-7B",
        safetensors={"parameters": {"BF16": 7615616512}, "total": 333312},
    )
    assert parameters(model)[0] == 7615616512


def test_a_total_without_tensors_has_less_confidence(parse):
    assert parameters(parse(safetensors={"total": 7e9})) == (7e9, "safetensors.total alone", 0.6)


def test_a_gguf_has_its_total(parse):
    assert parameters(parse(gguf={"total": 7615616512})) == (7615616512, "gguf.total", 0.9)


def test_the_weights_of_an_adapter_are_not_those_of_the_model(parse):
    lora = {"parameters": {"F32": 20_000_000}}
    assert "parameters" not in parse("a/my-lora", library_name="peft", safetensors=lora).facts
    assert parameters(parse("a/llama-7b-lora", tags=["peft"], safetensors=lora)) == (
        7e9,
        "name",
        0.6,
    )


def test_file_sizes_are_divided_by_the_bytes_per_weight(parse):
    files = [
        {"rfilename": "model-00001-of-00002.safetensors", "size": 8_000_000_000},
        {"rfilename": "model-00002-of-00002.safetensors", "lfs": {"size": 6_000_000_000}},
        {"rfilename": "optimizer.pt", "size": 9_000_000_000},
        {"rfilename": "pytorch_model.bin", "size": 14_000_000_000},
        {"rfilename": "checkpoint-5/model.safetensors", "size": 14_000_000_000},
    ]
    model = parse(siblings=files, config={"torch_dtype": "bfloat16"}, usedStorage=10**11)
    assert parameters(model) == (7e9, "size of the weight files", 0.7)
    assert model.value("weight_bytes") == 14e9


def test_used_storage_is_not_the_size_of_a_model(parse):  # BERT base shows 13.4 GB for 110M
    assert "parameters" not in parse("acme/bert-base", usedStorage=13_400_000_000).facts


def test_a_count_that_contradicts_the_name_has_less_confidence(parse):
    value, source, confidence = parameters(
        parse("a/llama-7b", safetensors={"parameters": {"F16": 2e7}})
    )
    assert (value, confidence) == (2e7, 0.5)
    assert source.endswith("the name says 7e+09")


@pytest.mark.parametrize(
    ("config", "total", "active"),
    [
        (LLAMA_7B, 6_738_415_616, None),
        (QWEN_7B, 7_615_616_512, None),
        (BERT, 109_482_240, None),
        (GPT2, 124_439_808, None),
        (MIXTRAL, 46_702_792_704, 12_879_925_248),
    ],
)
def test_published_sizes_follow_from_the_config(parse, config, total, active):
    model = parse(config=config)
    assert parameters(model)[:2] == (total, "shape in config.json")
    assert model.value("active_parameters") == active


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model_type": "mamba", "hidden_size": 8},
        BERT | {"hidden_size": 0},
        BERT | {"auto_map": {"AutoModel": "modeling_bert.JinaBertModel"}},
        LLAMA_7B | {"intermediate_size": None},
        BERT | {"vocab_size": "30522"},
        BERT | {"num_hidden_layers": 1e300},
    ],
)
def test_an_unknown_architecture_or_dimension_gives_no_count(config):
    assert count_from_config(config) is None


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


def test_active_parameters_are_read_from_the_name(parse):
    model = parse("Qwen/Qwen3-30B-A3B", safetensors={"parameters": {"BF16": 30532122624}})
    assert model.value("active_parameters") == 3e9
    assert model.facts["active_parameters"].source == "name"
