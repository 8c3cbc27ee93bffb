"""Short runs of the canaries: no secret is anywhere, and the search would have found it."""

from __future__ import annotations

import base64
import importlib
import json
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks" / "robustness"

NAMES = (
    "canary_search", "canary_servers", "canary_chat", "canary_operations", "canary_commands",
    "canary_litellm", "canary_ray", "canaries",
)  # fmt: skip

LONG = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(900)]


@pytest.fixture
def canaries(monkeypatch):
    if not FOLDER.is_dir():
        pytest.skip("the benchmarks are not part of this copy")
    for name in ("langchain_openai", "langchain_anthropic", "langchain_ollama", "psycopg"):
        pytest.importorskip(name)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module("canaries")
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize(
    ("run", "form"),
    [
        ("langchain_pickles", "short"),
        ("langchain_call_settings", "signs"),
        ("settings_files", "lower-case words"),
        ("traffic_addresses", "quotes"),
        pytest.param("shell_commands", "signs", marks=LONG),
        pytest.param("serve_command", "quotes", marks=LONG),
        pytest.param("ray_engine", "known prefix", marks=LONG),
        pytest.param("ray_serve", "no prefix", marks=LONG),  # a second session of one process
    ],
)
def test_no_secret_is_where_it_must_not_be(canaries, run, form):
    if run.startswith("ray"):
        pytest.importorskip("ray")
    sweep = canaries.sweep_run(canaries.RUNS[run], form)
    assert sweep.n_searched > 20
    assert [leak for leak in sweep.leaks() if not canaries.is_of_others(leak)] == []


@pytest.mark.parametrize(
    "written",
    [
        lambda secret: secret,
        lambda secret: secret[:-1],
        lambda secret: quote(secret, safe=""),
        lambda secret: json.dumps({"key": secret}),
        lambda secret: base64.b64encode(b"me:" + secret.encode()).decode(),
        lambda secret: secret.encode("utf-16-le"),
        lambda secret: secret.encode().hex(),
    ],
)
def test_a_secret_is_found_however_it_is_written(canaries, tmp_path, written):
    for form in canaries.FORMS:
        sweep = canaries.Sweep(form, tmp_path)
        secret = sweep.canary("place")
        sweep.add("surface", written(secret))
        sweep.add("requests of its own server", secret, knows=frozenset({"place"}))
        sweep.add("nothing", "Hello")
        assert [(leak.place, leak.surface) for leak in sweep.leaks()] == [("place", "surface")]
        assert sweep.n_searched == 2


@pytest.mark.slow
def test_keys_of_files_are_sent_to_their_own_servers_and_shown_nowhere(canaries):
    sweep = canaries.sweep_run(canaries.RUNS["key_files"], "Base64")
    assert [leak for leak in sweep.leaks() if not canaries.is_of_others(leak)] == []
    surfaces = {surface: data for surface, data, _ in sweep.contents}
    assert surfaces["asked with the token of the file"] == b"True"
    requests = [data for surface, data, _ in sweep.contents if surface == "requests of the model"]
    assert any(b"Authorization: Basic " in request for request in requests)  # of ~/.netrc


def test_compressed_tables_and_files_in_folders_are_searched(canaries):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def run(sweep):
        Path("logs").mkdir()
        Path("logs/worker.out").write_text(sweep.canary("printed"))
        table = pyarrow.table({"error": [sweep.canary("in a row")] * 100})
        parquet.write_table(table, "losses.parquet", compression="gzip")

    leaks = canaries.sweep_run(run, "no prefix").leaks()
    found = {(leak.place, leak.surface) for leak in leaks}
    expected = {("printed", "file logs/worker.out"), ("in a row", "rows of losses.parquet")}
    assert expected <= found


def test_logs_output_files_and_warnings_are_searched(canaries):
    def run(sweep):
        import logging
        import os
        import warnings

        secret = sweep.canary("place")
        logging.getLogger("tryage.test").debug("key %s", secret)
        warnings.warn(secret, stacklevel=1)
        os.write(1, secret.encode())
        Path("file.txt").write_text(secret)
        sweep.add_error("error", ValueError(secret))

    found = {leak.surface for leak in canaries.sweep_run(run, "no prefix").leaks()}
    assert found == {
        "log of Tryage", "standard output and error", "file file.txt", "error: text",
        "error: traceback", "error: pickle",
    }  # fmt: skip
