"""Reads a `tokenizer.json` of unknown origin: whatever is wrong with it is one error."""

from __future__ import annotations

import base64
import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from tryage.errors import InputError, PersistenceError
from tryage.files import check_regular_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tryage.errors import TryageError

_MAX_BYTES = 2**26  # the tokenizers of language models for all languages have half of that

# What a file must contain if it names the normalizer that does harm when it is made, and is checked
# before: JSON writes letters as they are, or as the escape of their code, which is at least 0040.
# Parsing takes as long as the rest.
_CHECKED_BEFORE = re.compile(r'"Precompiled"|\\u00[4-7]')

_MAX_GROWTH = 1_024  # times the length of a text

_MAX_PREFIX = 64  # characters


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a `tokenizer.json`.

    Raises:
        PersistenceError: it is missing, damaged, or would take a lot of memory.
    """
    try:
        text = _read_text(path)
        if _CHECKED_BEFORE.search(text) is not None:
            _check_normalizers(text)
        with tokenizer_errors(PersistenceError, f"{path} is damaged"):
            tokenizer = Tokenizer.from_str(text)
        if tokenizer.normalizer is not None:
            _check_normalizers(tokenizer.normalizer.__getstate__().decode())
    except (OSError, ValueError, RecursionError) as error:
        raise PersistenceError(f"{path} is missing or damaged: {error}") from error
    return tokenizer


@contextmanager
def tokenizer_errors(error_class: type[TryageError], message: str) -> Iterator[None]:
    """Raise what fails in the tokenizers package as an error of Tryage.

    The package raises `Exception` itself, or where its Rust code panics a class that is none.
    """
    try:
        yield
    except BaseException as error:
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
        raise error_class(f"{message}: {error!s:.200}") from error


def _read_text(path: Path) -> str:
    check_regular_file(path)
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise InputError(f"it has {size:,} bytes; a tokenizer has at most {_MAX_BYTES:,}")
    return path.read_text("utf-8")


def _check_normalizers(text: str) -> None:
    """Check normalizers that could ask for so much memory that the process ends.

    Raises:
        InputError: there is one.
        ValueError: the file is not JSON.
    """
    growth = 1

    def check(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal growth
        part = dict(pairs)
        for key, value in pairs:  # a name may be given twice
            if not isinstance(value, str):  # the number of a word in a vocabulary
                continue
            if key == "precompiled_charsmap":
                _check_charsmap(value)
            if key == "prepend":
                _check_length(value, _MAX_PREFIX)
            if key == "content" and "pattern" in part:
                _check_length(value, _MAX_GROWTH)
                growth *= max(len(value), 1)
        if growth > _MAX_GROWTH:
            raise InputError(f"its replacements make a text {growth} times as long")
        return part

    json.loads(text, object_pairs_hook=check)


def _check_length(text: str, max_length: int) -> None:
    if len(text) > max_length:
        raise InputError(f"a replacement has more than {max_length} characters")


def _check_charsmap(text: str) -> None:
    """Check the table of a normalizer: its first number is the size of its first part."""
    table = base64.b64decode(text)
    if int.from_bytes(table[:4], "little") > len(table):
        raise InputError("the table of its normalizer is shorter than it says")
