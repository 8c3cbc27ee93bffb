"""A damaged catalogue is one clear error in bounded memory, whatever is wrong in it."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sqlite3
import zlib

import pytest

from tryage.errors import CatalogueError, LibraryError
from tryage.hub.catalog import Catalogue
from tryage.hub.catalog_query import Query
from tryage.hub.catalog_resolve import MAX_RECORD_BYTES
from tryage.hub.catalog_sync import sync

VALUES = (
    None, "x", "", -1, 10**30, 1e308, float("inf"), b"\x00\xff", "a" * 1_000, 0, 2**62, "[[", b"{}",
)  # fmt: skip


@pytest.fixture
def synced(hub, client, catalogue):
    sync(client(hub), catalogue)
    catalogue.close()
    return catalogue.path


def read_all(path):
    """Read the catalogue in every way; return the errors that are not clear ones."""
    with Catalogue(path) as catalogue:
        readers = {
            "get": lambda: [catalogue.get(f"org/m{i}") for i in range(14)],
            "search": catalogue.search,
            "library": catalogue.library,
            "licence": lambda: catalogue.library(Query(license=["mit"], max_parameters=9e9)),
            "names": lambda: catalogue.suggest_names("org/mm"),
            "age": catalogue.age,
        }
        return [(name, error) for name, read in readers.items() if (error := raw_error(read))]


def raw_error(read):
    try:
        read()
    except (CatalogueError, LibraryError):
        return None
    except Exception as error:  # noqa: BLE001 - any other error is what the test looks for
        return repr(error)
    return None


def damage_column(database, rng):
    columns = [row[1] for row in database.execute("PRAGMA table_info(models)")]
    column = rng.choice([name for name in columns if name not in ("id", "live")])
    with contextlib.suppress(sqlite3.IntegrityError, OverflowError):  # SQLite refuses some itself
        database.execute(
            f"UPDATE models SET {column} = ? WHERE id = ?",  # noqa: S608 - a name of a column
            (rng.choice(VALUES), rng.randrange(1, 15)),
        )


def damage_record(database, rng):
    row = rng.randrange(1, 15)
    (blob,) = database.execute("SELECT data FROM records WHERE model = ?", (row,)).fetchone()
    database.execute("UPDATE records SET data = ? WHERE model = ?", (damaged(blob, rng), row))


def damaged(blob, rng):
    kind = rng.randrange(4)
    if kind == 0:
        return blob[: rng.randrange(len(blob))]
    if kind == 1:
        place = rng.randrange(len(blob))
        return blob[:place] + bytes([blob[place] ^ 255]) + blob[place + 1 :]
    data = json.loads(zlib.decompress(blob))
    part = data["facts"] if kind == 2 and data["facts"] else data
    part[rng.choice(list(part))] = rng.choice([None, 1, "x", [1], {"a": 1}, {"value": 1}, "["])
    return zlib.compress(json.dumps(data).encode())


def damage_state(database, rng):
    database.execute("UPDATE state SET value = ?", (rng.choice(["[", "null", "3", '"x"', "{}"]),))


@pytest.mark.parametrize("damage", [damage_column, damage_record, damage_state])
def test_a_damaged_value_is_one_clear_error(synced, tmp_path, damage):
    rng, problems = random.Random(1), []  # noqa: S311 - the same damage on every run
    for i in range(60):
        path = tmp_path / f"damaged-{i}.sqlite"
        shutil.copy(synced, path)
        with sqlite3.connect(path) as database:
            damage(database, rng)
        database.close()
        problems += read_all(path)
    assert problems == []


def test_the_error_names_the_file_and_what_to_do(synced):
    with sqlite3.connect(synced) as database:
        database.execute("UPDATE records SET data = x'00'")
    database.close()
    with (
        Catalogue(synced) as catalogue,
        pytest.raises(CatalogueError, match=r"catalogue.sqlite is damaged .*tryage hub sync"),
    ):
        catalogue.get("org/m1")


def test_a_small_record_that_grows_when_it_is_read_is_refused(synced):
    bomb = zlib.compress(b"[" + b" " * (10 * MAX_RECORD_BYTES) + b"]", 9)
    assert len(bomb) < MAX_RECORD_BYTES // 50
    with sqlite3.connect(synced) as database:
        database.execute("UPDATE records SET data = ?", (bomb,))
    database.close()
    with Catalogue(synced) as catalogue, pytest.raises(CatalogueError, match="more than"):
        catalogue.get("org/m1")
