"""The file of the catalogue: its path, migrations, transactions, and every way it can be bad."""

from __future__ import annotations

import dataclasses
import datetime
import os
import sqlite3
import stat

import pytest

from tryage.errors import CatalogueError
from tryage.hub import catalog_schema
from tryage.hub.catalog import Catalogue
from tryage.hub.catalog_write import ChangeCounts

LATER = datetime.timedelta(hours=1)
QUANT = "base_model:quantized:"


def test_the_default_path_is_in_tryage_home_or_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("TRYAGE_HOME", str(tmp_path / "here"))
    assert Catalogue().path == tmp_path / "here" / "catalogue.sqlite"
    monkeypatch.delenv("TRYAGE_HOME")
    assert Catalogue().path.parent.name == "tryage"


# Migrations


def test_an_older_file_is_migrated_and_keeps_its_content(catalogue, parse, monkeypatch):
    catalogue.put([parse("org/a")])
    catalogue.close()
    step = "ALTER TABLE models ADD COLUMN shoe_size REAL; CREATE INDEX shoes ON models (shoe_size)"
    monkeypatch.setattr(catalog_schema, "MIGRATIONS", (*catalog_schema.MIGRATIONS, step))
    assert catalogue.get("org/a") is not None
    assert catalogue.connection().execute("SELECT shoe_size FROM models").fetchall() == [(None,)]


def test_a_file_of_version_1_gets_relations_with_the_next_records(catalogue, parse):
    model = parse("a/x", tags=[f"{QUANT}org/base"])
    catalogue.put([model])
    database = catalogue.connection()
    database.execute("ALTER TABLE lineage DROP COLUMN relation")
    database.execute("PRAGMA user_version = 1")
    catalogue.close()
    assert catalogue.library().metadata[0] == {"hub": {"bases": [{"name": "org/base"}]}}
    catalogue.put([dataclasses.replace(model, fetched_at=model.fetched_at + LATER)])
    (facts,) = catalogue.library().metadata
    assert facts["hub"]["bases"] == [{"name": "org/base", "relation": "quantized"}]


def test_a_newer_file_asks_for_a_newer_tryage(catalogue):
    catalogue.connection().execute("PRAGMA user_version = 99")
    catalogue.close()
    with pytest.raises(CatalogueError, match=r"version 99.*Upgrade Tryage"):
        len(catalogue)


# Bad files and folders


def test_a_file_of_another_program_is_not_changed(tmp_path):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    with pytest.raises(CatalogueError, match="another program"):
        len(Catalogue(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", [b"no database at all" * 100, None])
def test_a_damaged_file_is_an_error_that_says_how_to_make_a_new_one(catalogue, parse, damage):
    catalogue.put([parse(f"org/m{i}", tags=[f"t{i}"]) for i in range(50)])
    catalogue.close()
    data = catalogue.path.read_bytes()
    catalogue.path.write_bytes(damage or data[:5_000] + b"\x99" * (len(data) - 5_000))
    with pytest.raises(CatalogueError, match=r"damaged.*tryage hub sync"):
        catalogue.search()
    assert catalogue.path.exists()


def test_a_full_disk_is_an_error_and_loses_nothing(catalogue, parse, content):
    catalogue.put([parse("org/a")])
    before = content(catalogue)
    (pages,) = catalogue.connection().execute("PRAGMA page_count").fetchone()
    catalogue.connection().execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(CatalogueError, match="disk is full"):
        catalogue.put([parse(f"org/m{i}", tags=[f"tag {i}"]) for i in range(500)])
    assert content(catalogue) == before
    catalogue.connection().execute("PRAGMA max_page_count = 1000000")
    assert catalogue.put([parse("org/b")]) == ChangeCounts(new=1)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogueError, match="cannot be created"):
        len(Catalogue(tmp_path / "file" / "catalogue.sqlite"))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="this user can write everywhere")
def test_a_catalogue_in_a_read_only_folder_is_read_and_not_written(catalogue, parse):
    catalogue.put([parse("org/a")])
    catalogue.close()
    folder = catalogue.path.parent
    catalogue.path.chmod(stat.S_IREAD)
    folder.chmod(stat.S_IREAD | stat.S_IEXEC)
    try:
        assert catalogue.get("org/a") is not None
        with pytest.raises(CatalogueError, match="cannot be written"):
            catalogue.put([parse("org/b")])
    finally:
        catalogue.close()
        folder.chmod(0o700)


def test_a_file_that_opens_only_for_reading_is_read(catalogue, parse, monkeypatch):
    catalogue.put([parse("org/a")])
    catalogue.close()
    really = catalog_schema._open

    def refuse(path, mode):
        if mode == "rwc":
            raise sqlite3.OperationalError("unable to open database file")
        return really(path, mode)

    monkeypatch.setattr(catalog_schema, "_open", refuse)
    assert catalogue.get("org/a") is not None
    with pytest.raises(CatalogueError, match="cannot be written"):
        catalogue.put([parse("org/b")])


def test_a_second_writer_waits_and_then_names_the_reason(catalogue, parse, monkeypatch):
    catalogue.put([parse("org/a")])
    monkeypatch.setattr(catalog_schema, "BUSY_TIMEOUT", 0.01)
    with (
        Catalogue(catalogue.path) as other,
        catalog_schema.transaction(catalogue.connection()),
        pytest.raises(CatalogueError, match="being written by another process"),
    ):
        other.put([parse("org/b")])
