"""What a library says about its experts, as numbers from which their abilities can be guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.memo import remember
from tryage.perception.families import family

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tryage.experts import Library
    from tryage.perception.base import Floats

NUMBERS = ("size", "share", "age", "downloads", "price", "context")
_MARKS = {
    "instruct": r"instruct|chat|[-_]it(?![a-z])|sft|assistant",
    "preference": r"dpo|orpo|rlhf|ppo|kto",
    "merge": r"merge|slerp|ties|dare|franken|[-_ ]moe(?![a-z])|passthrough",
    "quantised": r"gguf|ggml|gptq|awq|exl2|[48]-?bit|int[48](?!\d)|bnb|mlx",
    "code": r"code|sql",
    "mathematics": r"math|gsm",
    "reasoning": r"reason|think|[-_]r1(?!\d)|qwq|(?<![a-z0-9])o[134](?![a-z0-9])",
}
FLAGS = (*_MARKS, "closed")
_MARK = re.compile("|".join(f"({pattern})" for pattern in _MARKS.values()))
_EPOCH = 738_521  # 2023-01-01, in ordinal days


@dataclass(frozen=True, slots=True)
class Traits:
    """Traits of `n` experts; experts that share family and flags are of one kind.

    `numbers` `(n, 6)` are NaN where unknown: decades of parameters, decades by which fewer are
    active, years since 2023, decades of downloads, of USD per million output tokens, of context.
    `kinds` `(n,)` are rows of `flags` `(n_kinds, 8)` and of `families`, the series and generation.
    """

    numbers: Floats
    kinds: NDArray[np.intp]
    flags: NDArray[np.bool_]
    families: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        """Count the experts."""
        return len(self.kinds)


def read_traits(library: Library) -> Traits:
    """Read the traits of every expert, once per library."""
    return remember(library, read_traits, lambda: _read(library))


def _read(library: Library) -> Traits:
    known: dict[tuple[int, tuple[str, str]], int] = {}
    metadata, closed = library.metadata, library.licensed(("proprietary",))
    kinds = [
        known.setdefault((marks(name) | shut << len(_MARKS), family(name, facts)), len(known))
        for name, facts, shut in zip(library.names, metadata, closed.tolist(), strict=True)
    ]
    bits = np.array([key[0] for key in known])
    return Traits(
        _numbers(library),
        np.array(kinds, dtype=np.intp),
        (bits[:, None] >> np.arange(len(FLAGS)) & 1).astype(np.bool_),
        tuple(key[1] for key in known),
    )


def marks(name: str) -> int:
    """Return what a name gives away, one bit for each of `FLAGS` but the last."""
    found = 0
    for match in _MARK.finditer(name.lower()):
        found |= 1 << (match.lastindex or 1) - 1
    return found


def _numbers(library: Library) -> Floats:
    parameters, active = library.column("parameters"), library.column("active_parameters")
    return np.stack(
        [
            _decades(parameters),
            np.minimum(np.nan_to_num(_decades(active) - _decades(parameters)), 0),  # dense: all
            (library.column("released") - _EPOCH) / 365.25,
            np.log10(1 + library.column("downloads")),
            _decades(library.column("output_price")),
            _decades(library.column("context_length")),
        ],
        axis=1,
    ).astype(np.float32)


def _decades(column: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log10(np.where(column > 0, column, np.nan))
