"""A snapshot knows models by any name, with source, date and confidence; damage is one error."""

from __future__ import annotations

import datetime
import gzip
import json
import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tryage.errors import CatalogueError
from tryage.models import snapshot as snapshot_module
from tryage.models.snapshot import ModelFact, ModelSnapshot, encode_snapshot


def test_a_fact_has_its_source_date_and_confidence(small):
    model = ModelSnapshot(small).find("openai:gpt-5.4-mini-2026-03-17-high")
    assert (model.name, model.spelling.effort) == ("gpt-5.4-mini", "high")
    assert model.facts["input_price"] == ModelFact(0.75, "table", "2026-10-01", 0.97)
    assert model.value("output_price") == 4.5


def test_an_unknown_fact_is_none_and_never_zero(small):
    model = ModelSnapshot(small).find("zephyr-7b-beta")
    assert model.name == "zephyr-7b"
    assert model.value("input_price") is None
    assert model.facts == {}


@pytest.mark.parametrize(
    "name",
    ["gpt-9", "gpt-5.5-mini", "gpt-5.4", "gpt-5.4-nano", "llama-3.3-8b", "gemma-2-4b", "", "5"],
)
def test_an_unknown_name_is_none_and_never_another_generation(small, name):
    assert ModelSnapshot(small).find(name) is None


def test_an_alias_means_its_model(small):
    assert ModelSnapshot(small).find("chatgpt-4o-latest").name == "gpt-4o"


def test_a_dated_build_has_its_own_prices(small):
    snapshot = ModelSnapshot(small)
    old = snapshot.find("gpt-4o-2024-05-13")
    assert (old.value("input_price"), old.value("output_price")) == (5, 15)
    assert old.value("cached_input_price") is None  # that of the newer build is another one
    assert snapshot.find("gpt-4o-2024-11-20").value("input_price") == 2.5


def test_a_host_has_its_own_prices(small):
    snapshot = ModelSnapshot(small)
    assert snapshot.find("groq/llama-3.3-70b-versatile").value("output_price") == 0.79
    assert snapshot.find("together/llama-3.3-70b").value("output_price") == 0.72
    assert snapshot.find("groq/llama-3.3-70b-versatile").value("open_weights") is True


def test_a_file_gives_the_same_snapshot_and_equal_data_equal_bytes(small):
    data = encode_snapshot(small)
    assert data == encode_snapshot(json.loads(json.dumps(small)))
    snapshot = ModelSnapshot.from_bytes(data)
    assert list(snapshot) == sorted(small["models"])
    assert len(pickle.loads(pickle.dumps(snapshot))) == 5  # noqa: S301 - made here


def test_the_age_is_counted_in_days_and_a_late_clock_gives_zero(small):
    snapshot = ModelSnapshot(small)
    assert snapshot.age(datetime.date(2026, 11, 28)) == 8
    assert snapshot.age(datetime.date(2020, 1, 1)) == 0


def test_names_that_look_alike_are_suggested(small):
    assert ModelSnapshot(small).suggest("gpt-5.4-mimi") == ["gpt-5.4-mini"]
    assert ModelSnapshot(small).suggest("nothing like it") == []


def damage(small, path, value):
    *parents, last = path
    part = small
    for key in parents:
        part = part[key]
    part[last] = value


FACT = ("models", "gpt-5.4-mini")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), 2, "Upgrade"),
        (("made",), "yesterday", "date"),
        (("models",), [], "models"),
        (("aliases",), {"x": "gpt-77"}, "gpt-77"),
        ((*FACT,), [], "list"),
        ((*FACT, "input_price"), [-1, "table", None, 0.9], "input_price"),
        ((*FACT, "input_price"), [float("nan"), "table", None, 0.9], "input_price"),
        ((*FACT, "input_price"), [True, "table", None, 0.9], "input_price"),
        ((*FACT, "input_price"), ["1", "table", None, 0.9], "input_price"),
        ((*FACT, "input_price"), [1], "input_price"),
        ((*FACT, "input_price"), [1, "other", None, 0.9], "other"),
        ((*FACT, "input_price"), [1, "table", "soon", 0.9], "soon"),
        ((*FACT, "input_price"), [1, "table", None, 9], "input_price"),
        ((*FACT, "input_price"), [1, "table", None, "high"], "input_price"),
        ((*FACT, "context_length"), [1.5, "table", None, 0.9], "context_length"),
        ((*FACT, "released"), ["17.03.2026", "table", None, 0.9], "released"),
        ((*FACT, "tools"), ["yes", "table", None, 0.9], "tools"),
        ((*FACT, "colour"), ["red", "table", None, 0.9], "colour"),
        ((*FACT, "input_price"), [1, ["table"], None, 0.9], "form"),
        (("aliases",), {"x": []}, "form"),
        (("hosts",), {"gpt-4o": 3}, "form"),
        (("hosts", "llama-3.3-70b", "groq", "input_price"), [-1, "table", None, 0.9], "groq"),
    ],
)
def test_a_wrong_fact_is_refused_with_its_place(small, path, value, message):
    damage(small, path, value)
    with pytest.raises(CatalogueError, match=message):
        encode_snapshot(small)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not gzip",
        gzip.compress(b"{", mtime=0),
        gzip.compress(b"[]", mtime=0),
        gzip.compress(b"[" * 100_000, mtime=0),
        gzip.compress(b'{"format": 1}', mtime=0),
        gzip.compress(b"\xff\xfe", mtime=0),
    ],
)
def test_a_damaged_file_is_one_clear_error(data):
    with pytest.raises(CatalogueError, match="snapshot"):
        ModelSnapshot.from_bytes(data)


def test_a_cut_off_file_is_one_clear_error(small):
    with pytest.raises(CatalogueError, match="cut off"):
        ModelSnapshot.from_bytes(encode_snapshot(small)[:-20])


def test_a_file_that_unpacks_without_end_is_refused(monkeypatch, small):
    monkeypatch.setattr(snapshot_module, "MAX_BYTES", 100)
    with pytest.raises(CatalogueError, match="larger"):
        ModelSnapshot.from_bytes(encode_snapshot(small))


KEYS = (
    "format",
    "made",
    "sources",
    "models",
    "builds",
    "hosts",
    "aliases",
    "gpt-5.4-mini",
    "input_price",
)
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([1, "2026-10-01", "table", "x"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(KEYS), ODD)
def test_a_snapshot_with_any_part_changed_is_read_or_refused_in_words(small, part, value):
    data = gzip.compress(json.dumps({**small, part: value}).encode())
    try:
        snapshot = ModelSnapshot.from_bytes(data, check=True)
    except CatalogueError:
        return
    for name in ("gpt-5.4-mini", "openai/x@high"):
        snapshot.find(name)
