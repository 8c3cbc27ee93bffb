"""The newest readable snapshot is used; an update checks all before it replaces anything."""

from __future__ import annotations

import datetime
import gzip
import json
import traceback
from contextlib import ExitStack

import pytest

from tryage.errors import CatalogueError, InputError
from tryage.models import refresh
from tryage.models.refresh import (
    BUNDLED_SNAPSHOT,
    current_snapshot,
    describe_age,
    snapshot_path,
    update_snapshot,
)
from tryage.models.snapshot import ModelSnapshot, encode_snapshot
from tryage.testing.hub.http import FakeResponse, LoopbackServer

BUNDLED_DAY = ModelSnapshot.from_bytes(BUNDLED_SNAPSHOT.read_bytes()).made
NEWER_DAY = BUNDLED_DAY + datetime.timedelta(days=1)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TRYAGE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path / "home"


@pytest.fixture
def newer(tmp_path, small):
    """Return the path of a snapshot that is newer than that of the package."""
    small["made"] = NEWER_DAY.isoformat()
    path = tmp_path / "newer.json.gz"
    path.write_bytes(encode_snapshot(small))
    return path


@pytest.fixture
def serve():
    """Return a function that serves bytes at an address, and ends the server after the test."""
    with ExitStack() as servers:

        def start(body, status=200, **headers):
            server = LoopbackServer(lambda _: FakeResponse(status, body, headers))
            return f"{servers.enter_context(server).url}/models.json.gz"

        yield start


def test_the_snapshot_of_the_package_is_whole_and_small():
    data = BUNDLED_SNAPSHOT.read_bytes()
    assert len(data) <= 2**20
    assert len(ModelSnapshot.from_bytes(data, check=True)) > 1500


def test_without_an_update_the_snapshot_of_the_package_is_used(home):
    assert current_snapshot().find("gpt-5.4-mini") is not None
    assert not home.exists()


def test_a_newer_file_takes_its_place(newer, home):
    snapshot, is_new = update_snapshot(str(newer))
    assert is_new
    assert snapshot.made == current_snapshot().made == NEWER_DAY
    assert [path.name for path in home.iterdir()] == ["models.json.gz"]
    assert update_snapshot(str(newer))[1] is False


def test_an_address_gives_the_same(newer, serve):
    update_snapshot(serve(newer.read_bytes()))
    assert snapshot_path().read_bytes() == newer.read_bytes()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\x1f\x8b" + b"x" * 100,
        BUNDLED_SNAPSHOT.read_bytes()[:-1],
        BUNDLED_SNAPSHOT.read_bytes() + b"more",
        gzip.compress(b"[" * 200_000, mtime=0),
        gzip.compress(b"null", mtime=0),
    ],
    ids=["empty", "page", "no gzip", "cut off", "followed by more", "deep", "null"],
)
def test_a_damaged_answer_replaces_nothing(newer, serve, body):
    update_snapshot(str(newer))
    with pytest.raises(CatalogueError, match="snapshot"):
        update_snapshot(serve(body))
    assert current_snapshot().made == NEWER_DAY


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("models", {"\x1b[31mred": {}}),
        ("models", {"": {}}),
        ("models", {"a": {"input_modalities": [["text"] * 50, "table", None, 0.9]}}),
        ("models", {"a": {"context_length": [10**400, "table", None, 0.9]}}),
        ("builds", {"gpt-4o": []}),
        ("aliases", {"a": {}}),
        ("aliases", {"a": "nothing"}),
    ],
)
def test_a_part_of_another_form_is_one_clear_error(small, tmp_path, part, value):
    path = tmp_path / "odd.json.gz"
    content = small | {"made": NEWER_DAY.isoformat(), part: value}
    path.write_bytes(gzip.compress(json.dumps(content).encode()))
    with pytest.raises(CatalogueError):
        update_snapshot(str(path))
    assert current_snapshot().made == BUNDLED_DAY


def test_a_snapshot_of_a_day_to_come_would_keep_out_all_later_ones_and_is_refused(small, tmp_path):
    path = tmp_path / "future.json.gz"
    path.write_bytes(encode_snapshot(small | {"made": "9999-12-31"}))
    with pytest.raises(CatalogueError, match="to come"):
        update_snapshot(str(path))


@pytest.mark.parametrize("source", ["a\0b", "~nobody-of-this-name/x", "https://[broken"])
def test_what_is_neither_path_nor_address_is_one_clear_error(source):
    with pytest.raises(InputError):
        update_snapshot(source)


def test_an_answer_that_takes_too_long_is_given_up(serve, newer, monkeypatch):
    monkeypatch.setattr(refresh, "_MAX_SECONDS", -1.0)
    with pytest.raises(CatalogueError, match="in -1 seconds"):
        update_snapshot(serve(newer.read_bytes()))


def test_an_update_that_is_stopped_midway_leaves_the_old_facts(newer, small, tmp_path, monkeypatch):
    update_snapshot(str(newer))
    path = tmp_path / "next.json.gz"
    small["aliases"] = {}
    path.write_bytes(encode_snapshot(small))

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", stop)
    with pytest.raises(KeyboardInterrupt):
        update_snapshot(str(path))
    assert snapshot_path().read_bytes() == newer.read_bytes()
    assert [file.name for file in snapshot_path().parent.iterdir()] == ["models.json.gz"]


