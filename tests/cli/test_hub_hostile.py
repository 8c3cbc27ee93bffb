"""What commands print of a catalogue that an older version has filled with hostile texts."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import sqlite3
import zlib

import pytest

from tryage import Expert, Router
from tryage.hub.catalog import Catalogue
from tryage.hub.catalog_sync import sync
from tryage.hub.client import HubClient
from tryage.hub.settings import HubSettings
from tryage.testing import LocalHub

HOSTILE = "x\x1b]52;c;aGk=\x07\x9b2J\u202e\u200b<script>\n| a |"
MARK = "marked-text"  # what is replaced in the stored records

RESULT = {"dataset": {"type": MARK}, "task": {"type": MARK}, "source": {"name": MARK, "url": MARK},
          "metrics": [{"type": MARK, "value": 0.5}]}  # fmt: skip


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """Fill a catalogue, and put hostile texts in the place of some of its own."""
    path = tmp_path_factory.mktemp("home") / "catalogue.sqlite"
    with LocalHub() as hub:
        hub.add(
            "org/model", downloads=10, pipeline_tag=MARK, library_name=MARK, author=MARK,
            tags=[MARK, f"license:{MARK}", "gguf"],
            safetensors={"total": 7e9, "parameters": {"BF16": 7e9}},
            **{"model-index": [{"results": [RESULT]}]},
        )  # fmt: skip
        hub.served.append(
            {"id": "org/model", "providers": [{"provider": MARK, "status": "live",
             "pricing": {"input": 1, "output": 2}}]}
        )  # fmt: skip
        settings = HubSettings(endpoint=hub.url, inference=hub.url)
        with Catalogue(path) as opened, HubClient(settings) as client:
            sync(client, opened)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        ((row, data),) = database.execute("SELECT model, data FROM records").fetchall()
        text = json.dumps(json.loads(zlib.decompress(data)))
        assert text.count(MARK) >= 8
        hostile = json.dumps(HOSTILE)[1:-1]
        record = json.loads(text.replace(MARK, hostile))
        record["facts"].pop("license", None)
        database.execute(
            "UPDATE records SET data = ? WHERE model = ?",
            (zlib.compress(json.dumps(record).encode()), row),
        )
        database.execute("UPDATE models SET task = ?, author = ?, license = ?", (HOSTILE,) * 3)
        database.execute("UPDATE beside SET data = replace(data, ?, ?)", (MARK, hostile))
    return path


def shown(done):
    """Return what was printed, without the ends of lines."""
    return (done.stdout + done.stderr).replace("\n", "")


@pytest.mark.parametrize(
    "words",
    [
        ("hub", "show", "org/model"),
        ("hub", "show", "org/model", "--json"),
        ("hub", "search"),
        ("hub", "search", "--json"),
        ("hub", "search", HOSTILE),
        ("hub", "search", "--task", HOSTILE),
        ("hub", "search", "--license", HOSTILE),
        ("hub", "show", HOSTILE),
    ],
)
def test_no_command_of_the_hub_prints_what_a_terminal_obeys(tryage, catalogue, words):
    done = tryage(*words, "--catalogue", catalogue)
    assert shown(done).isprintable(), done.exit_code
    assert "Traceback" not in done.output
    if words[:2] == ("hub", "show") and words[2] == "org/model":
        assert "]52;c;" in done.stdout  # so it was there, as an escape


def test_json_of_a_hostile_model_is_read_again(tryage, catalogue):
    done = tryage("hub", "show", "org/model", "--json", "--catalogue", catalogue)
    assert json.loads(done.stdout)["task"] == HOSTILE


@pytest.fixture(scope="module")
def hostile_router(saved, tmp_path_factory):
    """A saved router whose library has hostile sources."""
    router = Router.from_pretrained(saved)
    sources = {"parameters": HOSTILE, "input_price": {"source": HOSTILE, "seen": HOSTILE}}
    experts = [
        Expert(name, parameters=1e9, input_price=0.1, output_price=0.2,
               metadata={"sources": sources, "note": HOSTILE})
        for name in router.library.names
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("hostile")
    Router(router.perception, experts).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("explain", f"sum {HOSTILE}", "--require", "size<2B"),
        ("route", f"sum {HOSTILE}"),
        ("route", f"sum {HOSTILE}", "--json"),
        ("route", f"[Flag: model={HOSTILE}] sum", "--flags"),
        ("explain", f"[Flag: model={HOSTILE}] sum", "--flags"),
        ("pareto", f"sum {HOSTILE}"),
        ("pareto", f"sum {HOSTILE}", "--json"),
        ("experts",),
        ("experts", "--json"),
        ("route", "sum", "--require", f"license={HOSTILE}"),
        ("route", "sum", "--weight", f"{HOSTILE}=1"),
    ],
)
def test_no_command_of_a_router_prints_what_a_terminal_obeys(tryage, hostile_router, words):
    done = tryage(*words, "--router", hostile_router)
    assert shown(done).isprintable(), done.exit_code
    assert "Traceback" not in done.output


def test_a_router_with_hostile_names_is_refused_in_words(tryage, saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "router")
    header = json.loads((folder / "router.json").read_text())
    header["library"][0]["name"] = HOSTILE
    (folder / "router.json").write_text(json.dumps(header))
    done = tryage("experts", "--router", folder)
    assert done.exit_code == 2
    assert "no control characters" in done.stderr
    assert shown(done).isprintable()


def test_a_report_of_a_log_with_hostile_names_holds_no_markup_and_no_escape(
    tryage, simulate_traffic, tmp_path
):
    pytest.importorskip("sqlalchemy")
    from tryage.traffic.traffic import Traffic

    rows, _ = simulate_traffic(60)
    url = f"sqlite:///{tmp_path}/traffic.db"
    with Traffic(url) as traffic:
        for record, outcome, feedback in rows:
            names = {"chosen": f"{record.chosen}{HOSTILE}", "kind": HOSTILE, "arm": HOSTILE}
            names["candidates"] = tuple(f"{name}{HOSTILE}" for name in record.candidates)
            traffic.record_decision(dataclasses.replace(record, **names))
            served = f"{outcome.served_by}{HOSTILE}"
            traffic.record_outcome(dataclasses.replace(outcome, served_by=served, error=HOSTILE))
            for one in feedback:
                traffic.add_feedback(dataclasses.replace(one, comment=HOSTILE))
        traffic.add_event("drift", {"message": HOSTILE}, HOSTILE)
    for name in ("r.md", "r.html", "r.json"):
        done = tryage(
            "report", "--traffic", url, "-o" if name != "r.json" else "--json", tmp_path / name
        )
        assert done.exit_code == 0, done.stderr
        text = (tmp_path / name).read_text("utf-8")
        assert "<script>" not in text.replace(r"\<script>", "") or name == "r.json"
        if name != "r.html":  # a page shows no control character
            assert text.replace("\n", "").isprintable(), name
    for words in (("report",), ("traffic", "show")):
        assert shown(tryage(*words, "--traffic", url)).isprintable()
