"""The base class of operations that `kills.py` kills, and small things to run them on."""

from __future__ import annotations

import itertools
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tryage import Expert, Library, Preferences, QTable, Router
from tryage.learning.training.trainer import fit
from tryage.perception.encoder import StaticEncoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from forks import Report


TOPICS = ("sum", "prove", "code", "poem", "law")
PLACES = ("paris", "tokyo", "lima", "oslo", "accra", "quito", "delhi", "cairo")
EXPERTS = ("tiny", "coder", "large")


class InvariantError(Exception):
    """Something is lost, doubled or mixed."""


def expect(is_so: bool, otherwise: str) -> None:
    """Raise `InvariantError` with a message unless a condition holds."""
    if not is_so:
        raise InvariantError(otherwise)


class Operation:
    """What is killed: it works in a folder, and says what it promises.

    All methods but `prepared` and `reset` run in children of the process that has prepared. They
    raise `InvariantError` for what must not be. `lines` holds what the last run has reported.
    """

    name: ClassVar[str]
    lines: Sequence[str] = ()

    @contextmanager
    def prepared(self, folder: Path) -> Iterator[None]:  # noqa: ARG002 - of what each run starts
        """Fill the folder from which each run starts with a copy; end servers afterwards."""
        yield

    def reset(self) -> None:
        """Bring back what is not in the folder; runs before each run, in the parent."""

    def run(self, folder: Path, report: Report) -> None:
        """Do it, and report each promise once it is given."""
        raise NotImplementedError

    def check(self, folder: Path) -> str:
        """Open what the kill has left, compare it with what was promised; return a word for it."""
        raise NotImplementedError

    def finish(self, folder: Path) -> None:
        """Go on to the end, and check that nothing is lost or doubled."""
        raise NotImplementedError


def make_table(seed: int = 0, n_places: int = len(PLACES)) -> QTable:
    """Return losses of three experts on prompts of five topics."""
    rng = np.random.default_rng(seed)
    pairs = list(itertools.product(TOPICS, PLACES[:n_places]))
    skills = ({"sum"}, {"code", "sum"}, set(TOPICS))
    chance = np.array([[0.1 if topic in own else 0.8 for own in skills] for topic, _ in pairs])
    losses = (rng.random(chance.shape) < chance).astype(np.float32)
    prompts = tuple(f"{topic} {place}" for topic, place in pairs)
    return QTable(prompts, EXPERTS, losses, categories=tuple(topic for topic, _ in pairs))


def make_router(seed: int = 0, preferences: Preferences | None = None) -> Router:
    """Return a router that was trained on a small table in milliseconds."""
    words = ("[UNK]", *TOPICS, *PLACES)
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0]))
    tokenizer.pre_tokenizer = Whitespace()
    rows = np.random.default_rng(0).normal(size=(len(words), 8)).astype(np.float32)
    library = Library(
        [
            Expert("tiny", parameters=1e9, input_price=0.1, output_price=0.2),
            Expert("coder", parameters=7e9, input_price=0.5, output_price=1.0),
            Expert("large", parameters=70e9, input_price=3.0, output_price=9.0),
        ]
    )
    encoder = StaticEncoder.from_rows(rows, tokenizer)
    perception = fit(make_table(seed), encoder, library=library, progress=False)
    return Router(perception, library, preferences=preferences)


def describe(router: Router) -> str:
    """Return what must belong together in a saved router: experts, preferences and abilities."""
    weights = sorted(router.preferences.weights.items())
    means = float(router.perception.abilities.means.sum())
    return f"{router.library.names[:4]} {len(router.library)} {weights} {means:.5f}"


def make_old(paths: Iterable[Path]) -> None:
    """Let files look as if they were made an hour ago: younger ones may still be in use."""
    for path in paths:
        os.utime(path, (time.time() - 3_600.0,) * 2)


def hidden_files(folder: Path) -> list[str]:
    """Return what a killed process may leave: hidden and partial files, without locks."""
    paths = folder.rglob("*")
    return sorted(
        path.relative_to(folder).as_posix()
        for path in paths
        if (path.name.startswith(".") or path.suffix == ".partial") and path.name != ".lock"
    )
