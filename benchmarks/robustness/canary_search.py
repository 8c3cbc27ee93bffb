"""Canaries: made-up secrets of many forms, and the search for them in all that a run leaves behind.

A canary has a random core. It counts as found if the core, a part of it of eight characters, or the
core in another encoding stands in what is searched.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import os
import pickle
import random
import sys
import tempfile
import traceback
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tryage.testing.hub.http import FakeRequest

VISIBLE_PART = 8  # so many characters of a core in a row are a leak

_LETTERS = "abcdefghijkmnopqrstuvwxyz"
_MIXED = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"

_SHAPES = {
    "known prefix": ("sk-proj-", _MIXED, 32, ""),
    "no prefix": ("", _MIXED, 24, ""),
    "short": ("", _MIXED, 9, ""),
    "lower-case words": ("", _LETTERS, 18, ""),
    "signs": ("p@ss/w:", _MIXED, 12, "%#?&= x"),
    "Base64": ("", _MIXED + "+/", 30, "=="),
    "quotes": ('a"b\\', _MIXED, 12, "'c"),
    "hexadecimal": ("", "0123456789abcdef", 32, ""),
}
FORMS = tuple(_SHAPES)
"""How a secret may look; each run uses one of them for all places."""


class Leak(NamedTuple):
    """A canary that was found where it must not be."""

    place: str
    form: str
    surface: str
    excerpt: str


@dataclass(frozen=True)
class Canary:
    """A made-up secret: where it was given, the whole of it, and its random part."""

    place: str
    value: str
    core: str

    def needles(self) -> set[bytes]:
        """Return what is searched: the core and its parts, and the whole in other encodings."""
        size = min(VISIBLE_PART, len(self.core))
        texts = {self.core[i : i + size] for i in range(len(self.core) - size + 1)}
        texts |= {
            quote(self.value, safe=""),
            quote_plus(self.value),
            json.dumps(self.value)[1:-1],
            repr(self.value)[1:-1],
            html.escape(self.value),
            self.value.encode().hex(),
        }
        found = {text.encode() for text in texts}
        found.add(self.core.encode("utf-16-le"))
        return found | _base64_parts(self.value)


def _base64_parts(value: str) -> set[bytes]:
    """Return the Base64 of a text wherever it begins in what is encoded, without its ends."""
    parts = set()
    for offset in range(3):
        encoded = base64.b64encode(b"x" * offset + value.encode())
        inner = encoded[4 if offset else 0 : -4]
        if len(inner) >= VISIBLE_PART:
            parts |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return parts


@dataclass
class Sweep:
    """One run: the canaries that it gave, all that it left behind, and who may know which canary.

    Args:
        form: How the canaries look, one of `FORMS`.
        folder: Where the run works; every file in it is searched.
        seed: Makes the canaries.
    """

    form: str
    folder: Path
    seed: int = 0
    canaries: list[Canary] = field(default_factory=list)
    contents: list[tuple[str, bytes, frozenset[str]]] = field(default_factory=list)

    def canary(self, place: str) -> str:
        """Return a new secret for a place where one can be given."""
        prefix, alphabet, size, suffix = _SHAPES[self.form]
        rng = random.Random(f"{self.seed} {place} {self.form}")  # noqa: S311 - no secret
        core = "".join(rng.choices(alphabet, k=size))
        one = Canary(place, f"{prefix}{core}{suffix}", core)
        self.canaries.append(one)
        return one.value

    def add(self, surface: str, content: object, *, knows: frozenset[str] = frozenset()) -> None:
        """Keep what is to be searched; `knows` are the places whose canaries may be in it."""
        data = content if isinstance(content, bytes) else str(content).encode(errors="replace")
        self.contents.append((surface, data, knows))

    def add_error(self, surface: str, error: BaseException) -> None:
        """Keep what an error shows: its text, its printed chain of causes, and its pickle."""
        self.add(f"{surface}: text", f"{error} {error!r}")
        printed = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self.add(f"{surface}: traceback", printed)
        self.add_pickle(f"{surface}: pickle", error)

    def add_pickle(self, surface: str, thing: object) -> None:
        """Keep the pickle of an object, or why there is none."""
        try:
            self.add(surface, pickle.dumps(thing))
        except Exception as error:  # noqa: BLE001 - each object raises its own
            self.add(f"{surface} (refused)", f"{error!r}")

    def add_request(self, surface: str, request: FakeRequest, knows: frozenset[str]) -> None:
        """Keep a request as a server has read it."""
        lines = [f"{request.method} {request.target}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        self.add(surface, "\n".join(lines).encode() + b"\n" + request.body, knows=knows)

    @contextmanager
    def captured(self) -> Iterator[None]:
        """Keep all that is logged, warned or printed in the block, and the files it leaves."""
        handler = _KeepingHandler()
        logger, level = logging.getLogger(), logging.getLogger().level
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        logging.getLogger("numba").setLevel(logging.INFO)  # else a line for each instruction
        logging.captureWarnings(capture=True)
        try:
            with warnings.catch_warnings(), _redirected_output() as printed:
                warnings.simplefilter("always")
                yield
        finally:
            logging.captureWarnings(capture=False)
            logger.removeHandler(handler)
            logger.setLevel(level)
            self.add("standard output and error", printed[0])
            for name, text in handler.texts:
                is_own = name.partition(".")[0].startswith(("tryage", "py"))
                self.add("log of Tryage" if is_own else f"log of {name.partition('.')[0]}", text)
            self._add_files()

    def _add_files(self) -> None:
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                name = path.relative_to(self.folder).as_posix()
                self.add(f"file {name}", path.read_bytes() + name.encode())
                if path.suffix == ".parquet":
                    self.add(f"rows of {name}", _rows(path))

    @contextmanager
    def environment(self, **variables: str) -> Iterator[None]:
        """Set variables of the environment in the block, and a home folder of its own."""
        before = dict(os.environ)
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        os.environ.update({"HOME": str(home), "XDG_CACHE_HOME": str(home), **variables})
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)

    def leaks(self) -> list[Leak]:
        """Return every canary where it must not be, once for each surface."""
        found: dict[tuple[str, str], Leak] = {}
        for canary in self.canaries:
            needles = sorted(canary.needles(), key=len, reverse=True)
            for surface, data, knows in self.contents:
                key = canary.place, surface
                if canary.place in knows or key in found:
                    continue
                needle = next((one for one in needles if one in data), None)
                if needle is not None:
                    excerpt = _around(data, data.index(needle), len(needle))
                    found[key] = Leak(canary.place, self.form, surface, excerpt)
        return list(found.values())

    @property
    def n_searched(self) -> int:
        """How many pairs of a canary and something that it must not be in were searched."""
        return sum(
            canary.place not in knows for canary in self.canaries for _, _, knows in self.contents
        )


def _rows(path: Path) -> str:
    """Return what stands in a table: its file is compressed."""
    from pyarrow import parquet

    return str(parquet.read_table(path).to_pylist())


def _around(data: bytes, start: int, size: int) -> str:
    return repr(data[max(start - 60, 0) : start + size + 20].decode(errors="replace"))


class _KeepingHandler(logging.Handler):
    """Keeps every record of a log with its traceback and its extra values, by logger."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record."""
        extra = {name: value for name, value in vars(record).items() if name not in _USUAL}
        self.texts.append((record.name, f"{self.format(record)} {extra}"))


_USUAL = {*vars(logging.makeLogRecord({})), "message", "asctime", "args"}


@contextmanager
def _redirected_output() -> Iterator[list[bytes]]:
    """Yield a list that gets what this process and its children print in the block."""
    printed: list[bytes] = []
    with tempfile.TemporaryFile() as file:
        kept = os.dup(1), os.dup(2)
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield printed
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, saved in zip((1, 2), kept, strict=True):
                os.dup2(saved, number)
                os.close(saved)
            file.seek(0)
            printed.append(file.read())


def as_url_part(value: str) -> str:
    """Return a secret as it is written in an address."""
    return quote(value, safe="")
