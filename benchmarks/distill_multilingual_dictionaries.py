"""Words with their translations, from the dictionaries of FreeDict in Debian's packages."""

from __future__ import annotations

import gzip
import re
import string
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_LENGTH = 40  # characters of a word or phrase
MAX_BYTES = 4_000_000  # of a packed file: of larger ones the usual words are lost among rare ones
MAX_MEANINGS = 4  # of an entry: the first ones are the usual ones

# The languages of the files, in three letters, and here.
_LANGUAGES = {
    "ara": "ar",
    "bul": "bg",
    "ces": "cs",
    "deu": "de",
    "ell": "el",
    "fin": "fi",
    "fra": "fr",
    "hin": "hi",
    "hrv": "hr",
    "hun": "hu",
    "ind": "id",
    "ita": "it",
    "jpn": "ja",
    "nld": "nl",
    "pol": "pl",
    "por": "pt",
    "rus": "ru",
    "spa": "es",
    "srp": "sr",
    "swe": "sv",
    "tur": "tr",
}
_DIGITS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"  # of an index
_HEAD_END = re.compile(r" [/<(\[]")
_REMARK = re.compile(r"<[^>]*>|\([^)]*\)|\[[^\]]*\]|\{[^}]*\}|\"[^\"]*\"")
_SEPARATOR = re.compile(r"[,;،、।/]|\d+\. ")


def dictionary_pairs(files: Mapping[str, bytes]) -> Iterator[tuple[str, str, str]]:
    """Yield English word, language and translation from `freedict-*.index` and `.dict.dz`."""
    for name, content in files.items():
        match = re.match(r"freedict-(\w{3})-(\w{3})\.dict\.dz$", PurePosixPath(name).name)
        index = files.get(name.removesuffix(".dict.dz") + ".index")
        if match is None or index is None or len(content) > MAX_BYTES:
            continue
        other = match[2] if match[1] == "eng" else match[1]
        for head, meaning in _entries(gzip.decompress(content), index.decode("utf-8", "replace")):
            english, word = (head, meaning) if match[1] == "eng" else (meaning, head)
            if "eng" in match.groups() and other in _LANGUAGES:
                yield english, _LANGUAGES[other], word


def _entries(text: bytes, index: str) -> Iterator[tuple[str, str]]:
    """Yield each headword with each of its first meanings."""
    for line in index.splitlines():
        head, start, length = line.split("\t")[:3]
        if head.startswith("00database"):
            continue
        at = _number(start)
        entry = text[at : at + _number(length)].decode("utf-8", "replace")
        first, *rest = entry.split("\n")
        word = _HEAD_END.split(first)[0].strip()
        for meaning in _meanings(rest):
            if word and len(word) <= MAX_LENGTH:
                yield word, meaning


def _number(digits: str) -> int:
    value = 0
    for digit in digits:
        value = value * 64 + _DIGITS.index(digit)
    return value


def _meanings(lines: list[str]) -> list[str]:
    found = []
    for line in lines:
        if line and not line[0].isspace() and not line.startswith("("):
            for part in _SEPARATOR.split(_REMARK.sub("", line.replace("~", " "))):
                meaning = part.strip(" .:!?")
                if meaning and len(meaning) <= MAX_LENGTH:
                    found.append(meaning)
    return found[:MAX_MEANINGS]