def test_facts_of_many_days_ago_are_announced_once(monkeypatch, caplog):
    refresh._announce_age.cache_clear()
    monkeypatch.setattr(refresh, "_today", lambda: BUNDLED_DAY + datetime.timedelta(days=91))
    current_snapshot()
    current_snapshot()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"are of {BUNDLED_DAY}, 91 days old" in caplog.text
    assert "tryage models update" in caplog.text
    refresh._announce_age.cache_clear()


def test_facts_of_a_few_weeks_ago_are_not_announced(monkeypatch, caplog):
    refresh._announce_age.cache_clear()
    monkeypatch.setattr(refresh, "_today", lambda: BUNDLED_DAY + datetime.timedelta(days=60))
    current_snapshot()
    assert not caplog.records
    refresh._announce_age.cache_clear()


def test_a_wrong_fact_replaces_nothing(newer, small, tmp_path):
    update_snapshot(str(newer))
    small["models"]["gpt-4o"]["input_price"][0] = -1
    path = tmp_path / "wrong.json.gz"
    path.write_bytes(gzip.compress(json.dumps(small).encode()))
    with pytest.raises(CatalogueError, match="gpt-4o"):
        update_snapshot(str(path))
    assert snapshot_path().read_bytes() == newer.read_bytes()


def test_an_older_snapshot_replaces_nothing(small, tmp_path):
    path = tmp_path / "older.json.gz"
    path.write_bytes(encode_snapshot(small | {"made": "2020-01-01"}))
    with pytest.raises(CatalogueError, match="older than the one in use"):
        update_snapshot(str(path))


def test_a_server_that_refuses_or_is_not_there_is_one_clear_error(serve):
    with pytest.raises(CatalogueError, match="404"):
        update_snapshot(serve(b"", status=404))
    with pytest.raises(CatalogueError, match=r"127\.0\.0\.1 gave no snapshot"):
        update_snapshot("http://127.0.0.1:9/models.json.gz")


@pytest.mark.parametrize("status", [200, 302, 403])
def test_no_error_shows_the_query_of_an_address(serve, status, small, monkeypatch):
    old = encode_snapshot(small | {"made": "2020-01-01"})
    query = "?sig=kwozqmtr"  # a traceback shows the line of the call
    url = serve(old, status, Location=f"/there{query}") + query
    monkeypatch.setattr(refresh, "_TIMEOUT", 5.0)
    with pytest.raises(CatalogueError) as info:
        update_snapshot(url)
    printed = "".join(traceback.format_exception(info.value))
    assert "kwozqmtr" not in printed
    assert "127.0.0.1" in str(info.value)


def test_an_address_that_cannot_be_read_is_not_repeated():
    with pytest.raises(InputError, match="cannot be read") as info:
        update_snapshot("https://me:kwozqmtr@[host/models.json.gz")
    assert "kwozqmtr" not in str(info.value)


def test_an_answer_without_end_is_refused(serve, monkeypatch):
    monkeypatch.setattr(refresh, "_MAX_FILE_BYTES", 1000)
    with pytest.raises(CatalogueError, match="larger"):
        update_snapshot(serve(b"x" * 100_000))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://example.com/x", "https"),
        ("ftp://example.com/x", "https"),
        ("https://user:word@example.com/x", "password"),
    ],
)
def test_an_open_connection_and_a_password_are_refused(url, message):
    with pytest.raises(InputError, match=message) as caught:
        update_snapshot(url)
    assert "word@" not in str(caught.value)


def test_a_redirect_to_an_open_connection_is_refused(serve):
    first = serve(b"", status=302, Location="http://192.0.2.1/x")
    with pytest.raises(InputError, match="open connection"):
        update_snapshot(first)


def test_offline_nothing_is_sent(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CatalogueError, match="HF_HUB_OFFLINE"):
        update_snapshot("https://example.com/models.json.gz")


def test_a_damaged_file_causes_a_warning_and_the_package_is_used(home):
    home.mkdir()
    snapshot_path().write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="is not used"):
        assert current_snapshot().find("gpt-5.4-mini") is not None


def test_a_file_that_changed_is_read_again(newer, small):
    update_snapshot(str(newer))
    assert current_snapshot().find("gpt-77") is None
    small["models"]["gpt-77"] = {}
    snapshot_path().write_bytes(
        encode_snapshot(small | {"made": (NEWER_DAY + datetime.timedelta(days=1)).isoformat()})
    )
    assert current_snapshot().find("gpt-77") is not None


def test_a_folder_that_cannot_be_written_is_one_clear_error(newer, home):
    home.parent.mkdir(exist_ok=True)
    home.write_text("a file in the place of the folder")
    with pytest.raises(CatalogueError, match="TRYAGE_HOME"):
        update_snapshot(str(newer))


def test_the_age_is_told_in_words(small):
    snapshot = ModelSnapshot(small)
    assert describe_age(snapshot, datetime.date(2026, 11, 28)) == "of 2026-11-20, 8 days old"
    assert describe_age(snapshot, datetime.date(2026, 11, 21)) == "of 2026-11-20, 1 day old"
