"""A character LSTM trained on Reddit titles, with half a million parameters."""

from __future__ import annotations

import json
import math
from functools import cached_property
from typing import TYPE_CHECKING

import h5py
import numpy as np
import torch

from experts.base import RAW_BITS, package_folder
from tryage import Expert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START = "<s>"
WINDOW = 40  # the network reads this many characters back
HIDDEN = 128


class TitleLSTM:
    """The default network of textgenrnn, rebuilt in torch from its HDF5 weights."""

    expert = Expert("textgenrnn-titles", parameters=461_372, license="mit", context_length=WINDOW)

    def __init__(self, new_characters: int = 80, temperature: float = 0.3, seed: int = 0) -> None:
        self.new_characters = new_characters
        self.temperature = temperature
        self.seed = seed

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        path = package_folder("textgenrnn") / "textgenrnn_vocab.json"
        vocabulary: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
        return vocabulary

    @cached_property
    def _network(self) -> Callable[[torch.Tensor], torch.Tensor]:
        with h5py.File(package_folder("textgenrnn") / "textgenrnn_weights.hdf5", "r") as weights:
            return _network(weights)

    def answer(self, prompt: str) -> Iterator[str]:
        """Continue the prompt, one sampled character at a time, until the title ends."""
        rng = torch.Generator().manual_seed(self.seed)
        letters = {i: letter for letter, i in self._vocabulary.items()}
        ids = [self._vocabulary[START], *self._known(f"{prompt} ")]
        for _ in range(self.new_characters):
            scores = self._network(torch.tensor([_window(ids)]))[0, 1:]  # 0 is padding
            probabilities = (scores / self.temperature).softmax(-1)
            ids.append(1 + int(torch.multinomial(probabilities, 1, generator=rng)))
            if letters[ids[-1]] == START:
                return
            yield letters[ids[-1]]

    def loss(self, text: str) -> float:
        """Return the causal loss in bits per byte."""
        ids = [self._vocabulary[START], *self._known(text)]
        bits = RAW_BITS * sum(len(c.encode()) for c in text if c not in self._vocabulary)
        windows = torch.tensor([_window(ids[:end]) for end in range(1, len(ids))])
        if len(windows):
            scores = self._network(windows).log_softmax(-1)
            bits -= float(scores.gather(1, torch.tensor(ids[1:])[:, None]).sum()) / math.log(2)
        return min(bits / len(text.encode()), RAW_BITS)

    def _known(self, text: str) -> list[int]:
        return [self._vocabulary[letter] for letter in text if letter in self._vocabulary]


def _window(ids: list[int]) -> list[int]:
    """Return the last `WINDOW` characters, padded on the left."""
    last = ids[-WINDOW:]
    return [0] * (WINDOW - len(last)) + last


def _network(weights: h5py.File) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function from windows `(batch, WINDOW)` to scores `(batch, n_characters)`."""

    def tensor(name: str) -> torch.Tensor:
        return torch.tensor(weights[name][()]).float()

    embed = tensor("embedding/embedding/embeddings:0")
    first = _lstm(weights, 1, embed.shape[1])
    second = _lstm(weights, 2, HIDDEN)
    attention = tensor("attention/attention/attention_W:0")
    kernel, bias = tensor("output/output/kernel:0"), tensor("output/output/bias:0")

    def scores(windows: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            letters = embed[windows]
            low, _ = first(letters)
            high, _ = second(low)
            seen = torch.cat([letters, low, high], -1)
            focus = (seen @ attention).squeeze(-1).softmax(-1)
            return (focus.unsqueeze(-1) * seen).sum(1) @ kernel + bias

    return scores


def _lstm(weights: h5py.File, layer: int, inputs: int) -> torch.nn.LSTM:
    """Rebuild one layer; the file has the gates in the layout of a GPU kernel."""
    prefix = f"rnn_{layer}/rnn_{layer}"
    kernels = np.hsplit(weights[f"{prefix}/kernel:0"][()], 4)
    recurrent = np.hsplit(weights[f"{prefix}/recurrent_kernel:0"][()], 4)
    bias = torch.tensor(weights[f"{prefix}/bias:0"][()])
    kernel = np.hstack([k.T.reshape(k.shape, order="F") for k in kernels])
    lstm = torch.nn.LSTM(inputs, HIDDEN, batch_first=True)
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(torch.tensor(kernel.T.copy()))
        lstm.weight_hh_l0.copy_(torch.tensor(np.hstack([k.T for k in recurrent]).T.copy()))
        lstm.bias_ih_l0.copy_(bias[: 4 * HIDDEN])
        lstm.bias_hh_l0.copy_(bias[4 * HIDDEN :])
    return lstm
