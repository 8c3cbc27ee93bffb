"""The number of parameters: recorded cases of the Hub, and published sizes worked out by hand."""

from __future__ import annotations

import pytest

from tryage.hub.parameters import count_from_config, size_from_name

MOTIF = {"BF16": 9964787842, "U32": 78613118976}  # hub-docs #2704: the same tensors in both repos
EIGHT_BITS = {"quantization_config": {"bits": 8, "group_size": 64}}
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


def told(model):
    fact = model.facts["parameters"]
    return fact.value, fact.source, fact.confidence


def test_tensor_counts_are_summed(read):
    model = read(safetensors={"parameters": {"F32": 110106428, "I64": 514}, "total": 110106942})
    assert told(model) == (110106942, "safetensors.parameters", 0.95)


def test_a_total_that_an_author_wrote_is_not_believed(read):  # huggingface_hub #4221
    model = read(
        "ZonglinY/MOOSE-Star-R1D-7B",
        safetensors={"parameters": {"BF16": 7615616512}, "total": 333312},
    )
    assert told(model)[0] == 7615616512


def test_a_total_alone_is_taken_with_less_confidence(read):
    assert told(read(safetensors={"total": 7e9})) == (7e9, "safetensors.total alone", 0.6)


@pytest.mark.parametrize(
    ("name", "total", "confidence"),
    [
        ("avlp12/Motif-3-Beta-Alis-MLX-8bit", 314590621012, 0.9),  # a total that confirms it
        ("avlp12/Motif-3-Alis-MLX-8bit", 88577906818, 0.6),  # the bare sum
    ],
)
def test_packed_weights_are_unpacked_and_their_scales_left_out(read, name, total, confidence):
    # 78613118976 x 32/8 weights, two BF16 numbers per 64 of them, and the rest of the BF16.
    model = read(
        name, config=EIGHT_BITS, tags=["mlx"], safetensors={"parameters": MOTIF, "total": total}
    )
    assert told(model) == (314590623874, "safetensors.parameters unpacked", confidence)


def test_counts_that_the_hub_unpacked_itself_are_not_unpacked_twice(read):
    # mlx-community/Qwen3-32B-4bit since August 2026: there is no room for the scales of 262B.
    model = read(
        "mlx-community/Qwen3-32B-4bit",
        tags=["mlx", "4-bit"],
        safetensors={"parameters": {"U32": 32760000000, "BF16": 2000000}},
    )
    assert told(model) == (32762000000, "safetensors.parameters", 0.95)


@pytest.mark.parametrize("counted", [1.0, 8.0])
def test_where_both_readings_are_possible_the_name_decides(read, counted):
    # 6.98B of Llama 3.1 8B are quantised: 0.8725B I32, with zero points; scales and embeddings F16.
    model = read(
        "acme/Llama-3.1-8B-AWQ",
        config={"quantization_config": {"quant_method": "awq", "bits": 4}},
        safetensors={"parameters": {"I32": 0.8725e9 * counted, "F16": 1.105e9}},
    )
    value, _, confidence = told(model)
    assert value == pytest.approx(8.03e9, rel=0.01)
    assert confidence == 0.9


def test_the_bits_may_stand_under_the_language_model(read):  # huggingface.js #2003, Kimi-K2.5
    settings = {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 32}}},
    }
    model = read(
        config={"text_config": {"quantization_config": settings}},
        safetensors={"parameters": {"I32": 128e9, "BF16": 40e9}},
    )
    assert told(model)[0] == pytest.approx(1024e9 + 40e9 - 32e9)  # one scale for 32 weights


def test_half_bytes_of_bitsandbytes_are_counted_twice(read):
    model = read(
        "acme/m-7B",
        config={"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
        safetensors={"parameters": {"U8": 3.609375e9, "F16": 0.5e9}},
    )
    assert told(model)[0] == pytest.approx(7.0e9 + 0.5e9)  # 64 weights fill 32 bytes, and one more


def test_packed_numbers_of_an_unknown_kind_are_not_trusted(read):
    model = read(safetensors={"parameters": {"U8": 10e9, "BF16": 1e9}})
    assert told(model) == (11e9, "safetensors.parameters", 0.5)


def test_of_packed_numbers_of_an_unknown_kind_the_name_knows_more(read):
    packed = {"parameters": {"U8": 10e9, "BF16": 1e9}}
    assert told(read("openai/gpt-oss-20b", safetensors=packed)) == (20e9, "name", 0.6)


def test_of_an_unknown_quantiser_the_bits_are_enough(read):
    config = {"quantization_config": {"quant_method": "exl2", "bits": 5.0}}
    model = read(config=config, safetensors={"parameters": {"I32": 1.1e9, "F16": 0.5e9}})
    assert told(model)[0] == pytest.approx(1.1e9 * 32 / 5 + 0.5e9)


def test_files_of_a_quantised_model_are_divided_by_its_bits(read):
    files = [{"rfilename": "model.safetensors", "size": 4_000_000_000}]
    model = read(siblings=files, config={"quantization_config": {"bits": 4}})
    assert told(model) == (8e9, "size of the weight files", 0.5)


def test_gguf_tells_the_total(read):
    assert told(read(gguf={"total": 7615616512})) == (7615616512, "gguf.total", 0.9)


def test_the_addition_of_an_adapter_is_not_the_model(read):
    lora = {"parameters": {"F32": 20_000_000}}
    assert "parameters" not in read("a/my-lora", library_name="peft", safetensors=lora).facts
    assert told(read("a/llama-7b-lora", tags=["peft"], safetensors=lora)) == (7e9, "name", 0.6)


def test_file_sizes_are_divided_by_the_bytes_of_a_weight(read):
    files = [
        {"rfilename": "model-00001-of-00002.safetensors", "size": 8_000_000_000},
        {"rfilename": "model-00002-of-00002.safetensors", "lfs": {"size": 6_000_000_000}},
        {"rfilename": "optimizer.pt", "size": 9_000_000_000},
        {"rfilename": "pytorch_model.bin", "size": 14_000_000_000},
        {"rfilename": "checkpoint-5/model.safetensors", "size": 14_000_000_000},
    ]
    model = read(siblings=files, config={"torch_dtype": "bfloat16"}, usedStorage=10**11)
    assert told(model) == (7e9, "size of the weight files", 0.7)
    assert model.value("weight_bytes") == 14e9


def test_used_storage_is_no_size_of_a_model(read):  # BERT base shows 13.4 GB for 110M
    assert "parameters" not in read("acme/bert-base", usedStorage=13_400_000_000).facts


def test_a_count_that_contradicts_the_name_is_believed_less(read):
    value, source, confidence = told(read("a/llama-7b", safetensors={"parameters": {"F16": 2e7}}))
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
def test_published_sizes_follow_from_the_config(read, config, total, active):
    model = read(config=config)
    assert told(model)[:2] == (total, "shape in config.json")
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
def test_a_shape_that_is_not_known_gives_no_size(config):
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
def test_a_name_tells_the_size(name, total, active):
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
def test_a_mixture_shares_all_but_its_feed_forward_parts(name, total, active):
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
def test_other_numbers_in_a_name_are_no_size(name):
    assert size_from_name(name) is None


def test_what_was_cut_from_a_mixture_has_another_size():
    assert size_from_name("DrNicefellow/Mistral-7-from-Mixtral-8x7B-v0.1") is None


def test_a_token_passes_fewer_parameters_than_the_name_has(read):
    model = read("Qwen/Qwen3-30B-A3B", safetensors={"parameters": {"BF16": 30532122624}})
    assert model.value("active_parameters") == 3e9
    assert model.facts["active_parameters"].source == "name"
