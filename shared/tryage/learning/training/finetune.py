"""Trains an encoder end to end with a head that predicts losses, and exports it to ONNX.

This is the recipe of the paper (arXiv 2308.11601).
"""

from __future__ import annotations

import json
import tempfile
import warnings
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tryage.checkpoint import fingerprint
from tryage.core.validation import check_integer, check_number, require_extra
from tryage.errors import PersistenceError, QTableError
from tryage.learning.training.factor_model import compress_losses
from tryage.learning.training.optimizer import ResumableTrainer, Schedule
from tryage.perception.encoder import write_encoder_header
from tryage.perception.question import find_questions
from tryage.perception.tokenizer import clean_prompts, head_and_tail
from tryage.perception.tokenizer_file import read_tokenizer
from tryage.perception.transformer import (
    CONFIG_FILE,
    ONNX_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    TransformerEncoder,
    length_batches,
    mean_pool,
    run_bert,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from tokenizers import Tokenizer
    from transformers import BertModel

    from tryage.core.arrays import Int64Array
    from tryage.scoring.qtable import QTable

MIN_PROMPTS = 10

_ONNX_OPSET = 17


@dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """How to train end to end.

    `rank` bounds the head's ability space; with None each expert has an output of its own.
    `validation_fraction` is the share of the prompts that decide when to stop. Training stops after
    `patience` epochs without a lower validation error. `max_length` is in tokens.

    Raises:
        InputError: a number is out of range.
    """

    schedule: Schedule = field(
        default_factory=lambda: Schedule(10, 2e-4, batch_size=2_048, dropout=0.0)
    )
    rank: int | None = 32
    validation_fraction: float = 0.1
    patience: int = 2
    max_length: int = 192

    def __post_init__(self) -> None:
        """Refuse numbers that are out of range."""
        if self.rank is not None:
            check_integer("rank", self.rank, 1)
        check_number("validation_fraction", self.validation_fraction, 0.0, 0.9)
        check_integer("patience", self.patience, 1)
        check_integer("max_length", self.max_length, 3)


@dataclass(frozen=True, slots=True)
class FinetuneResult:
    """A trained encoder, and the mean squared errors of the head on prompts held out of training.

    `validation_errors` are before the first epoch, then after each.
    """

    encoder: TransformerEncoder
    validation_errors: tuple[float, ...]


def finetune(  # noqa: PLR0913 - what to learn from, where to start, where to put it
    table: QTable,
    start: Path,
    folder: Path,
    *,
    config: FinetuneConfig | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
) -> FinetuneResult:
    """Train an encoder and a low-rank head on measured losses, and save the encoder to `folder`.

    The loss is the squared error of `Q^(z, M_i)` over the measured cells (arXiv 2308.11601). It is
    averaged within a prompt first, so that a prompt with many measurements does not weigh more. The
    head is not saved: train a perception on the returned encoder with `trainer.fit`.

    Args:
        table: Losses `(n_prompts, n_experts)` with gaps; it may join several sources.
        start: A folder with `config.json`, `model.safetensors` and `tokenizer.json` of a BERT.
        folder: Where the encoder is written, with float weights so that training can continue.
        config: Schedule, rank, early stopping and seed.
        checkpoint: A folder; the same call resumes from there after a process was killed.
        progress: Whether to show a progress bar.

    Raises:
        MissingExtraError: torch, transformers or onnx is not installed.
        QTableError: fewer than ten prompts were measured.
        PersistenceError: `start` is not the folder of a BERT.
    """
    for package in ("torch", "transformers", "onnx", "onnxruntime"):
        require_extra(package, "train")
    from transformers import BertModel

    _check_start(start)
    config = config or FinetuneConfig()
    tokenizer = read_tokenizer(start / TOKENIZER_FILE)
    questions = find_questions(table.prompts)
    ids = _token_ids(tokenizer, questions, config.max_length)
    model = BertModel.from_pretrained(start, add_pooling_layer=False)
    compressed = compress_losses(table.losses)
    targets = replace(table, losses=compressed.losses) if compressed else table
    run = _FinetuneRun(model, ids, targets, config)
    run.train(checkpoint, progress=progress)
    encoder = export_encoder(
        model, tokenizer, folder, max_length=config.max_length, keep_weights=True
    )
    return FinetuneResult(encoder, tuple(run.validation_errors))


def _check_start(start: Path) -> None:
    """Refuse a folder that is not a BERT: the weights of another model would start at random."""
    missing_files = [
        name for name in (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE) if not (start / name).is_file()
    ]
    if missing_files:
        raise PersistenceError(
            f"{start} has no {', '.join(missing_files)}; expected the folder of a BERT, as "
            "transformers saves it, with a fast tokenizer"
        )
    try:
        model_type = json.loads((start / CONFIG_FILE).read_text("utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise PersistenceError(f"{start / CONFIG_FILE} is damaged: {error}") from error
    if model_type != "bert":
        kind = f"{model_type!r:.80}"
        raise PersistenceError(f"{start} holds a model of the kind {kind}; expected 'bert'")


def _token_ids(tokenizer: Tokenizer, prompts: Sequence[str], max_length: int) -> list[Int64Array]:
    """Return the token ids of prompts, with special tokens; long prompts keep their two ends."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    encodings = tokenizer.encode_batch(list(clean_prompts(prompts)))
    ids = [np.array(encoding.ids, np.int64) for encoding in encodings]
    return [head_and_tail(prompt_ids, max_length) for prompt_ids in ids]


class _FinetuneRun:
    """The model, its head, and the prompts to train on and to validate on."""

    def __init__(
        self, model: BertModel, ids: Sequence[Int64Array], table: QTable, config: FinetuneConfig
    ) -> None:
        import torch

        self.config, self.model, self.ids = config, model, ids
        self.key = fingerprint(table.prompts, table.experts, table.losses, asdict(config))
        self.train_rows, self.validation_rows = _split(table, config)
        train_losses = table.losses[self.train_rows]
        counts = (~np.isnan(train_losses)).sum(axis=0)  # 0 if only validation prompts were measured
        mean = np.nansum(train_losses, axis=0) / np.maximum(counts, 1)
        self.loss_std = max(float(np.nanstd(train_losses)), 1e-6)
        self.targets = torch.from_numpy((table.losses - mean) / self.loss_std)
        torch.manual_seed(config.schedule.seed)
        self.head = _make_head(model.config.hidden_size, len(table.experts), config.rank)
        self.validation_errors: list[float] = []

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Return all weights of the model and its head by name."""
        encoder = {
            f"encoder.{name}": parameter for name, parameter in self.model.named_parameters()
        }
        return encoder | {
            f"head.{name}": parameter for name, parameter in self.head.named_parameters()
        }

    def train(self, checkpoint: Path | None, *, progress: bool) -> None:
        """Train until the validation error rises, and keep the weights of the lowest one."""
        import torch

        path = None if checkpoint is None else checkpoint / f"finetune-{self.key}.safetensors"
        trainer = ResumableTrainer(
            self.parameters(), self.config.schedule, path=path, progress=progress
        )
        if "held_out" not in trainer.extra_state:
            trainer.extra_state["held_out"] = [self.validation_error()]
            trainer.extra_tensors = _copy_parameters(self.parameters())
        self.validation_errors = trainer.extra_state["held_out"]
        trainer.run(self.loss, self.batches, lambda: self.should_stop(trainer))
        with torch.no_grad():
            for name, parameter in self.parameters().items():
                parameter.copy_(trainer.extra_tensors[name])
        self.model.train(mode=False)

    def batches(self, rng: np.random.Generator) -> list[Int64Array]:
        """Return the batches of one epoch, as rows of the table."""
        lengths = [len(self.ids[i]) for i in self.train_rows]
        batches = shuffled_length_batches(lengths, self.config.schedule.batch_size, rng)
        return [self.train_rows[batch] for batch in batches]

    def loss(self, batch: Int64Array, _: np.random.Generator) -> torch.Tensor:
        """Return the mean squared error of a batch of rows."""
        self.model.train()
        return self._squared_errors(batch).mean()

    def _squared_errors(self, batch: Int64Array) -> torch.Tensor:
        """Return the mean squared error of each prompt over its measured cells, `(batch,)`."""
        import torch

        hidden_states, mask = run_bert(self.model, [self.ids[i] for i in batch])
        targets = self.targets[torch.from_numpy(batch)]
        is_measured = ~targets.isnan()
        errors = torch.where(
            is_measured, self.head(mean_pool(hidden_states, mask)) - targets.nan_to_num(), 0.0
        )
        return errors.pow(2).sum(1) / is_measured.sum(1)

    def validation_error(self) -> float:
        """Return the mean squared error on the held-out prompts, in squared units of the loss."""
        import torch

        self.model.train(mode=False)
        squared_error_sum = 0.0
        lengths = [len(self.ids[i]) for i in self.validation_rows]
        with torch.inference_mode():
            for batch in length_batches(lengths, self.config.schedule.batch_size):
                squared_error_sum += float(self._squared_errors(self.validation_rows[batch]).sum())
        return squared_error_sum / len(self.validation_rows) * self.loss_std**2

    def should_stop(self, trainer: ResumableTrainer) -> bool:
        """Keep the weights if they are the best so far; stop when the patience is used up."""
        errors: list[float] = trainer.extra_state["held_out"]
        errors.append(self.validation_error())
        best_epoch = int(np.argmin(errors))
        if best_epoch == len(errors) - 1:
            trainer.extra_tensors = _copy_parameters(self.parameters())
        return len(errors) - 1 - best_epoch >= self.config.patience


def shuffled_length_batches(
    lengths: Sequence[int], max_tokens: int, rng: np.random.Generator
) -> list[Int64Array]:
    """Return batches of texts of about equal length, in random order.

    Lengths are varied a little at random, so that each epoch puts other texts together. A batch has
    at most `max_tokens` padded tokens, plus up to a tenth.
    """
    noisy_lengths = np.asarray(lengths) * rng.uniform(0.9, 1.1, len(lengths))
    batches = list(
        length_batches(np.maximum(1, np.ceil(noisy_lengths)).astype(int).tolist(), max_tokens)
    )
    return [batches[i] for i in rng.permutation(len(batches))]


def _split(table: QTable, config: FinetuneConfig) -> tuple[Int64Array, Int64Array]:
    """Split the measured rows into those to train and to validate on; equal texts stay together."""
    measured_rows = np.flatnonzero(table.measured.any(1))
    groups = table.groups[measured_rows]
    if len(np.unique(groups)) < MIN_PROMPTS:
        raise QTableError(
            f"{len(np.unique(groups))} different prompts are measured; "
            f"training end to end needs at least {MIN_PROMPTS}, and hundreds to be of use"
        )
    order = np.random.default_rng(config.schedule.seed).permutation(np.unique(groups))
    held_out_groups = order[: max(1, round(config.validation_fraction * len(order)))]
    is_held_out = np.isin(groups, held_out_groups)
    return measured_rows[~is_held_out], measured_rows[is_held_out]


def _make_head(dim: int, n_experts: int, rank: int | None) -> torch.nn.Module:
    """Map an embedding linearly to the experts' losses, through at most `rank` numbers."""
    import torch

    layers = []
    if rank is not None:
        layers.append(torch.nn.Linear(dim, rank))
        torch.nn.init.orthogonal_(layers[0].weight, gain=dim**0.5)
    output_layer = torch.nn.Linear(dim if rank is None else rank, n_experts)
    torch.nn.init.zeros_(output_layer.weight)  # at first each expert's mean loss is predicted
    torch.nn.init.zeros_(output_layer.bias)
    return torch.nn.Sequential(*layers, output_layer)


def _copy_parameters(parameters: dict[str, torch.nn.Parameter]) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


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

    `quantize` writes int8 weights: a quarter of the size, and twice as fast. One scale per output
    channel and one unused bit (`reduce_range`, so that processors without VNNI do not overflow)
    keep a cosine of about .997 to the float embeddings. `keep_weights` adds the float weights, for
    torch and for further training.

    Raises:
        MissingExtraError: torch, onnx or onnxruntime is not installed.
    """
    for package in ("torch", "onnx", "onnxruntime"):
        require_extra(package, "train")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TOKENIZER_FILE).write_text(tokenizer.to_str(), "utf-8")
    if keep_weights:
        _save_weights(model, folder)
    with tempfile.TemporaryDirectory(dir=folder) as temporary_folder:
        float_path = Path(temporary_folder) / "float.onnx"
        int8_path = Path(temporary_folder) / "int8.onnx"
        _export_onnx(model, float_path)
        if quantize:
            _quantize(float_path, int8_path)
        (int8_path if quantize else float_path).replace(folder / ONNX_FILE)
    write_encoder_header(folder, "transformer", dim=model.config.hidden_size, max_length=max_length)
    return TransformerEncoder.load(folder)


def _save_weights(model: BertModel, folder: Path) -> None:
    from safetensors.torch import save_file

    (folder / CONFIG_FILE).write_text(model.config.to_json_string(), "utf-8")
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def _export_onnx(model: BertModel, path: Path) -> None:
    import torch

    class PooledEncoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            output = self.model(input_ids=input_ids, attention_mask=attention_mask)
            return mean_pool(output.last_hidden_state, attention_mask.float())

    example = torch.ones(2, 16, dtype=torch.long)
    axes = {0: "batch", 1: "length"}
    attention_implementation = model.config._attn_implementation  # noqa: SLF001 - transformers has no public name
    model.config._attn_implementation = "eager"  # noqa: SLF001 - transformers has no public name; sdpa cannot be quantized
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns about constants that it folds
            torch.onnx.export(
                PooledEncoder().eval(),
                (example, example),
                str(path),
                input_names=["input_ids", "attention_mask"],
                output_names=["embedding"],
                dynamic_axes={"input_ids": axes, "attention_mask": axes, "embedding": {0: "batch"}},
                dynamo=False,
                opset_version=_ONNX_OPSET,
            )
    finally:
        model.config._attn_implementation = attention_implementation  # noqa: SLF001 - transformers has no public name


def _quantize(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    preprocessed_path = source.with_name("preprocessed.onnx")
    quant_pre_process(
        str(source), str(preprocessed_path), skip_optimization=True, skip_symbolic_shape=True
    )
    quantize_dynamic(
        preprocessed_path, target, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True
    )
