"""Passages are whole lines of one document, and held-out ones are not in the training part."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

PAPER = Path(__file__).resolve().parents[3] / "benchmarks" / "paper"
HEADER = "".join(
    f"# Permission is hereby granted, free of charge, to any person {i}\n" for i in "ab"
)


@pytest.fixture
def paper(monkeypatch):
    monkeypatch.syspath_prepend(str(PAPER))
    return importlib.import_module("corpora")


@pytest.fixture
def sources(paper):  # noqa: ARG001 - puts the folder on the path
    return importlib.import_module("sources")


def _source(sources, documents, *, whole=False, name="made-up"):
    return sources.Source(name, "texts", "here", "CC0-1.0", lambda _: iter(documents), whole=whole)


def _documents(n=60):
    letters = "abcdefghijklmnopqrstuvwxyz"
    for i in range(n):
        word = letters[i % 26] * (i // 26 + 2)
        lines = (f"{word}{a} {word}{b} the end of a line of {word}" for a in letters for b in "xyz")
        yield f"document-{i}", "\n".join(lines)


def test_no_document_has_passages_in_two_parts(paper, sources):
    documents = list(_documents())
    parts = paper.split(_source(sources, documents), documents)
    assert all(parts.values())
    parts_of_documents = [
        {part for part, texts in parts.items() for text in texts if text in whole}
        for _, whole in documents
    ]
    assert max(map(len, parts_of_documents)) == 1


def test_a_licence_header_of_many_documents_is_in_one_passage_of_one_part(paper, sources):
    header = (HEADER * 4).strip()
    documents = [(name, f"{header}\n{text}") for name, text in _documents()]
    parts = paper.split(_source(sources, documents), documents)
    held = [part for part, texts in parts.items() for text in texts if "Permission" in text]
    assert held == ["experts"]


def test_questions_that_differ_only_in_case_digits_or_spaces_are_repeats(paper):
    known = set()
    assert not paper.repeats("Tom has 3 apples and eats 1 of his apples.", known)
    assert paper.repeats("tom has 5  apples and\neats 2 of his apples.", known)
    assert not paper.repeats("Which river flows through Paris and which through Rome?", known)


def test_short_texts_repeat_only_as_a_whole(paper):
    known = set()
    assert not paper.repeats("CC(=O)OC", known)
    assert not paper.repeats("CC(=O)OCC", known)
    assert paper.repeats("CC(=O)OC", known)


def test_passages_end_where_lines_end_and_have_similar_lengths(paper):
    text = "\n".join(f"line {i} " + "x" * 50 for i in range(100))
    found = paper.passages(text)
    assert len(found) > 5
    assert all(300 <= len(passage) <= 700 for passage in found)
    assert all(line in text.splitlines() for passage in found for line in passage.splitlines())


@pytest.mark.parametrize(
    "text", ["", "short", "x" * 5000, "\n" * 1000, "\ufffd bad bytes\n" * 40], ids=len
)
def test_texts_without_a_passage_are_left_out(paper, text):
    assert paper.passages(text) == []


def test_a_whole_document_is_one_passage(paper):
    assert paper.passages(" How many moles are in one atom? ", whole=True) == [
        "How many moles are in one atom?"
    ]
    assert paper.passages("x" * 2000, whole=True) == paper.passages("CC", whole=True) == []


def test_the_split_does_not_depend_on_the_order_of_the_documents(paper, sources):
    documents = list(_documents())
    source = _source(sources, documents)
    assert paper.split(source, documents) == paper.split(source, documents[::-1])


def test_an_unavailable_domain_is_reported_and_the_others_are_read(
    paper, sources, monkeypatch, tmp_path, capsys
):
    def unavailable(_):
        raise sources.UnavailableError("this machine has no apt-get")
        yield

    there = _source(sources, list(_documents()))
    missing = sources.Source("gone", "texts", "nowhere", "CC0-1.0", unavailable)
    monkeypatch.setattr(paper, "SOURCES", (missing, there))
    found = paper.corpora(tmp_path)
    assert [corpus.name for corpus in found] == ["made-up"]
    assert found[0].bytes > 10_000
    assert "gone is left out: this machine has no apt-get" in capsys.readouterr().err


def test_collected_texts_are_read_from_the_cache(paper, sources, monkeypatch, tmp_path):
    row = {"part": "test", "text": "Größe 漢字"}
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "made-up.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    monkeypatch.setattr(paper, "SOURCES", (_source(sources, None),))
    (corpus,) = paper.corpora(tmp_path)
    assert corpus.texts == {"experts": [], "router": [], "test": ["Größe 漢字"]}


def test_a_manual_page_is_read_without_its_markup(sources):
    page = (
        '.\\" Copyright somebody\n.TH LS 1\n.SH NAME\nls \\- \\fBlist\\fP files\n.PP\n'
        ".BR open (2)\nit\\(aqs \\[dq]x\\[dq]\n"
    )
    assert sources.prose(page) == 'NAME\nls - list files\nopen (2)\nit\'s "x"'
