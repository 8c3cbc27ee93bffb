"""How texts are cut and put together for a model: windows that slide, batches of like length."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Window(NamedTuple):
    """Tokens `start` to `end` are read; those from `first` on are scored."""

    start: int
    end: int
    first: int


def windows(n: int, length: int, stride: int) -> Iterator[Window]:
    """Yield windows that score each of `n` tokens but the first exactly once.

    Every window but the first moves by `stride`, so a token sees at least `length - stride` before
    it if there are so many.
    """
    first = 1
    for start in range(0, n, stride):
        end = min(start + length, n)
        if first < end:
            yield Window(start, end, first)
        first = end
        if end == n:
            return


def batches(lengths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Yield positions, shortest first: each batch padded to its longest fits in `room`.

    One that does not fit is a batch of its own.
    """
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[position] > room:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch
