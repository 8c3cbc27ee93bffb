"""`tryage hub`: what sync, search and show print."""

from __future__ import annotations

import json

import pytest

from tryage.hub import catalog_sync
from tryage.hub.catalog import Catalogue
from tryage.hub.settings import HubSettings
from tryage.testing import LocalHub
from tryage.testing.hub import ServerError

SIZE = {"parameters": {"BF16": 7_000_000_000}, "total": 7_000_000_000}


@pytest.fixture
def hub(monkeypatch):
    with LocalHub() as local:
        chat = {"pipeline_tag": "text-generation", "createdAt": "2025-02-01T00:00:00.000Z"}
        tags = ["license:mit", "gguf"]
        local.add("org/base", downloads=1_200_000, safetensors=SIZE, tags=["license:mit"], **chat)
        local.add("org/quant", downloads=90, tags=[*tags, "base_model:quantized:org/base"], **chat)
        local.add("org/größe", downloads=5, gated="manual", pipeline_tag="fill-mask")
        pricing = {"input": 0.25, "output": 1.0}
        offer = {"provider": "one", "status": "live", "pricing": pricing}
        local.served.append({"id": "org/base", "providers": [offer]})
        at = HubSettings(endpoint=local.url, inference=local.url, retries=0)
        monkeypatch.setattr(HubSettings, "from_environment", classmethod(lambda _: at))
        yield local


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("TRYAGE_HOME", str(tmp_path))
    return tmp_path / "catalogue.sqlite"


@pytest.fixture
def synced(hub, path, tryage):
    assert tryage("hub", "sync").exit_code == 0, hub
    return path


def test_sync_prints_what_changed_and_where_the_catalogue_is(hub, path, tryage):
    first = tryage("hub", "sync")
    assert first.exit_code == 0
    assert first.stdout.startswith("3 models (3 new) after ")
    assert str(path) in first.stdout
    assert first.stderr == ""  # no progress bar without a terminal
    hub.rename("org/quant", "org/quant-2")
    second = tryage("hub", "sync", "--refresh")
    assert "3 models (1 renamed)" in second.stdout
    assert "nothing changed" in tryage("hub", "sync").stdout


@pytest.mark.usefixtures("hub")
def test_sync_takes_a_limit_a_path_and_names(tmp_path, tryage):
    other = tmp_path / "other" / "mine.sqlite"
    words = ("--limit", 1, "--model", "org/quant", "--model", "org/none", "--no-served")
    done = tryage("hub", "sync", *words, "--catalogue", other)
    assert "2 models (2 new)" in done.stdout
    assert "The Hub has no model org/none." in done.stderr
    assert "org/quant" in tryage("hub", "search", "--catalogue", other).stdout
    assert "--full" in tryage("hub", "sync", "--help").stdout
    assert tryage("hub", "sync", "--full", "--limit", 1).exit_code == 2


@pytest.mark.usefixtures("synced")
def test_a_failed_sync_says_why_and_leaves_the_catalogue_unchanged(hub, tryage):
    hub.fail(ServerError(504), times=None)
    failed = tryage("hub", "sync")
    assert failed.exit_code == 2
    assert "The catalogue is unchanged, less than a minute old." in failed.stderr
    assert "answered 504" in failed.stderr
    assert "Traceback" not in failed.output
    assert "org/base" in tryage("hub", "search").stdout


@pytest.mark.usefixtures("hub", "path")
def test_ctrl_c_says_how_to_resume(tryage, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(catalog_sync, "sync", interrupt)
    result = tryage("hub", "sync")
    assert result.exit_code == 130
    assert "Stopped." in result.stderr
    assert "the same command resumes from there" in result.stderr


@pytest.mark.usefixtures("synced")
def test_search_prints_an_aligned_table_and_the_age_of_the_catalogue(tryage):
    lines = tryage("hub", "search").stdout.splitlines()
    assert lines[0].split() == [
        "name", "task", "license", "size", "released", "downloads", "$/M", "in", "$/M", "out",
        "context", "gated",
    ]  # fmt: skip
    assert lines[1].split() == (
        ["org/base", "text-generation", "mit", "7B", "2025-02-01", "1.2M", "0.25", "1", "-", "no"]
    )
    assert lines[2].split()[:4] == ["org/quant", "text-generation", "mit", "7B"]
    assert lines[3].startswith("org/größe")
    assert lines[3].endswith("manual")
    assert len({len(line) for line in lines[:4]}) == 1
    assert lines[4] == "3 of 3 that fit, among 3 models, less than a minute old; - is unknown."


@pytest.mark.usefixtures("synced")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("quant",), ["org/quant"]),
        (("--task", "fill-mask"), ["org/größe"]),
        (("--tag", "gguf"), ["org/quant"]),
        (("--license", "mit", "--limit", 1), ["org/base"]),
        (("--min-size", "6.5B", "--max-size", "8B"), ["org/base", "org/quant"]),
        (("--since", "2025-02"), ["org/base", "org/quant"]),
        (("--gated",), ["org/größe"]),
        (("--no-gated", "--served"), ["org/base"]),
        (("--author", "org", "--sort", "name"), ["org/base", "org/größe", "org/quant"]),
    ],
)
def test_search_finds_the_models_that_meet_all_conditions(tryage, words, found):
    lines = tryage("hub", "search", *words, "--json").stdout.splitlines()
    assert [json.loads(line)["name"] for line in lines] == found


