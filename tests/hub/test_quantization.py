"""The weights that packed tensors hold: recorded cases of the Hub, and cases worked out by hand."""

from __future__ import annotations

import pytest

MOTIF = {"BF16": 9964787842, "U32": 78613118976}  # hub-docs #2704: the same tensors in both repos
EIGHT_BITS = {"quantization_config": {"bits": 8, "group_size": 64}}


def parameters(model):
    fact = model.facts["parameters"]
    return fact.value, fact.source, fact.confidence


@pytest.mark.parametrize(
    ("name", "total", "confidence"),
    [
        ("avlp12/Motif-3-Beta-Alis-MLX-8bit", 314590621012, 0.9),  # a total that confirms it
        ("avlp12/Motif-3-Alis-MLX-8bit", 88577906818, 0.6),  # the sum of the tensors
    ],
)
def test_packed_weights_are_unpacked_and_their_scales_left_out(parse, name, total, confidence):
    # 78613118976 x 32/8 weights, two BF16 numbers per 64 of them, and the rest of the BF16.
    model = parse(
        name, config=EIGHT_BITS, tags=["mlx"], safetensors={"parameters": MOTIF, "total": total}
    )
    assert parameters(model) == (314590623874, "safetensors.parameters unpacked", confidence)


def test_counts_that_the_hub_has_unpacked_are_not_unpacked_again(parse):
    # mlx-community/Qwen3-32B-4bit since August 2026: there is no room for the scales of 262B.
    model = parse(
        "mlx-community/Qwen3-32B-4bit",
        tags=["mlx", "4-bit"],
        safetensors={"parameters": {"U32": 32760000000, "BF16": 2000000}},
    )
    assert parameters(model) == (32762000000, "safetensors.parameters", 0.95)


@pytest.mark.parametrize("counted", [1.0, 8.0])
def test_where_both_readings_are_possible_the_name_decides(parse, counted):
    # 6.98B of Llama 3.1 8B are quantised: 0.8725B I32, with zero points; scales and embeddings F16.
    model = parse(
        "acme/Llama-3.1-8B-AWQ",
        config={"quantization_config": {"quant_method": "awq", "bits": 4}},
        safetensors={"parameters": {"I32": 0.8725e9 * counted, "F16": 1.105e9}},
    )
    value, _, confidence = parameters(model)
    assert value == pytest.approx(8.03e9, rel=0.01)
    assert confidence == 0.9


def test_the_bits_may_be_in_the_config_of_the_language_model(
    parse,
):  # huggingface.js #2003, Kimi-K2.5
    settings = {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 32}}},
    }
    model = parse(
        config={"text_config": {"quantization_config": settings}},
        safetensors={"parameters": {"I32": 128e9, "BF16": 40e9}},
    )
    assert parameters(model)[0] == pytest.approx(1024e9 + 40e9 - 32e9)  # one scale for 32 weights


def test_a_byte_of_bitsandbytes_holds_two_weights(parse):
    model = parse(
        "acme/m-7B",
        config={"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
        safetensors={"parameters": {"U8": 3.609375e9, "F16": 0.5e9}},
    )
    assert parameters(model)[0] == pytest.approx(
        7.0e9 + 0.5e9
    )  # 64 weights fill 32 bytes, and one more


def test_an_unknown_packing_has_a_low_confidence(parse):
    model = parse(safetensors={"parameters": {"U8": 10e9, "BF16": 1e9}})
    assert parameters(model) == (11e9, "safetensors.parameters", 0.5)


def test_with_an_unknown_packing_the_size_in_the_name_wins(parse):
    packed = {"parameters": {"U8": 10e9, "BF16": 1e9}}
    assert parameters(parse("openai/gpt-oss-20b", safetensors=packed)) == (20e9, "name", 0.6)


def test_for_an_unknown_method_the_bits_are_enough(parse):
    config = {"quantization_config": {"quant_method": "exl2", "bits": 5.0}}
    model = parse(config=config, safetensors={"parameters": {"I32": 1.1e9, "F16": 0.5e9}})
    assert parameters(model)[0] == pytest.approx(1.1e9 * 32 / 5 + 0.5e9)


def test_files_of_a_quantized_model_are_divided_by_its_bits(parse):
    files = [{"rfilename": "model.safetensors", "size": 4_000_000_000}]
    model = parse(siblings=files, config={"quantization_config": {"bits": 4}})
    assert parameters(model) == (8e9, "size of the weight files", 0.5)
