"""Character n-gram experts: language models that a second of training makes, measured exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tryage.learning.scoring.measurement import Measurement, MeasurerIdentity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tryage import Expert
    from tryage.learning.scoring.measurement import Budget, Prompt

Keys = NDArray[np.int64]
Floats = NDArray[np.float64]
MOST = 6  # bytes of context: one more would not fit into a key of 64 bits with its mark
START = b"\0" * MOST


@dataclass(frozen=True)
class Level:
    """What follows contexts of one length: sorted keys with how often each was seen.

    `distinct` counts the different bytes that followed a context.
    """

    grams: Keys
    seen: Floats
    contexts: Keys
    total: Floats
    distinct: Floats


class NGrams:
    """A byte n-gram model, interpolated over all shorter contexts (Witten and Bell, 1991).

    Its probabilities sum to one over the 256 bytes, so its losses compare with those of any causal
    model per character.
    """

    def __init__(self, levels: Sequence[Level]) -> None:
        self.levels = levels

    @classmethod
    def trained(cls, texts: Iterable[str], order: int = 5) -> NGrams:
        """Count what follows contexts of up to `order` bytes, at most six."""
        data, known = _joined([text.encode() for text in texts])
        return cls([_level(_keys(data, length)[known]) for length in range(order + 1)])

    @property
    def parameters(self) -> int:
        """How many counts it keeps."""
        return sum(len(level.grams) for level in self.levels)

    def nats(self, texts: Sequence[str]) -> list[float]:
        """Return the nats that each text costs, all of its bytes predicted."""
        return self.bytes_nats([text.encode() for text in texts])

    def bytes_nats(self, parts: Sequence[bytes]) -> list[float]:
        """Return the nats that each run of bytes costs."""
        data, known = _joined(parts)
        chance = np.full(int(known.sum()), 1 / 256)
        for length, level in enumerate(self.levels):
            # Sorted and each once: searching for them in any order takes most of the time.
            grams, of = np.unique(_keys(data, length)[known], return_inverse=True)
            total = _found(level.contexts, level.total, grams >> 8)[of]
            distinct = _found(level.contexts, level.distinct, grams >> 8)[of]
            mixed = _found(level.grams, level.seen, grams)[of] + distinct * chance
            np.divide(mixed, total + distinct, out=chance, where=total > 0)
        ends = np.cumsum([0, *map(len, parts)])
        running = np.concatenate([[0.0], np.cumsum(-np.log(chance))])
        return (running[ends[1:]] - running[ends[:-1]]).tolist()


@dataclass(frozen=True)
class NGramExpert:
    """An n-gram model as an expert that `tryage.learning.scoring.run.score` measures."""

    expert: Expert
    model: NGrams

    def identify(self) -> MeasurerIdentity:
        """Say whose losses these are."""
        return MeasurerIdentity(
            self.expert, f"byte n-grams, {len(self.model.levels) - 1} bytes back"
        )

    def measure(
        self,
        prompts: Sequence[Prompt],
        budget: Budget,  # noqa: ARG002 - it costs nothing
    ) -> Iterator[tuple[int, Measurement]]:
        """Yield the losses of all prompts."""
        for at, nats in enumerate(self.model.nats([prompt.text for prompt in prompts])):
            text = prompts[at].text
            size = len(text.encode())
            yield (
                at,
                Measurement(
                    loss=nats / size,
                    loss_per_char=nats / len(text),
                    bits_per_byte=nats / size / math.log(2),
                ),
            )


def _joined(parts: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Join texts, a start before each; and which bytes are the texts' own."""
    data = np.frombuffer(b"".join(START + part for part in parts), np.uint8)
    own = [np.repeat([False, True], [MOST, len(part)]) for part in parts]
    return data, np.concatenate(own)


def _keys(data: NDArray[np.uint8], length: int) -> Keys:
    """Write each byte with the `length` bytes before it as one number."""
    keys = data.astype(np.int64)
    for back in range(1, length + 1):
        keys[back:] += data[:-back].astype(np.int64) << (8 * back)
    return keys


def _level(grams: Keys) -> Level:
    keys, seen = np.unique(grams, return_counts=True)
    contexts, of, distinct = np.unique(keys >> 8, return_inverse=True, return_counts=True)
    total = np.bincount(of, seen)
    return Level(keys, seen.astype(float), contexts, total, distinct.astype(float))


def _found(keys: Keys, values: Floats, wanted: Keys) -> Floats:
    """Look values up by sorted keys; zero where there is none."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0.0)