@pytest.mark.usefixtures("synced")
def test_json_leaves_out_unknown_fields(tryage):
    (line,) = tryage("hub", "search", "base", "--json").stdout.splitlines()
    row = json.loads(line)
    assert (row["released"], row["capabilities"]) == ("2025-02-01", ["chat"])
    assert "latency" not in row


@pytest.mark.usefixtures("synced")
def test_a_search_without_a_hit_names_the_wrong_word(tryage):
    output = tryage("hub", "search", "--task", "text-generatoin", "--license", "mitt").stdout
    assert "No model has the task 'text-generatoin'. Did you mean text-generation?" in output
    assert "No model has the license 'mitt'. Did you mean mit?" in output


@pytest.mark.usefixtures("synced")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--sort", "download"), "Did you mean downloads"),
        (("--max-size", "7Q"), "--max-size '7Q' cannot be read; write it as 7B or 350M."),
        (("--since", "yesterday"), "--since 'yesterday' cannot be read"),
        (("--limit", 0), "limit must be a whole number from 1"),
    ],
)
def test_a_wrong_option_is_one_line(tryage, words, message):
    result = tryage("hub", "search", *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.usefixtures("synced")
def test_show_prints_every_fact_with_its_source_date_and_confidence(tryage):
    output = tryage("hub", "show", "ORG/quant").stdout
    assert output.startswith("org/quant  https://huggingface.co/org/quant\n")
    assert "made from  org/base (quantized)" in output
    (size,) = [line for line in output.splitlines() if line.startswith("parameters")]
    _, value, sure, seen, source = size.split(maxsplit=4)
    assert (value, source) == ("7B", "base org/base: safetensors.parameters")
    assert sure.endswith("%")
    assert seen.startswith("20")
    assert "The catalogue is less than a minute old" in output


@pytest.mark.usefixtures("synced")
def test_show_prints_results_and_says_if_a_model_is_deleted(hub, tryage):
    index = [{"results": [{"task": {"type": "qa"}, "dataset": {"name": "SQuAD"},
                           "metrics": [{"type": "f1", "value": 88.5}]}]}]  # fmt: skip
    hub.add("org/scored", **{"model-index": index})
    hub.remove("org/quant")
    tryage("hub", "sync", "--refresh")
    output = tryage("hub", "show", "org/scored").stdout
    assert "SQuAD" in output
    assert "88.5" in output
    assert "Not on the Hub since 20" in tryage("hub", "show", "org/quant").stdout
    data = json.loads(tryage("hub", "show", "org/quant", "--json").stdout)
    assert data["gone"] is not None
    assert data["facts"]


@pytest.mark.usefixtures("synced")
def test_show_prints_leaderboard_results_with_date_and_source(hub, tryage):
    source = {"url": "https://spaces.test/evals"}
    row = {"modelId": "org/base", "value": 61.25, "verified": True, "source": source}
    hub.leaderboards["Idavidrein/gpqa"] = [row]
    assert tryage("hub", "sync", "--leaderboard", "Idavidrein/gpqa").exit_code == 0
    lines = tryage("hub", "show", "org/base").stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("Idavidrein/gpqa")]
    name, score, weight, seen, by = line.split(maxsplit=4)
    assert (name, score, weight) == ("Idavidrein/gpqa", "61.25", "0.80")
    assert seen.startswith("20")
    assert by == "leaderboard, https://spaces.test/evals"
    (line,) = [x for x in tryage("hub", "show", "org/quant").stdout.splitlines() if "gpqa" in x]
    assert "leaderboard, base org/base" in line


@pytest.mark.usefixtures("synced")
def test_show_of_a_wrong_name_suggests_similar_names(tryage):
    result = tryage("hub", "show", "org/qant")
    assert result.exit_code == 2
    assert "Did you mean org/quant" in result.stderr


@pytest.mark.parametrize("words", [("search",), ("show", "org/base")])
def test_an_empty_catalogue_says_what_to_run_and_is_not_created(path, tmp_path, tryage, words):
    result = tryage("hub", *words)
    assert result.exit_code == 2
    assert "Fill it with: tryage hub sync" in result.stderr
    assert not path.exists()
    other = tmp_path / "x.sqlite"
    message = tryage("hub", *words, "--catalogue", other).stderr
    assert f"tryage hub sync --catalogue {other}" in message


@pytest.mark.parametrize(
    ("seconds", "age"),
    [(30, "less than a minute old"), (3_700, "1 hour old"), (200_000, "2 days old")],
)
def test_the_age_is_written_in_words(synced, tryage, seconds, age):
    with Catalogue(synced) as catalogue:
        catalogue.set_state({"synced": catalogue.get_state("synced") - seconds})
    assert age in tryage("hub", "search").stdout
