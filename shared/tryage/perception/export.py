"""A trained torch encoder as files that run without torch: ONNX with int8 weights."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from tryage.extras import require
from tryage.perception.encoder import write_header
from tryage.perception.teacher import pool
from tryage.perception.transformer import CONFIG, GRAPH, TOKENS, WEIGHTS, TransformerEncoder

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import BertModel

OPSET = 17


def export_encoder(  # noqa: PLR0913 - what to write, and how: each is named by the caller
    model: BertModel,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    max_length: int = 192,
    quantize: bool = True,
    keep_weights: bool = False,
) -> TransformerEncoder:
    """Write a BERT-like model as a `TransformerEncoder` and read it back.

    int8 weights are a quarter of the size and twice as fast; one scale per output channel and one
    spare bit (`reduce_range`, so that processors without VNNI do not overflow) keep a cosine of
    about .997. `keep_weights` adds the float weights, for torch and for further training.

    Raises:
        MissingExtraError: torch, onnx or onnxruntime is not installed.

    """
    for package in ("torch", "onnx", "onnxruntime"):
        require(package, "train")
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / TOKENS), pretty=False)
    if keep_weights:
        _save_weights(model, folder)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        plain, small = Path(scratch) / "plain.onnx", Path(scratch) / "small.onnx"
        _trace(model, plain)
        if quantize:
            _quantize(plain, small)
        (small if quantize else plain).replace(folder / GRAPH)
    write_header(folder, "transformer", dim=model.config.hidden_size, max_length=max_length)
    return TransformerEncoder.load(folder)


def _save_weights(model: BertModel, folder: Path) -> None:
    from safetensors.torch import save_file

    (folder / CONFIG).write_text(model.config.to_json_string(), "utf-8")
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})


def _trace(model: BertModel, path: Path) -> None:
    import torch

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            states = self.model(input_ids=input_ids, attention_mask=attention_mask)
            return pool(states.last_hidden_state, attention_mask.float())

    example = torch.ones(2, 16, dtype=torch.long)
    axes = {0: "batch", 1: "length"}
    attention = model.config._attn_implementation  # noqa: SLF001 - no public name in transformers
    model.config._attn_implementation = "eager"  # noqa: SLF001 - sdpa cannot be quantised
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns of the constants that it folds
            torch.onnx.export(
                Pooled().eval(),
                (example, example),
                str(path),
                input_names=["input_ids", "attention_mask"],
                output_names=["embedding"],
                dynamic_axes={"input_ids": axes, "attention_mask": axes, "embedding": {0: "batch"}},
                dynamo=False,
                opset_version=OPSET,
            )
    finally:
        model.config._attn_implementation = attention  # noqa: SLF001 - as above


def _quantize(source: Path, target: Path) -> None:
    from onnxruntime.quantization import (
        QuantType,
        quantize_dynamic,
    )
    from onnxruntime.quantization.shape_inference import (
        quant_pre_process,
    )

    shaped = source.with_name("shaped.onnx")
    quant_pre_process(str(source), str(shaped), skip_optimization=True, skip_symbolic_shape=True)
    quantize_dynamic(
        shaped, target, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True
    )
