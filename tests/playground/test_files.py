"""Files that a visitor loads: what is read of them, and what is said of those that are wrong."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tryage import Expert, Library, Router
from tryage.errors import FileWriteError, InputError, TrafficError, TryageError
from tryage.scoring import QTable
from tryage.testing import FixedPerception
from tryage_playground.files import FileStore, read_traffic_file

CSV = b"prompt,expert,loss\nx,a,0.0\nx,b,1.0\ny,a,0.5\n"


def test_a_table_has_mean_measured_qualities_and_counts(files):
    loaded = files.load("table", "C:\\data\\outcomes.csv", CSV)
    assert loaded.name == "outcomes.csv"
    assert loaded.quality() == {"a": (0.75, 2), "b": (0.0, 1)}  # y was never answered by b


def test_a_parquet_table_is_read(files, tmp_path):
    path = tmp_path / "t.parquet"
    QTable(["x"], ["a"], np.array([[0.25]])).write(path)
    assert files.load("table", "t.parquet", path.read_bytes()).quality() == {"a": (0.75, 1)}


def test_the_same_content_is_loaded_once_and_found_by_its_id(files):
    first = files.load("table", "one.csv", CSV)
    assert files.load("table", "two.csv", CSV) is first
    assert files.find("table", first.id) is first
    assert files.find("library", first.id) is None
    assert files.find("table", "unknown") is None


def test_the_oldest_files_are_dropped(files):
    first = files.load("table", "0.csv", CSV)
    for i in range(8):
        files.load("table", f"{i}.csv", CSV + f"z{i},a,1\n".encode())
    assert files.find("table", first.id) is None


@pytest.mark.parametrize(
    ("kind", "name", "content", "said"),
    [
        ("table", "t.csv", b"", "t.csv is empty"),
        ("table", "t.xlsx", b"x", "t.xlsx is no Q-table: expected .csv"),
        ("table", "t.csv", b"prompt,loss\nx,1\n", "expert"),
        ("table", "t.csv", b"\xff\xfe\x00", "t.csv"),
        ("table", "t.parquet", b"PAR1 no", "t.parquet"),
        ("table", "t.csv", b"prompt,expert,loss\n", "t.csv has no row"),
        ("library", "l.csv", b'name\n"' + b"x" * 200_000 + b'"\n', "l.csv cannot be read as CSV"),
        ("library", "l.csv", b"model\na\n", "l.csv has no column 'name'"),
        ("library", "l.csv", b"name,prise\na,1\n", "'prise' is no field of a model"),
        ("library", "l.csv", b"name,input_price\na,cheap\n", "line 2: input_price is 'cheap'"),
        ("library", "l.csv", b"name,input_price\na,1,2\n", "line 2 has more values"),
        ("library", "l.json", b'[{"name": "a", "input_price": -1}]', "model 1: a: input_price"),
        ("library", "l.json", b"[1]", "model 1 is no object: 1"),
        ("library", "l.json", b"{", "line 1 is not JSON"),
        ("library", "l.json", b"3", "is a int; expected a list"),
        ("library", "l.json", b"[]", "l.json has no model"),
        ("library", "l.json", b'["a", "A"]', "A"),
        ("library", "l.json", b"\xff", "l.json is no text in UTF-8"),
        ("library", "l.txt", b"a", "expected .json, .jsonl or .csv"),
        ("traffic", "t.db", b"no database", "expected a database of SQLite"),
        ("traffic", "t.db", b"SQLite format 3\0 but damaged", "t.db|database"),
    ],
)
def test_a_file_that_is_wrong_says_what_and_where(files, kind, name, content, said):
    with pytest.raises(TryageError, match=said) as caught:
        files.load(kind, name, content)
    assert "/tmp" not in str(caught.value)  # noqa: S108 - no path of the server is told


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.json", json.dumps(Library([Expert("a", input_price=1.5), Expert("b")]).to_dicts())),
        ("l.json", json.dumps({"library": [{"name": "a", "input_price": 1.5}, "b"]})),
        ("l.jsonl", '{"name": "a", "input_price": 1.5}\n{"given": "b", "model": null}\n'),
        ("l.csv", "name,input_price,aliases\na,1.5,\nb,,\n"),
    ],
)
def test_a_library_is_read_in_every_form(files, name, text):
    loaded = files.load("library", name, text.encode())
    assert loaded.names == ("a", "b")
    assert loaded.experts["a"].input_price == 1.5
    assert loaded.experts["b"].input_price is None


def test_lists_of_a_csv_are_divided_by_bars(files):
    text = b"name,aliases,released\na,x|y,2026-01-02\n"
    assert files.load("library", "l.csv", text).experts["a"].aliases == ("x", "y")


@pytest.fixture
def log(tmp_path):
    """A log with one decision, still open."""
    path = tmp_path / "log.db"
    router = Router(FixedPerception({"a": 0.2, "b": 0.4}), traffic=f"sqlite:///{path}")
    router.route("Hello")
    router.traffic.flush()
    yield path
    router.traffic.close()


def test_a_log_in_use_is_copied_and_not_changed(files, log):
    before = log.read_bytes()
    loaded = files.load("traffic", "log.db", read_traffic_file(log))
    assert loaded.names == ("a", "b")
    assert log.read_bytes() == before


def test_the_copy_of_a_log_that_is_dropped_leaves_nothing_on_the_disk(files, tmp_path):
    from tryage.traffic.traffic import Traffic

    loaded = []
    for i in range(10):
        url = f"sqlite:///{tmp_path}/{i}.db"
        with Traffic(url) as traffic:
            Router(FixedPerception({f"model {i}": 0.2}), traffic=traffic).route("Hello")
        loaded.append(files.load("traffic", f"{i}.db", read_traffic_file(tmp_path / f"{i}.db")))
    folder = loaded[0].path.parent
    kept = {path.name.partition(".")[0] for path in folder.iterdir()}
    assert kept == {one.id for one in loaded[2:]}
    assert loaded[2].traffic.counts()["decisions"] == 1


def test_a_log_that_is_refused_leaves_nothing_on_the_disk(files, tmp_path, log):
    from tryage.traffic.traffic import Traffic

    folder = files.load("traffic", "log.db", read_traffic_file(log)).path.parent
    before = set(folder.iterdir())
    Traffic(f"sqlite:///{tmp_path}/empty.db").close()
    with pytest.raises(TrafficError, match="has no decision yet"):
        files.load("traffic", "empty.db", read_traffic_file(tmp_path / "empty.db"))
    assert set(folder.iterdir()) == before


def test_a_log_without_a_decision_says_so(files, tmp_path):
    from tryage.traffic.traffic import Traffic

    Traffic(f"sqlite:///{tmp_path}/empty.db").close()
    with pytest.raises(TrafficError, match="has no decision yet"):
        files.load("traffic", "empty.db", read_traffic_file(tmp_path / "empty.db"))


def test_a_database_of_another_program_is_refused(files, tmp_path):
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("create table t (x)")
    other.close()
    with pytest.raises(TrafficError, match="other"):
        files.load("traffic", "other.db", (tmp_path / "other.db").read_bytes())


def test_a_path_that_is_no_log_is_told(tmp_path):
    with pytest.raises(InputError, match="There is no file"):
        read_traffic_file(tmp_path / "nothing.db")
    (tmp_path / "text.db").write_text("no database at all")
    with pytest.raises(InputError, match="no database of SQLite"):
        read_traffic_file(tmp_path / "text.db")


ROWS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=4) | st.just("name"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "given", "library", "parameters", "released", "aliases"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())
CELLS = st.lists(
    st.sampled_from(
        [b"name", b"parameters", b",", b"\n", b'"', b"a", b"1", b"|", b"\0", b"\r", b"\xff"]
    ),
    max_size=14,
).map(b"".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["x.json", "x.jsonl", "x.csv"]), ROWS | CELLS | st.binary(max_size=20))
def test_any_library_is_read_or_refused_in_words(files, name, content):
    with contextlib.suppress(InputError):
        loaded = files.load("library", name, content)
        assert loaded.names


def test_a_separator_of_lines_within_a_text_of_json_ends_no_line(files):
    content = '{"name": "a", "license": "x\u2028y"}\n{"name": "b"}\r\n'.encode()
    with pytest.raises(InputError, match="model 1: license must have no control characters"):
        files.load("library", "x.jsonl", content)


def test_an_upload_that_finds_no_room_says_so_and_leaves_nothing(
    files, full_disk, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    content = b"prompt,expert,loss\n" + b"Hello,a,0.5\n" * 100
    with full_disk(100), pytest.raises(FileWriteError, match=r"make room.*Nothing was loaded"):
        files.load("table", "table.csv", content)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []
    assert files.load("table", "table.csv", content).names == ("a",)


def test_a_library_needs_no_folder_for_temporary_files(monkeypatch):
    def fail():
        raise FileNotFoundError

    monkeypatch.setattr(tempfile, "gettempdir", fail)
    loaded = FileStore().load("library", "models.json", b'[{"name": "a"}]')
    assert loaded.names == ("a",)
