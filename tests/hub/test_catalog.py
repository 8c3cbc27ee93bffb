"""`Catalogue`: reading models, libraries and similar names, from many threads, and its age."""

from __future__ import annotations

import datetime
import threading
import time

import pytest

from tryage.errors import InputError, LibraryError
from tryage.hub import catalog_schema
from tryage.hub.catalog import Catalogue, explain_no_match
from tryage.hub.catalog_query import Query
from tryage.hub.catalog_write import ChangeCounts
from tryage.perception.metadata import BINARY_FEATURES, metadata_features, model_family

HOUR = datetime.timedelta(hours=1)
QUANT = "base_model:quantized:"


def bf16(count):
    return {"parameters": {"BF16": count}, "total": count}


# Models


def test_an_empty_catalogue_has_no_models_and_is_true(catalogue):
    assert len(catalogue) == 0
    assert catalogue.search() == []
    assert catalogue.get("org/x") is None
    assert (catalogue.synced_at, catalogue.age()) == (None, None)
    assert bool(catalogue)


def test_a_model_comes_back_with_every_fact_and_its_source(catalogue, parse):
    model = parse(
        "Größe/模型", tags=["license:mit", "gguf"], safetensors=bf16(7e9), gated="auto", likes=3
    )
    assert catalogue.put([model]) == ChangeCounts(new=1)
    assert catalogue.get("Größe/模型") == model
    assert catalogue.get(model.key) == model


def test_names_are_found_in_any_case_and_the_exact_one_first(catalogue, parse):
    catalogue.put([parse("org/Model", likes=1), parse("ORG/model", likes=2)])
    assert catalogue.get("org/Model").likes == 1
    assert catalogue.get("ORG/model").likes == 2
    assert catalogue.get("org/model") is not None
    assert len(catalogue.library()) == 1


def test_a_path_a_name_or_a_column_of_the_wrong_type_is_refused(catalogue):
    with pytest.raises(InputError, match="path"):
        Catalogue(5)
    with pytest.raises(InputError, match="name"):
        catalogue.get(5)
    with pytest.raises(InputError, match="column"):
        catalogue.distinct_values("name; DROP TABLE models")


# Libraries


def test_a_library_has_the_columns_of_the_models_that_fit_in_the_order_of_the_query(
    catalogue, parse
):
    catalogue.put(
        [
            parse("a/x", downloads=1, tags=["license:mit"], safetensors=bf16(1e9)),
            parse("a/y", downloads=2, pipeline_tag="image-text-to-text",
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


def test_a_library_has_the_bases_of_its_models_as_metadata(catalogue, parse):
    catalogue.put(
        [
            parse("a/x", tags=[f"{QUANT}org/Llama-3-8B"], downloads=4),
            parse("a/y", tags=[f"{QUANT}org/Llama-3-8B"], downloads=3),
            parse("a/z", tags=["base_model:merge:b/one", "base_model:merge:b/two"], downloads=2),
            parse("a/none", downloads=1),
        ]
    )
    x, y, z, none = catalogue.library().metadata
    assert x == {"hub": {"bases": [{"name": "org/Llama-3-8B", "relation": "quantized"}]}}
    assert x is y  # however many they are
    merged = [{"name": f"b/{word}", "relation": "merge"} for word in ("one", "two")]
    assert z == {"hub": {"bases": merged}}
    assert none is None
    assert catalogue.library(Query(search="none")).metadata.tolist() == [None]


def test_a_base_gives_its_family_to_a_model_whose_name_has_none(catalogue, parse):
    merge = {"tags": ["base_model:merge:meta-llama/Llama-3.1-8B"]}
    catalogue.put([parse("org/thing", **merge), parse("org/other")])
    library = catalogue.library()
    traits = metadata_features(library)
    kinds = dict(zip(library.names, traits.profile_index, strict=True))
    assert traits.families[kinds["org/thing"]] == model_family("meta-llama/Llama-3.1-8B")
    assert traits.families[kinds["org/other"]][0] == ""
    assert traits.binary[kinds["org/thing"], BINARY_FEATURES.index("merge")]


# Similar names


def test_similar_names_are_suggested(catalogue, parse):
    catalogue.put([parse("org/llama-7b"), parse("other/thing")])
    assert "org/llama-7b" in catalogue.suggest_names("org/lama-7b")
    assert "org/llama-7b" in catalogue.suggest_names("llama-7b")
    assert catalogue.suggest_names("%") == ""


def test_words_of_a_query_that_no_model_has_are_explained_with_similar_ones(catalogue, parse):
    catalogue.put([parse("org/a", pipeline_tag="text-generation", tags=["license:mit", "gguf"])])
    query = Query(task="text-generatoin", tags=["gguf"], license=["mti"], author="org")
    assert explain_no_match(catalogue, query) == (
        " No model has the task 'text-generatoin'. Did you mean text-generation?"
        " No model has the license 'mti'. Did you mean mit?"
    )


# Many at once


def test_a_writer_does_not_block_readers_and_they_see_the_state_before_it(catalogue, parse):
    catalogue.put([parse("org/a")])
    with Catalogue(catalogue.path) as writer, catalog_schema.transaction(writer.connection()):
        writer.connection().execute("UPDATE models SET name = 'org/b'")
        assert catalogue.search()[0].name == "org/a"
    assert catalogue.search()[0].name == "org/b"


def test_threads_read_and_write_at_once_and_nothing_is_lost(catalogue, parse):
    models = [parse(f"org/m{i}", tags=["x"]) for i in range(80)]
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


def test_threads_wait_for_each_other_even_where_sqlite_would_not(tmp_path, parse, monkeypatch):
    monkeypatch.setattr(catalog_schema, "BUSY_TIMEOUT", 0.0)
    catalogue, is_writing = Catalogue(tmp_path / "catalogue.sqlite"), threading.Event()
    assert len(catalogue) == 0

    def write_slowly():
        with catalogue.transaction() as database:
            is_writing.set()
            time.sleep(0.05)
            catalog_schema.save_state(database, {"first": 1})

    thread = threading.Thread(target=write_slowly)
    thread.start()
    is_writing.wait()
    catalogue.put([parse("org/m")])
    thread.join()
    assert catalogue.get("org/m") is not None
    assert catalogue.get_state("first") == 1


# Age


def test_the_age_counts_from_the_last_complete_sync_and_is_never_negative(catalogue, fetched_at):
    catalogue.set_state({"synced": fetched_at.timestamp()})
    assert catalogue.synced_at == fetched_at
    assert catalogue.age(fetched_at + 3 * HOUR) == 3 * HOUR
    assert catalogue.age(fetched_at - HOUR) == datetime.timedelta(0)
