"""The accurate encoder: a short transformer, run by ONNX Runtime, or else by torch."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tryage.core.arrays import Float32Array, Int64Array
from tryage.errors import MissingExtraError, PersistenceError, TryageError
from tryage.files import check_regular_file
from tryage.perception.encoder import (
    MAX_LENGTH_RULE,
    TokenizingEncoder,
    read_encoder_header,
    write_encoder_header,
)
from tryage.perception.field_rules import Array, Sizes, WholeNumber, check_field
from tryage.perception.tokenizer import PromptTokenizer, head_and_tail
from tryage.perception.tokenizer_file import read_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import torch
    from numpy.typing import NDArray
    from tokenizers import Tokenizer
    from transformers import BertModel

ONNX_FILE, WEIGHTS_FILE, CONFIG_FILE, TOKENIZER_FILE = (
    "model.onnx",
    "model.safetensors",
    "config.json",
    "tokenizer.json",
)

# Padded tokens in one pass: about ten usual prompts, whose states stay in the cache. It is a third
# faster than 8,192 (measured).
BATCH_TOKENS = 1_024

_DIM_RULE = WholeNumber(low=1, high=2**16)

Forward = Callable[[Int64Array, Int64Array], Float32Array]
"""Token ids and mask, both `(batch, length)`, -> unit rows `(batch, dim)`."""


class TransformerEncoder(TokenizingEncoder):
    """Embeds a prompt with a BERT-like model: the mean of its last states, scaled to unit length.

    The folder holds `model.onnx` (run by ONNX Runtime), or `model.safetensors` and `config.json`
    (run by torch and transformers), or both; the ONNX file is preferred. If a prompt is longer than
    `max_length` tokens, only its two ends are read, half of the tokens each. The default is one
    thread: on the short prompts of a router, more threads cost more time than they save.
    """

    KIND: ClassVar[str] = "transformer"

    def __init__(
        self, folder: Path, tokenizer: Tokenizer, dim: int, max_length: int = 192, threads: int = 1
    ) -> None:
        self._folder, self._dim, self._max_length = folder, dim, max_length
        self._tokenizer = PromptTokenizer(tokenizer)
        self._special_ids = self._tokenizer.special_ids()  # [CLS] and [SEP]
        self._forward = _load_runtime(folder, threads)

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self._dim

    def encode(self, prompts: Sequence[str]) -> Float32Array:
        """Embed prompts into unit rows `(batch, dim)`; a prompt without a token becomes zeros.

        Raises:
            InputError: a single string, or something that is not text, was given.
        """
        ids = [self._add_special_tokens(text_ids) for text_ids in self._tokenizer.ids(prompts)]
        rows = np.zeros((len(ids), self.dim), np.float32)
        lengths = np.array([len(prompt_ids) for prompt_ids in ids], np.intp)
        for batch in length_batches(lengths.tolist(), BATCH_TOKENS):
            rows[batch] = self._forward(*_pad([ids[i] for i in batch]))
        rows[lengths == len(self._special_ids)] = 0
        return rows

    def _add_special_tokens(self, text_ids: Int64Array) -> Int64Array:
        text_ids = head_and_tail(text_ids, self._max_length - len(self._special_ids))
        return np.concatenate([self._special_ids[:1], text_ids, self._special_ids[1:]])

    def save(self, folder: Path) -> None:
        """Copy `tokenizer.json` and the weights, and write `encoder.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in (ONNX_FILE, WEIGHTS_FILE, CONFIG_FILE, TOKENIZER_FILE):
            source = self._folder / name
            if source.exists() and source.resolve() != (folder / name).resolve():
                shutil.copyfile(source, folder / name)
        write_encoder_header(folder, self.KIND, dim=self.dim, max_length=self._max_length)

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> TransformerEncoder:
        """Read the folder that `save` wrote.

        Raises:
            PersistenceError: a file is missing or damaged.
            InputError: a number in a file is impossible.
            MissingExtraError: neither ONNX Runtime nor torch can run the weights.
        """
        header = read_encoder_header(folder, {"dim": int, "max_length": int})
        check_field("dim", header["dim"], _DIM_RULE, Sizes({}))
        check_field("max_length", header["max_length"], MAX_LENGTH_RULE, Sizes({}))
        tokenizer = read_tokenizer(folder / TOKENIZER_FILE)
        try:
            encoder = cls(folder, tokenizer, header["dim"], header["max_length"], threads)
            row = encoder.encode(["a"])
        except TryageError:
            raise
        except Exception as error:  # each library that runs weights has errors of its own
            raise PersistenceError(f"{folder} holds no weights that run: {error!s:.200}") from error
        check_field("an embedding", row, Array(1, header["dim"]), Sizes({}))
        return encoder


def length_batches(lengths: Sequence[int], max_tokens: int) -> Iterator[NDArray[np.intp]]:
    """Yield the rows of batches of about equal length, at most `max_tokens` padded tokens each."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    for stop in range(1, len(order) + 1):
        is_full = stop < len(order) and (stop + 1 - start) * lengths[order[stop]] > max_tokens
        if is_full or stop == len(order):
            yield order[start:stop]
            start = stop


def _pad(ids: Sequence[Int64Array]) -> tuple[Int64Array, Int64Array]:
    """Return the token ids padded with zeros, and their mask, both `(batch, length)`."""
    lengths = np.array([len(prompt_ids) for prompt_ids in ids])
    mask = np.arange(lengths.max())[None, :] < lengths[:, None]
    padded = np.zeros(mask.shape, np.int64)
    padded[mask] = np.concatenate(ids)
    return padded, mask.astype(np.int64)


def _load_runtime(folder: Path, threads: int) -> Forward:
    """Choose the library that runs the weights: ONNX Runtime, else torch."""
    has_onnx, has_weights = (folder / ONNX_FILE).exists(), (folder / WEIGHTS_FILE).exists()
    for name, is_there in ((ONNX_FILE, has_onnx), (WEIGHTS_FILE, has_weights)):
        if is_there:
            check_regular_file(folder / name)
    if has_onnx and find_spec("onnxruntime"):
        return _load_onnx(folder / ONNX_FILE, threads)
    if has_weights and find_spec("torch") and find_spec("transformers"):
        return _load_torch(folder)
    if not has_onnx and not has_weights:
        raise PersistenceError(f"{folder} holds neither {ONNX_FILE} nor {WEIGHTS_FILE}")
    extra, packages = ("onnx", "onnxruntime") if has_onnx else ("train", "torch and transformers")
    raise MissingExtraError(
        f"a transformer encoder needs {packages}. Install with: pip install 'tryage[{extra}]'"
    )


def _load_onnx(path: Path, threads: int) -> Forward:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def forward(ids: Int64Array, mask: Int64Array) -> Float32Array:
        rows = session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return np.asarray(rows, np.float32)

    return forward


def _load_torch(folder: Path) -> Forward:
    import torch
    from transformers import BertModel

    model = BertModel.from_pretrained(folder, add_pooling_layer=False)
    model.train(mode=False)

    def forward(ids: Int64Array, mask: Int64Array) -> Float32Array:
        with torch.inference_mode():
            attention_mask = torch.from_numpy(mask)
            output = model(input_ids=torch.from_numpy(ids), attention_mask=attention_mask)
            rows = mean_pool(output.last_hidden_state.float(), attention_mask.float())
            return np.asarray(rows.numpy(), np.float32)

    return forward


def mean_pool(hidden_states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average the states of the real tokens, scaled to unit length `(batch, hidden)`."""
    import torch

    means = (hidden_states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return torch.nn.functional.normalize(means, dim=1)


def run_bert(
    model: BertModel, ids: Sequence[NDArray[np.int64]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run a BERT on one padded batch, in torch, so that it can be trained.

    Returns the last hidden states `(batch, length, hidden)` and the mask, both float32.
    """
    import torch

    length = max(map(len, ids))
    padded = torch.zeros(len(ids), length, dtype=torch.long)
    mask = torch.zeros(len(ids), length, dtype=torch.long)
    for row, row_ids in enumerate(ids):
        padded[row, : len(row_ids)] = torch.from_numpy(row_ids)
        mask[row, : len(row_ids)] = 1
    hidden_states = model(input_ids=padded, attention_mask=mask).last_hidden_state
    return hidden_states.float(), mask.float()
