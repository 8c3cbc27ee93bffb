"""Runs the first layers of a language model, and pools their hidden states over the tokens."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.validation import require_extra
from tryage.errors import InputError, PersistenceError
from tryage.perception.transformer import length_batches

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import torch

    from tryage.core.arrays import Float32Array, Int64Array

EXTRA = "deep"  # the extra that installs what runs language models

DTYPES = ("float32", "bfloat16", "float16")

POOLINGS = ("mean", "last")

_CPU_BATCH_TOKENS, _GPU_BATCH_TOKENS = 2_048, 32_768  # padded tokens of one pass

_PROBE_IDS = ((0, 1), (0, 2))  # two sequences of the same first token


class LanguageModel:
    """The first layers of a language model: token ids in, pooled hidden states out.

    `layers` count from 1 as the entries of transformers' `hidden_states` do, negative ones from the
    end. Each sequence is `prefix_ids`, its own ids, `suffix_ids`. Of a causal model the keys and
    values of the prefix are computed once. Layers above the last one that is needed are dropped.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        PersistenceError: the model cannot be read, or cannot run on the device.
        InputError: the model does not have a layer, or is an encoder with a decoder.
    """

    def __init__(  # noqa: PLR0913 - what to read, of which model, how to run it
        self,
        folder: Path,
        layers: Sequence[int] | None,
        poolings: Sequence[str],
        *,
        prefix_ids: Int64Array,
        suffix_ids: Int64Array,
        device: str | None = None,
        dtype: str = "float32",
        trust_remote_code: bool = False,
    ) -> None:
        for package in ("torch", "transformers"):
            require_extra(package, EXTRA)
        import torch

        self._torch = torch
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._model = _load_model(folder, self.device, dtype, trust_remote_code=trust_remote_code)
        text_config = self._model.config.get_text_config()
        text_config.use_cache = False  # by default; some models do not take it as an argument
        self.width = int(text_config.hidden_size)
        self.max_positions: int | None = getattr(text_config, "max_position_embeddings", None)
        self.layers = _check_layers(layers, int(text_config.num_hidden_layers))
        self._poolings = tuple(poolings)
        self._prefix_ids, self._suffix_ids = prefix_ids, suffix_ids
        self._local = threading.local()  # the hidden states of the pass that this thread runs
        self._drop_layers(int(text_config.num_hidden_layers))
        self._is_causal = self._states_ignore_later_tokens()
        self._prefix_cache = self._run_prefix() if self._is_causal and len(prefix_ids) else None

    def pooled_states(self, ids: Sequence[Int64Array]) -> Float32Array:
        """Return the pooled states of sequences that have a token, `(batch, n_blocks, width)`.

        The blocks are those of the first layer, one for each pooling, then those of the next layer.
        The mean is over a sequence's own tokens, the last state that of its last token, suffix
        included. The first token of a causal model collects attention, and its states are about the
        same for all texts (Sun et al., 2024, "Massive activations"): the mean leaves it out.
        """
        rows = np.zeros((len(ids), len(self.layers) * len(self._poolings), self.width), np.float32)
        max_tokens = _CPU_BATCH_TOKENS if self.device == "cpu" else _GPU_BATCH_TOKENS
        extra_tokens = len(self._prefix_ids) + len(self._suffix_ids)
        lengths = [len(sequence) + extra_tokens for sequence in ids]
        for batch in length_batches(lengths, max_tokens):
            rows[batch] = self._pool_batch([ids[i] for i in batch])
        return rows

    def _pool_batch(self, ids: Sequence[Int64Array]) -> Float32Array:
        torch = self._torch
        prefix_ids = self._prefix_ids if self._prefix_cache is None else self._prefix_ids[:0]
        sequences = [np.concatenate([prefix_ids, own, self._suffix_ids]) for own in ids]
        is_own = self._own_tokens(ids, len(prefix_ids)).to(self.device)
        last = torch.tensor([len(sequence) - 1 for sequence in sequences], device=self.device)
        pooled = [
            _pool(states, pooling, is_own, last)
            for states in self._hidden_states(sequences, self._prefix_cache)
            for pooling in self._poolings
        ]
        return np.asarray(torch.stack(pooled, dim=1).cpu().numpy(), np.float32)

    def _own_tokens(self, ids: Sequence[Int64Array], n_before: int) -> torch.Tensor:
        """Return which states the mean is over, `(batch, length)`; `n_before` are of the prefix."""
        import torch

        has_first_token = self._is_causal and not len(self._prefix_ids)
        starts = torch.tensor([n_before + int(has_first_token and len(own) > 1) for own in ids])
        stops = torch.tensor([n_before + len(own) for own in ids])
        positions = torch.arange(int(stops.max()) + len(self._suffix_ids))
        is_own: torch.Tensor = (positions >= starts[:, None]) & (positions < stops[:, None])
        return is_own

    def _hidden_states(
        self,
        sequences: Sequence[Sequence[int] | Int64Array],
        prefix_cache: Any = None,  # noqa: ANN401 - a Cache of transformers
    ) -> list[torch.Tensor]:
        """Return the states of each needed layer, `(batch, length, width)`, padded at the end."""
        torch = self._torch
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        mask = torch.arange(int(lengths.max()))[None, :] < lengths[:, None]
        ids = torch.zeros(mask.shape, dtype=torch.long)
        ids[mask] = torch.from_numpy(np.concatenate(sequences).astype(np.int64))
        if prefix_cache is None:
            return self._run(ids, mask.long())[0]
        cache = copy.deepcopy(prefix_cache)  # a pass adds to it
        cache.batch_repeat_interleave(len(sequences))
        prefix_mask = torch.ones((len(sequences), len(self._prefix_ids)), dtype=torch.bool)
        mask = torch.cat([prefix_mask, mask], dim=1)
        return self._run(ids, mask.long(), use_cache=True, past_key_values=cache)[0]

    def _run(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        **arguments: Any,  # noqa: ANN401 - of the model
    ) -> tuple[list[torch.Tensor], Any]:
        """Run one batch; return the states of each needed layer, and the keys and values."""
        self._local.states = {}
        with self._torch.inference_mode():
            output = self._model(
                input_ids=ids.to(self.device), attention_mask=mask.to(self.device), **arguments
            )
        states = {**self._local.states, self._n_layers: output.last_hidden_state}
        self._local.states = {}
        return [states[layer] for layer in self.layers], output.get("past_key_values")

    def _run_prefix(self) -> Any:  # noqa: ANN401 - a Cache of transformers
        """Return the keys and values of the prefix; None if the model keeps something else."""
        from transformers import DynamicCache

        ids = self._torch.from_numpy(self._prefix_ids)[None, :]
        _, cache = self._run(ids, self._torch.ones_like(ids), use_cache=True)
        return cache if isinstance(cache, DynamicCache) else None

    def _drop_layers(self, n_layers: int) -> None:
        """Drop the layers that are not needed, and keep the states that the needed ones return.

        The model's own last layer is not watched: what counts there is the normalized state.
        """
        modules = self._find_layers(n_layers)
        n_kept = self.layers_needed
        self._n_layers = n_layers
        if n_kept < n_layers:
            del modules[n_kept:]
            self._model.config.get_text_config().num_hidden_layers = n_kept
        for layer in set(self.layers) - {n_layers}:
            modules[layer - 1].register_forward_hook(self._make_hook(layer))

    @property
    def layers_needed(self) -> int:
        """The number of layers that run."""
        return max(self.layers)

    def _find_layers(self, n_layers: int) -> torch.nn.ModuleList:
        for module in self._model.modules():
            if isinstance(module, self._torch.nn.ModuleList) and len(module) == n_layers:
                return module
        raise InputError(
            f"{type(self._model).__name__} has no list of {n_layers} layers, so that none of them "
            "can be read; expected a model such as Llama, Qwen, GPT-2 or BERT"
        )

    def _make_hook(self, layer: int) -> Any:  # noqa: ANN401 - a hook of torch
        def keep_output(_module: object, _inputs: object, output: Any) -> None:  # noqa: ANN401 - a tensor, or a tuple that begins with one
            states = output[0] if isinstance(output, tuple) else output
            self._local.states[layer] = states

        return keep_output

    def _states_ignore_later_tokens(self) -> bool:
        """Tell whether the model is causal: the first state is the same whatever comes after it.

        No field of a config says so for all models.
        """
        one, two = (self._hidden_states([ids])[0][0, 0].float() for ids in _PROBE_IDS)
        return bool(self._torch.allclose(one, two, rtol=1e-5, atol=1e-6))


def _load_model(folder: Path, device: str, dtype: str, *, trust_remote_code: bool) -> Any:  # noqa: ANN401 - a model of transformers, whose methods have no types
    import torch
    import transformers

    try:
        with _quiet():
            model: Any = transformers.AutoModel.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
            )
        model = model.to(device=device, dtype=getattr(torch, dtype))
    except Exception as error:  # readers of foreign files raise anything
        raise PersistenceError(
            f"{folder} cannot be read as a language model on {device!r}: {str(error)[:300]} "
            "Expected a folder with config.json, tokenizer.json and safetensors; pickled weights "
            "are not read, and code of a repository runs only with trust_remote_code=True."
        ) from error
    if model.config.is_encoder_decoder:
        raise InputError(
            f"{folder} is an encoder with a decoder; expected a causal or an encoder language model"
        )
    model.train(mode=False)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bar of loading, and the note that the model's head is left out."""
    from transformers.utils import logging as untyped_logging

    logging: Any = untyped_logging
    verbosity, has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bar:
            logging.enable_progress_bar()


def _check_layers(layers: Sequence[int] | None, n_layers: int) -> tuple[int, ...]:
    """Return layers counted from 1; by default those at half and three quarters of the depth."""
    if layers is None:
        layers = sorted({max(n_layers // 2, 1), max(3 * n_layers // 4, 1)})
    is_list = isinstance(layers, Sequence) and all(type(layer) is int for layer in layers)
    checked = [layer + n_layers + 1 if layer < 0 else layer for layer in layers] if is_list else []
    is_known = all(1 <= layer <= n_layers for layer in checked)
    if not checked or not is_known or len(set(checked)) < len(checked):
        raise InputError(
            f"layers are {layers!r:.80}; expected different numbers from 1 to {n_layers}, or from "
            f"-{n_layers} to -1, which count from the end"
        )
    return tuple(checked)


def _pool(
    states: torch.Tensor, pooling: str, is_own: torch.Tensor, last: torch.Tensor
) -> torch.Tensor:
    """Pool states `(batch, length, width)` to `(batch, width)`, float32."""
    import torch

    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), last].float()
    weights = is_own.float()
    return (states.float() * weights[..., None]).sum(dim=1) / weights.sum(dim=1, keepdim=True)
