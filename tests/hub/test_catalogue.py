"""What the catalogue keeps, what models inherit in it, and what happens to a file that is bad."""

from __future__ import annotations

import dataclasses
import datetime
import os
import sqlite3
import stat
import threading

import pytest

from tryage.errors import CatalogueError, InputError, LibraryError
from tryage.hub import catalog_resolve as resolver
from tryage.hub import catalog_schema as schema
from tryage.hub import catalog_schema as storage
from tryage.hub import catalog_sync as lock
from tryage.hub.catalog import Catalogue
from tryage.hub.catalog_query import Query
from tryage.hub.catalog_write import ChangeCounts
from tryage.hub.lineage import topological_groups
from tryage.perception.metadata import BINARY_FEATURES, metadata_features, model_family

LATER = datetime.timedelta(hours=1)


def bf16(count):
    return {"parameters": {"BF16": count}, "total": count}


def later(model, **changed):
    return dataclasses.replace(model, fetched_at=model.fetched_at + LATER, **changed)


# --- what it keeps --------------------------------------------------------------------------


def test_an_empty_catalogue_is_one(catalogue):
    assert len(catalogue) == 0
    assert catalogue.search() == []
    assert catalogue.get("org/x") is None
    assert (catalogue.synced_at, catalogue.age()) == (None, None)
    assert bool(catalogue)


def test_a_model_comes_back_with_every_fact_and_where_it_is_from(catalogue, read):
    model = read(
        "Größe/模型", tags=["license:mit", "gguf"], safetensors=bf16(7e9), gated="auto", likes=3
    )
    assert catalogue.put([model]) == ChangeCounts(new=1)
    assert catalogue.get("Größe/模型") == model
    assert catalogue.get(model.key) == model


def test_a_name_is_found_whatever_its_case_and_the_exact_one_first(catalogue, read):
    catalogue.put([read("org/Model", likes=1), read("ORG/model", likes=2)])
    assert catalogue.get("org/Model").likes == 1
    assert catalogue.get("ORG/model").likes == 2
    assert catalogue.get("org/model") is not None
    assert len(catalogue.library()) == 1


def test_the_same_model_twice_is_one_and_what_was_seen_later_stays(catalogue, read):
    old = read(downloads=1)
    new = later(old, downloads=2.0)
    catalogue.put([old, new])
    assert catalogue.put([old]) == ChangeCounts()
    assert [entry.downloads for entry in catalogue.search()] == [2]


def test_what_changes_silently_is_stored_and_counts_as_no_change(catalogue, read):
    model = read(downloads=1)
    catalogue.put([model])
    assert catalogue.put([later(model, downloads=5.0, likes=2.0)]) == ChangeCounts()
    assert catalogue.search()[0].downloads == 5
    assert catalogue.put([later(model, gated="auto")]) == ChangeCounts(changed=1)


def test_a_renamed_model_is_found_by_both_names_and_is_one(catalogue, read):
    model = read("org/old")
    catalogue.put([model])
    assert catalogue.put([later(model, name="new/name")]) == ChangeCounts(renamed=1)
    assert catalogue.get("org/old").name == "new/name"
    assert [entry.name for entry in catalogue.search()] == ["new/name"]


def test_a_name_that_another_model_took_belongs_to_that_one(catalogue, read):
    first, second = read("org/name"), read("org/name", _id="another")
    catalogue.put([first])
    assert catalogue.put([later(second)]).deleted == 1
    assert catalogue.get("org/name").key == "another"
    assert [entry.key for entry in catalogue.search()] == ["another"]


def test_a_put_that_fails_leaves_everything_as_it_was(catalogue, read, content):
    catalogue.put([read("org/a")])
    before = content(catalogue)

    def models():
        yield read("org/b")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        catalogue.put(models())
    assert content(catalogue) == before


# --- what models inherit --------------------------------------------------------------------

QUANT = "base_model:quantized:"


def test_bases_may_come_before_or_after_those_made_from_them(catalogue, read, content, tmp_path):
    base = read("org/base", safetensors=bf16(7e9), tags=["license:mit"])
    child = read("org/child", tags=[f"{QUANT}org/base", "license:mit"])
    grandchild = read("org/grandchild", tags=["base_model:adapter:org/child"])
    catalogue.put([base, child, grandchild])
    with Catalogue(tmp_path / "reversed.sqlite") as other:
        for model in (grandchild, child, base):
            other.put([model])
        assert content(other) == content(catalogue)
    assert {entry.parameters for entry in catalogue.search()} == {7e9}
    source = catalogue.get("org/grandchild").facts["parameters"].source
    assert source.startswith("base org/child: base org/base:")


def test_a_change_of_a_base_reaches_its_descendants_and_nobody_else(catalogue, read, monkeypatch):
    base = read("org/base", tags=["license:mit"])
    catalogue.put([base, *(read(f"org/x{i}") for i in range(50))])
    catalogue.put([read(f"org/c{i}", tags=[f"{QUANT}org/base", "license:mit"]) for i in range(3)])
    written = []
    write = resolver.InheritanceResolver._store_resolved
    monkeypatch.setattr(
        resolver.InheritanceResolver,
        "_store_resolved",
        lambda self, row: written.append(row) or write(self, row),
    )
    strict = read("org/base", tags=["license:llama2"])
    catalogue.put([later(strict)])
    assert len(written) == 4
    assert len(catalogue.search(Query(license="llama2"))) == 4
    written.clear()
    catalogue.put([later(later(strict), sha="another commit")])
    assert len(written) == 1  # what could be inherited is the same


def test_a_base_is_found_by_its_key_and_by_a_name_it_had(catalogue, read):
    base = read("org/old", safetensors=bf16(5e9))
    catalogue.put([base])
    catalogue.put([later(base, name="org/new")])
    models = {"relation": "quantized", "models": [{"_id": base.key, "id": "org/whatever"}]}
    catalogue.put([read("org/a", tags=[f"{QUANT}org/old"]), read("org/b", baseModels=models)])
    assert catalogue.get("org/a").value("parameters") == 5e9
    assert catalogue.get("org/b").value("parameters") == 5e9


def test_in_a_circle_nobody_inherits_and_whoever_stands_below_still_does(catalogue, read):
    a = read("org/a", tags=[f"{QUANT}org/b", "license:mit"])
    b = read("org/b", tags=[f"{QUANT}org/a", "license:mit"], safetensors=bf16(3e9))
    below = read("org/below", tags=[f"{QUANT}org/b"])
    catalogue.put([a, b, below])
    assert catalogue.get("org/a").value("parameters") is None
    assert catalogue.get("org/below").value("parameters") == 3e9
    free = later(read("org/b", safetensors=bf16(3e9), tags=["license:mit"]))
    catalogue.put([free])
    assert catalogue.get("org/a").value("parameters") == 3e9
    assert {e.parameters for e in catalogue.search()} == {3e9}


def test_a_chain_may_be_longer_than_pythons_stack(catalogue, read):
    chain = [read(f"org/m{i}", tags=[f"{QUANT}org/m{i - 1}"]) for i in range(1, 1_200)]
    catalogue.put([*chain, read("org/m0", safetensors=bf16(2e9))])
    assert catalogue.get("org/m1199").value("parameters") == 2e9


def test_groups_come_bases_first_and_a_circle_is_one_group():
    #  1 <- 2 <-> 3 <- 4, and 5 is its own base
    parents = {2: [1, 3], 3: [2], 4: [3], 5: [5]}
    groups = [sorted(group) for group in topological_groups([4, 5, 9], parents)]
    assert groups == [[1], [2, 3], [4], [5], [9]]


# --- libraries ------------------------------------------------------------------------------


def test_a_library_has_the_columns_of_what_fits_in_its_order(catalogue, read):
    catalogue.put(
        [
            read("a/x", downloads=1, tags=["license:mit"], safetensors=bf16(1e9)),
            read("a/y", downloads=2, pipeline_tag="image-text-to-text",
                 createdAt="2024-01-02T00:00:00.000Z"),
        ]
    )  # fmt: skip
    library = catalogue.library()
    assert library.names == ("a/y", "a/x")
    expert = library["a/x"]
    assert (expert.parameters, expert.license, expert.downloads) == (1e9, "mit", 1)
    assert expert.released is None
    assert library["a/y"].released == datetime.date(2024, 1, 2)
    assert "vision" in library["a/y"].capabilities
    with pytest.raises(LibraryError):
        catalogue.library(Query(task="nothing has it"))


