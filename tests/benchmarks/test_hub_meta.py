"""`benchmarks/hub_meta.py`: snapshots of metadata become records in the format of the Hub."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tryage.testing import LocalHub

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

DEFAULTS = {"downloads": None, "likes": None, "pipeline_tag": None}
ROWS = {
    "hub_2022_02": [
        {"id": "gpt2", "downloads": 9.0, "likes": 3, "tags": ["pytorch"], "sha": "a" * 40,
         "last_modified": "2021-05-19T16:25:59.000Z", "model_type": "gpt2",
         "architectures": ["GPT2LMHeadModel"], "files": ["config.json"]},
        {"id": "org/both", "downloads": 1.0, "likes": 2, "tags": ["old"], "sha": "b" * 40,
         "last_modified": "2021-01-01T00:00:00.000Z", "model_type": None,
         "architectures": None, "files": []},
    ],
    "hub_2022_08": [],
    "hub_2024_09": [
        {"id": "org/q-GGUF", "downloads": 4, "last_modified": "2024-01-02 03:04:05+00:00",
         "tags": ["gguf", "base_model:a/b", "base_model:quantized:a/b"]},
    ],
    "hub_2025_04_trees": [
        {"id": "org/gated", "created_at": "2025-01-23 14:13:54+00:00", "gated": "manual",
         "last_modified": "2025-01-30 17:00:21+00:00", "params": 7e9, "tags": []},
    ],
    "hub_2025_10": [
        {"id": "org/both", "license": "mit", "pipeline_tag": "text-generation",
         "created_at": None, "last_modified": "2025-08-28T01:30:31+00:00"},
    ],
    "hub_2025_12": [{"id": "org/both", "downloads": 50}],
    "hub_2026_llmfit": [
        {"id": "org/q-GGUF", "parameters_raw": 8, "architecture": "llama", "format": "gguf",
         "context_length": 4096, "pipeline_tag": "unknown", "hf_downloads": 5, "hf_likes": 0,
         "release_date": None},
        {"id": "org/packed", "parameters_raw": 9, "architecture": "llama", "format": "awq",
         "context_length": 4096, "pipeline_tag": "unknown", "hf_downloads": 5, "hf_likes": 0,
         "release_date": "2025-09-03"},
    ],
    "hugginggpt_p0_2023": [
        {"id": "gpt2", "downloads": 7, "likes": 5,
         "meta": '{"license": "mit", "widget": [], "model-index": [{"name": "x"}]}'},
    ],
}  # fmt: skip


@pytest.fixture
def meta(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    spec = importlib.util.spec_from_file_location("hub_meta", BENCHMARKS / "hub_meta.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "hub_meta", module)
    spec.loader.exec_module(module)
    for name, rows in ROWS.items():
        padded = [{**DEFAULTS, **row} for row in rows] or [{"id": "x/y", **DEFAULTS}]
        parquet.write_table(pa.Table.from_pylist(padded), tmp_path / f"{name}.parquet")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    return module


@pytest.fixture
def records(meta):
    return {record["id"]: record for record in meta.real_records()}


def test_each_field_of_a_model_is_from_the_newest_snapshot_that_has_it(records):
    both = records["org/both"]
    assert (both["downloads"], both["likes"], both["tags"]) == (50, 2, ["old", "license:mit"])
    assert (both["sha"], both["pipeline_tag"]) == ("b" * 40, "text-generation")
    assert both["lastModified"] == "2025-08-28T01:30:31.000Z"
    assert both["createdAt"] == "2022-03-02T23:29:04.000Z"
    assert both["cardData"] == {"license": "mit"}


def test_the_oldest_models_have_no_author_and_keep_the_header_of_their_card(records):
    gpt2 = records["gpt2"]
    assert "author" not in gpt2
    assert (gpt2["cardData"], gpt2["model-index"]) == ({"license": "mit"}, [{"name": "x"}])
    assert gpt2["config"] == {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}
    assert gpt2["siblings"] == [{"rfilename": "config.json"}]


def test_sizes_base_models_and_gates_have_the_format_of_the_hub(meta, records):
    assert records["org/gated"]["safetensors"] == {
        "parameters": {"BF16": 7_000_000_000},
        "total": 7_000_000_000,
    }
    assert records["org/gated"]["gated"] == "manual"
    assert records["org/packed"]["safetensors"] == {"total": 9}
    quantized = records["org/q-GGUF"]
    assert quantized["gguf"] == {"total": 8, "architecture": "llama", "context_length": 4096}
    assert quantized["baseModels"] == {
        "relation": "quantized",
        "models": [{"_id": meta.make_key("a/b"), "id": "a/b"}],
    }


def test_synthetic_models_are_different_and_reproducible(meta):
    made = list(meta.synthetic_records(50))
    assert len({record["id"] for record in made}) == len({record["_id"] for record in made}) == 50
    assert made == list(meta.synthetic_records(50))
    assert LocalHub().load(made) == 50


def test_a_missing_folder_is_named(meta, monkeypatch, tmp_path):
    monkeypatch.setattr(meta, "FOLDER", tmp_path / "none")
    with pytest.raises(SystemExit, match="not part of the repository"):
        meta.real_records()
