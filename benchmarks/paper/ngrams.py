"""N-gram experts over bytes: language models that train in a second and are measured exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tryage.scoring.measurement import Measurement, MeasurerIdentity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tryage import Expert
    from tryage.scoring.measurement import Budget, Prompt

Keys = NDArray[np.int64]
Floats = NDArray[np.float64]
MAX_CONTEXT = 6  # bytes; with one more a key would not fit into 64 bits
START = b"\0" * MAX_CONTEXT


@dataclass(frozen=True)
class Level:
    """The bytes that follow contexts of one length: sorted keys, and how often each was seen.

    `distinct` is the number of different bytes that followed a context.
    """

    grams: Keys
    seen: Floats
    contexts: Keys
    total: Floats
    distinct: Floats


class NGrams:
    """A byte n-gram model, interpolated over all shorter contexts (Witten and Bell, 1991).

    Its probabilities sum to one over the 256 bytes, so its losses per character are comparable
    with those of any causal model.
    """

    def __init__(self, levels: Sequence[Level]) -> None:
        self.levels = levels

    @classmethod
    def train(cls, texts: Iterable[str], order: int = 5) -> NGrams:
        """Count the bytes that follow contexts of up to `order` bytes, at most six."""
        data, is_text = _join([text.encode() for text in texts])
        return cls([_level(_keys(data, length)[is_text]) for length in range(order + 1)])

    @property
    def parameters(self) -> int:
        """The number of counts."""
        return sum(len(level.grams) for level in self.levels)

    def nats(self, texts: Sequence[str]) -> list[float]:
        """Return the negative log-likelihood of each text in nats, over all of its bytes."""
        return self.bytes_nats([text.encode() for text in texts])

    def bytes_nats(self, parts: Sequence[bytes]) -> list[float]:
        """Return the negative log-likelihood of each byte string in nats."""
        data, is_text = _join(parts)
        probability = np.full(int(is_text.sum()), 1 / 256)
        for length, level in enumerate(self.levels):
            # Sorted and unique, because a search in random order takes most of the time.
            grams, index = np.unique(_keys(data, length)[is_text], return_inverse=True)
            total = _look_up(level.contexts, level.total, grams >> 8)[index]
            distinct = _look_up(level.contexts, level.distinct, grams >> 8)[index]
            mixed = _look_up(level.grams, level.seen, grams)[index] + distinct * probability
            np.divide(mixed, total + distinct, out=probability, where=total > 0)
        ends = np.cumsum([0, *map(len, parts)])
        cumulative = np.concatenate([[0.0], np.cumsum(-np.log(probability))])
        return (cumulative[ends[1:]] - cumulative[ends[:-1]]).tolist()


@dataclass(frozen=True)
class NGramExpert:
    """An n-gram model as an expert that `tryage.scoring.run.score` measures."""

    expert: Expert
    model: NGrams

    def identify(self) -> MeasurerIdentity:
        """Return the expert and the method."""
        return MeasurerIdentity(
            self.expert, f"byte n-grams, {len(self.model.levels) - 1} bytes back"
        )

    def measure(
        self,
        prompts: Sequence[Prompt],
        budget: Budget,  # noqa: ARG002 - it costs nothing
    ) -> Iterator[tuple[int, Measurement]]:
        """Yield the losses of all prompts."""
        for i, nats in enumerate(self.model.nats([prompt.text for prompt in prompts])):
            text = prompts[i].text
            size = len(text.encode())
            yield (
                i,
                Measurement(
                    loss=nats / size,
                    loss_per_char=nats / len(text),
                    bits_per_byte=nats / size / math.log(2),
                ),
            )


def _join(parts: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Join texts with a start before each; also return which bytes belong to the texts."""
    data = np.frombuffer(b"".join(START + part for part in parts), np.uint8)
    is_text = [np.repeat([False, True], [MAX_CONTEXT, len(part)]) for part in parts]
    return data, np.concatenate(is_text)


def _keys(data: NDArray[np.uint8], length: int) -> Keys:
    """Return each byte with the `length` bytes before it as one number."""
    keys = data.astype(np.int64)
    for shift in range(1, length + 1):
        keys[shift:] += data[:-shift].astype(np.int64) << (8 * shift)
    return keys


def _level(grams: Keys) -> Level:
    keys, seen = np.unique(grams, return_counts=True)
    contexts, index, distinct = np.unique(keys >> 8, return_inverse=True, return_counts=True)
    total = np.bincount(index, seen)
    return Level(keys, seen.astype(float), contexts, total, distinct.astype(float))


def _look_up(keys: Keys, values: Floats, wanted: Keys) -> Floats:
    """Look values up by sorted keys; an unknown key has the value zero."""
    index = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[index] == wanted, values[index], 0.0)