def test_a_library_says_from_what_its_models_were_made(catalogue, read):
    catalogue.put(
        [
            read("a/x", tags=[f"{QUANT}org/Llama-3-8B"], downloads=4),
            read("a/y", tags=[f"{QUANT}org/Llama-3-8B"], downloads=3),
            read("a/z", tags=["base_model:merge:b/one", "base_model:merge:b/two"], downloads=2),
            read("a/none", downloads=1),
        ]
    )
    x, y, z, none = catalogue.library().metadata
    assert x == {"hub": {"bases": [{"name": "org/Llama-3-8B", "relation": "quantized"}]}}
    assert x is y  # however many they are
    merged = [{"name": f"b/{word}", "relation": "merge"} for word in ("one", "two")]
    assert z == {"hub": {"bases": merged}}
    assert none is None
    assert catalogue.library(Query(search="none")).metadata.tolist() == [None]


def test_a_telling_base_gives_a_name_that_tells_nothing_its_familys_prior(catalogue, read):
    merge = {"tags": ["base_model:merge:meta-llama/Llama-3.1-8B"]}
    catalogue.put([read("org/thing", **merge), read("org/other")])
    library = catalogue.library()
    traits = metadata_features(library)
    kinds = dict(zip(library.names, traits.profile_index, strict=True))
    assert traits.families[kinds["org/thing"]] == model_family("meta-llama/Llama-3.1-8B")
    assert traits.families[kinds["org/other"]][0] == ""
    assert traits.binary[kinds["org/thing"], BINARY_FEATURES.index("merge")]


def test_a_file_without_relations_gets_them_with_the_next_records(catalogue, read):
    model = read("a/x", tags=[f"{QUANT}org/base"])
    catalogue.put([model])
    database = catalogue.connection()
    database.execute("ALTER TABLE lineage DROP COLUMN relation")
    database.execute("PRAGMA user_version = 1")
    catalogue.close()
    assert catalogue.library().metadata[0] == {"hub": {"bases": [{"name": "org/base"}]}}
    catalogue.put([later(model)])
    (facts,) = catalogue.library().metadata
    assert facts["hub"]["bases"] == [{"name": "org/base", "relation": "quantized"}]


# --- words ----------------------------------------------------------------------------------


def test_near_names_are_offered(catalogue, read):
    catalogue.put([read("org/llama-7b"), read("other/thing")])
    assert "org/llama-7b" in catalogue.suggest_names("org/lama-7b")
    assert "org/llama-7b" in catalogue.suggest_names("llama-7b")
    assert catalogue.suggest_names("%") == ""


def test_a_path_and_a_name_have_to_be_some(catalogue):
    with pytest.raises(InputError, match="path"):
        Catalogue(5)
    with pytest.raises(InputError, match="name"):
        catalogue.get(5)
    with pytest.raises(InputError, match="column"):
        catalogue.distinct_values("name; DROP TABLE models")


def test_the_usual_path_is_in_the_home_of_tryage_or_of_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("TRYAGE_HOME", str(tmp_path / "here"))
    assert Catalogue().path == tmp_path / "here" / "catalogue.sqlite"
    monkeypatch.delenv("TRYAGE_HOME")
    assert Catalogue().path.parent.name == "tryage"


# --- many at once ---------------------------------------------------------------------------


def test_readers_are_not_blocked_by_a_writer_and_see_the_whole_of_what_was_before(catalogue, read):
    catalogue.put([read("org/a")])
    with Catalogue(catalogue.path) as writer, storage.transaction(writer.connection()):
        writer.connection().execute("UPDATE models SET name = 'org/b'")
        assert catalogue.search()[0].name == "org/a"
    assert catalogue.search()[0].name == "org/b"


def test_threads_read_and_write_at_once_and_nothing_is_lost(catalogue, read):
    models = [read(f"org/m{i}", tags=["x"]) for i in range(80)]
    failed = []

    def work(part):
        try:
            for model in models[part::4]:
                catalogue.put([model])
                assert catalogue.get(model.name) == model
        except Exception as error:  # noqa: BLE001 - a thread's error must reach the test
            failed.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(catalogue) == len(models)


def test_a_second_writer_waits_and_then_says_for_whom(catalogue, read, monkeypatch):
    catalogue.put([read("org/a")])
    monkeypatch.setattr(storage, "BUSY_TIMEOUT", 0.01)
    with (
        Catalogue(catalogue.path) as other,
        storage.transaction(catalogue.connection()),
        pytest.raises(CatalogueError, match="being written by another process"),
    ):
        other.put([read("org/b")])


