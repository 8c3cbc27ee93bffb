"""The number of parameters: recorded cases of the Hub, and published sizes worked out by hand."""

from __future__ import annotations

import pytest

from tryage.hub.parameters import count_from_config

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


def test_active_parameters_are_read_from_the_name(parse):
    model = parse("Qwen/Qwen3-30B-A3B", safetensors={"parameters": {"BF16": 30532122624}})
    assert model.value("active_parameters") == 3e9
    assert model.facts["active_parameters"].source == "name"
