"""GGUF checkpoints: the same weights have the same loss in a .gguf file and in safetensors."""

from __future__ import annotations

import pytest

from tryage.errors import InputError
from tryage.scoring.losses import CausalLM
from tryage.scoring.measurement import Prompt

gguf = pytest.importorskip("gguf")
pytest.importorskip("accelerate")

HEADS, WIDTH, FFN_SIZE, MAX_LENGTH = 2, 32, 32, 64
TENSOR_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


@pytest.fixture
def tokenizer(transformers):
    """Has a token for every byte, one for " t", and GPT-2's end of a text."""
    from tokenizers import pre_tokenizers

    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġt", "<|endoftext|>"]
    return transformers.GPT2Tokenizer({word: at for at, word in enumerate(words)}, [("Ġ", "t")])


@pytest.fixture
def llama(torch, transformers, tokenizer):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=FFN_SIZE,
        num_hidden_layers=1,
        num_attention_heads=HEADS,
        max_position_embeddings=MAX_LENGTH,
        initializer_range=0.5,
        tie_word_embeddings=False,
        rms_norm_eps=1e-5,
        eos_token_id=257,
        bos_token_id=257,
    )
    return transformers.LlamaForCausalLM(config).eval()


def write_gguf(path, model, tokenizer):
    """Write a file as the converter of llama.cpp does."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(MAX_LENGTH)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FFN_SIZE)
    writer.add_block_count(1)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(tokenizer))
    words = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([1] * 257 + [3])
    writer.add_token_merges(["Ġ t"])
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(257)
    for name, tensor in model.state_dict().items():
        plain = name.replace("model.layers.0.", "").removesuffix(".weight")
        prefix = "blk.0." if "layers" in name else ""
        values = tensor.numpy()
        if plain.endswith(("q_proj", "k_proj")):  # the file interleaves the rotary halves
            halves = values.reshape(HEADS, 2, -1, WIDTH)
            values = halves.swapaxes(1, 2).reshape(values.shape).copy()
        writer.add_tensor(f"{prefix}{TENSOR_NAMES[plain]}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_has_the_loss_of_its_weights(llama, tokenizer, tmp_path, measure):
    write_gguf(tmp_path / "tiny.gguf", llama, tokenizer)
    llama.save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    expert = CausalLM.from_pretrained(tmp_path / "tiny.gguf").identify().expert
    assert (expert.name, expert.parameters) == ("tiny", llama.num_parameters())
    prompts = [Prompt("the cat sat on the mat"), Prompt("né à Zürich")]
    one = measure(CausalLM.from_pretrained(tmp_path / "tiny.gguf"), prompts)
    other = measure(CausalLM.from_pretrained(tmp_path / "tiny"), prompts)
    for read, plain in zip(one, other, strict=True):
        assert read.bits_per_byte == pytest.approx(plain.bits_per_byte, rel=1e-3)
        assert read.bits_per_byte > 8  # random weights are worse than raw bytes


@pytest.mark.parametrize("content", [b"", b"GGUF", b"no model at all", b"GGUF" + b"\xff" * 60])
def test_a_file_that_is_not_gguf_is_rejected(tmp_path, content):
    (tmp_path / "odd.gguf").write_bytes(content)
    with pytest.raises(InputError, match="not a GGUF file"):
        CausalLM.from_pretrained(tmp_path / "odd.gguf")