def test_a_second_sync_is_told_who_is_at_it(catalogue):
    with (
        Catalogue(catalogue.path) as other,
        lock.sync_lock(catalogue),
        pytest.raises(CatalogueError, match=f"synced by process {os.getpid()} on .* since 20"),
        lock.sync_lock(other),
    ):
        pass
    with lock.sync_lock(catalogue):
        pass


# --- a file that is bad ---------------------------------------------------------------------


def test_an_older_file_is_brought_up_to_date_and_keeps_what_it_has(catalogue, read, monkeypatch):
    catalogue.put([read("org/a")])
    catalogue.close()
    step = "ALTER TABLE models ADD COLUMN shoe_size REAL; CREATE INDEX shoes ON models (shoe_size)"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))
    assert catalogue.get("org/a") is not None
    assert catalogue.connection().execute("SELECT shoe_size FROM models").fetchall() == [(None,)]


def test_a_newer_file_asks_for_a_newer_tryage(catalogue):
    catalogue.connection().execute("PRAGMA user_version = 99")
    catalogue.close()
    with pytest.raises(CatalogueError, match=r"version 99.*Upgrade Tryage"):
        len(catalogue)


def test_another_programs_file_is_left_alone(tmp_path):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    with pytest.raises(CatalogueError, match="another program"):
        len(Catalogue(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", [b"no database at all" * 100, None])
def test_a_damaged_file_says_so_and_how_to_get_another(catalogue, read, damage):
    catalogue.put([read(f"org/m{i}", tags=[f"t{i}"]) for i in range(50)])
    catalogue.close()
    data = catalogue.path.read_bytes()
    catalogue.path.write_bytes(damage or data[:5_000] + b"\x99" * (len(data) - 5_000))
    with pytest.raises(CatalogueError, match=r"damaged.*tryage hub sync"):
        catalogue.search()
    assert catalogue.path.exists()


def test_a_full_disk_says_so_and_loses_nothing(catalogue, read, content):
    catalogue.put([read("org/a")])
    before = content(catalogue)
    (pages,) = catalogue.connection().execute("PRAGMA page_count").fetchone()
    catalogue.connection().execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(CatalogueError, match="disk is full"):
        catalogue.put([read(f"org/m{i}", tags=[f"tag {i}"]) for i in range(500)])
    assert content(catalogue) == before
    catalogue.connection().execute("PRAGMA max_page_count = 1000000")
    assert catalogue.put([read("org/b")]) == ChangeCounts(new=1)


def test_a_folder_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogueError, match="cannot be made"):
        len(Catalogue(tmp_path / "file" / "catalogue.sqlite"))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="who may write everywhere")
def test_a_read_only_folder_can_be_read_and_says_why_it_is_not_written(catalogue, read):
    catalogue.put([read("org/a")])
    catalogue.close()
    folder = catalogue.path.parent
    catalogue.path.chmod(stat.S_IREAD)
    folder.chmod(stat.S_IREAD | stat.S_IEXEC)
    try:
        assert catalogue.get("org/a") is not None
        with pytest.raises(CatalogueError, match="cannot be written"):
            catalogue.put([read("org/b")])
    finally:
        catalogue.close()
        folder.chmod(0o700)


def test_a_file_that_opens_for_reading_only_is_read(catalogue, read, monkeypatch):
    catalogue.put([read("org/a")])
    catalogue.close()
    really = schema._open

    def refuse(path, mode):
        if mode == "rwc":
            raise sqlite3.OperationalError("unable to open database file")
        return really(path, mode)

    monkeypatch.setattr(schema, "_open", refuse)
    assert catalogue.get("org/a") is not None
    with pytest.raises(CatalogueError, match="cannot be written"):
        catalogue.put([read("org/b")])


# --- age ------------------------------------------------------------------------------------


def test_age_counts_from_the_last_sync_that_ended_and_is_never_below_zero(catalogue, seen):
    catalogue.set_state({"synced": seen.timestamp()})
    assert catalogue.synced_at == seen
    assert catalogue.age(seen + 3 * LATER) == 3 * LATER
    assert catalogue.age(seen - LATER) == datetime.timedelta(0)
