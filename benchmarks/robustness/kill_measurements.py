"""Operations that ask for `kills.py`: score, onboard, and the sync of a catalogue."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import forks
import numpy as np
from forks import Report
from hub_process import HubProcess
from kill_operation import PLACES, Operation, expect, hidden_files, make_router
from typing_extensions import override

from tryage import Expert, QTable, Router
from tryage.hub import endpoints
from tryage.hub.catalog import Catalogue
from tryage.hub.catalog_sync import sync
from tryage.hub.client import HubClient
from tryage.hub.settings import HubSettings
from tryage.onboarding.config import OnboardingConfig
from tryage.onboarding.journal import read_journal
from tryage.scoring import Measurement, MeasurerIdentity, score
from tryage.scoring.measurement import Budget, Prompt
from tryage.scoring.qtable_io import read_rows
from tryage.scoring.replies import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tryage.testing import LocalHub

_SECONDS = 0.002  # that a fake model thinks


class _Measurer:
    """Reports each prompt that it is asked, and each one that is written."""

    def __init__(self, name: str, report: Report) -> None:
        self._name, self._report = name, report

    def identify(self) -> MeasurerIdentity:
        return MeasurerIdentity(Expert(self._name), "length")

    def measure(
        self,
        prompts: Sequence[Prompt],
        budget: Budget,  # noqa: ARG002 - the protocol of measurers
    ) -> Iterator[tuple[int, Measurement]]:
        for position, prompt in enumerate(prompts):
            self._report(f"asked {self._name} {prompt.text}")
            time.sleep(_SECONDS)
            yield position, Measurement(loss=float(len(prompt.text)))
            self._report(f"kept {self._name} {prompt.text}")


class Score(Operation):
    """Measures two experts on thirty prompts, into shards of seven rows."""

    name = "score"
    _PROMPTS = tuple(f"prompt-{i}" for i in range(30))
    _EXPERTS = ("a", "b")

    @override
    def run(self, folder: Path, report: Report) -> None:
        measurers = [_Measurer(name, report) for name in self._EXPERTS]
        score(self._PROMPTS, measurers, folder, shard_rows=7, progress=False)

    @override
    def check(self, folder: Path) -> str:
        rows = self._rows(folder)
        expect(len(set(rows)) == len(rows), "a pair is there twice")
        expect(_words(self.lines, "kept") <= set(rows), "a row that was written is lost")
        return "whole"

    @override
    def finish(self, folder: Path) -> None:
        before = set(self._rows(folder))
        again = forks.run(partial(self.run, folder))
        expect(not _words(again, "asked") & before, "a measured pair is asked again")
        pairs = [f"{name} {text}" for name in self._EXPERTS for text in self._PROMPTS]
        expect(Counter(self._rows(folder)) == Counter(pairs), "a pair is missing or there twice")
        asked = Counter(line for line in [*self.lines, *again] if line.startswith("asked"))
        expect(list(asked.values()).count(2) <= 1, "more is asked twice than was in flight")
        expect(np.isfinite(QTable.read(folder).losses).all(), "the table has gaps")
        expect(not hidden_files(folder), hidden_files(folder))
        expect(not list(folder.glob("*.journal")), "a journal is left")

    def _rows(self, folder: Path) -> list[str]:
        if not any(folder.glob("*.parquet")) and not any(folder.glob("*.journal")):
            return []
        rows = read_rows(folder).to_pylist()
        return [f"{row['expert']} {row['prompt']}" for row in rows]


class Onboard(Operation):
    """Tests two models, and saves the router that knows them over the one before."""

    name = "onboard"
    _CONCURRENCY = 2
    _SKILLS: ClassVar = {"poet": "poem", "lawyer": "law"}
    _TEXTS = tuple(f"{topic} {place}" for topic in ("poem", "law", "code") for place in PLACES[:4])

    @override
    @contextmanager
    def prepared(self, folder: Path) -> Iterator[None]:
        make_router().save_pretrained(folder / "router")
        yield

    @override
    def run(self, folder: Path, report: Report) -> None:
        taught, _ = Router.from_pretrained(folder / "router").onboard_models(
            {name: self._model(name, report) for name in self._SKILLS},
            prompts=[Prompt(text, references=("yes",), id=text) for text in self._TEXTS],
            journal=folder / "answers.jsonl",
            config=OnboardingConfig(
                questions=(), min_prompts=len(self._TEXTS), concurrency=self._CONCURRENCY
            ),
            progress=False,
        )
        taught.save_pretrained(folder / "router")
        report("saved")

    def _model(self, name: str, report: Report) -> Callable[[str], Answer]:
        def answer(text: str) -> Answer:
            report(f"asked {name} {text}")
            time.sleep(_SECONDS)
            return Answer("yes" if self._SKILLS[name] in text else "no", 10.0, 10.0, cost=0.001)

        return answer

    @override
    def check(self, folder: Path) -> str:
        kept = self._kept(folder)
        expect(len(set(kept)) == len(kept), "an answer is there twice")
        lost = _words(self.lines, "asked") - set(kept)
        expect(len(lost) <= 2 * self._CONCURRENCY, f"more answers are lost than in flight: {lost}")
        n_experts = len(Router.from_pretrained(folder / "router").library)
        expect(n_experts in (3, 5), "half of a router")
        expect(n_experts == 5 or "saved" not in self.lines, "a router that was saved is lost")
        return "new" if n_experts == 5 else "old"

    @override
    def finish(self, folder: Path) -> None:
        before = set(self._kept(folder))
        again = forks.run(partial(self.run, folder))
        expect(not _words(again, "asked") & before, "a kept answer is paid for again")
        pairs = [f"{name} {text}" for name in self._SKILLS for text in self._TEXTS]
        expect(Counter(self._kept(folder)) == Counter(pairs), "an answer is missing or there twice")
        expect(
            len(Router.from_pretrained(folder / "router").library) == 5, "the router was not saved"
        )
        expect(not hidden_files(folder / "router"), hidden_files(folder))

    def _kept(self, folder: Path) -> list[str]:
        path = folder / "answers.jsonl"
        records = read_journal(path) if path.exists() else []
        return [f"{record.model} {record.question}" for record in records]


class Sync(Operation):
    """Brings a catalogue up to date with a Hub on which every kind of thing has changed."""

    name = "sync"

    @override
    @contextmanager
    def prepared(self, folder: Path) -> Iterator[None]:
        path = folder / "catalogue.sqlite"
        with HubProcess(_fill) as hub:
            forks.run(lambda _: _sync(hub.url, path))
        (self.old,) = forks.run(lambda report: report(_content(path)))
        with HubProcess(_fill_and_change) as hub:
            self.url = hub.url
            new_path = folder / "new.sqlite"
            shutil.copy(path, new_path)
            forks.run(lambda _: _sync(hub.url, new_path))
            (self.new,) = forks.run(lambda report: report(_content(new_path)))
            for leftover in folder.glob("new.sqlite*"):
                leftover.unlink()
            yield

    @override
    def run(self, folder: Path, report: Report) -> None:
        _sync(self.url, folder / "catalogue.sqlite")
        report("synced")

    @override
    def check(self, folder: Path) -> str:
        found = {self.old: "old", self.new: "new"}.get(_content(folder / "catalogue.sqlite"))
        expect(found is not None, "a half of the changes")
        expect(found == "new" or "synced" not in self.lines, "a sync that had ended is lost")
        return found

    @override
    def finish(self, folder: Path) -> None:
        path = folder / "catalogue.sqlite"
        _sync(self.url, path)
        expect(_content(path) == self.new, "another catalogue than without a kill")
        with Catalogue(path) as catalogue:
            database = catalogue.connection()
            expect(
                database.execute("SELECT count(*) FROM arrivals").fetchone() == (0,),
                "half of a sync is left",
            )
            expect(
                database.execute("PRAGMA integrity_check").fetchone() == ("ok",),
                "the file is damaged",
            )


def _sync(url: str, path: Path) -> None:
    endpoints.MAX_PAGE_SIZE = 4
    with Catalogue(path) as catalogue, HubClient(HubSettings(url, url)) as client:
        sync(client, catalogue, limit=12, scans=3, refresh=timedelta(0))


def _content(path: Path) -> str:
    """Return all that readers find in a catalogue, but the times of fetching."""
    with Catalogue(path) as catalogue:
        rows = [row._replace(seen=0.0) for row in catalogue.search()]
        gone = [name for name in _NAMES if catalogue.deleted_at(name)]
        details = [_without_times(m.to_dict()) for n in _NAMES if (m := catalogue.get(n))]
    return json.dumps([rows, gone, details], default=str)


def _without_times(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {name: _without_times(item) for name, item in value.items() if name != "seen"}
    return [_without_times(item) for item in value] if isinstance(value, list) else value


_NAMES = tuple(f"org/m{i}" for i in (*range(14), 20))


def _fill(hub: LocalHub) -> None:
    hub.load(_record(i) for i in range(12))
    hub.load([_record(12, tags=["base_model:quantized:org/m3", "license:mit"])])


def _fill_and_change(hub: LocalHub) -> None:
    _fill(hub)
    day = "2025-03-01T00:00:00.000Z"
    hub.update("org/m3", tags=["license:llama2"], lastModified=day, sha="3" * 40)
    hub.load([_record(20, downloads=5, lastModified=day)])
    hub.rename("org/m4", "org/m13")
    hub.remove("org/m5")
    hub.update("org/m6", gated="manual", downloads=7_000)
    hub.update("org/m2", tags=["license:mit", "base_model:quantized:org/m20"])


def _record(i: int, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    day = f"2025-01-{i % 28 + 1:02d}T00:00:00.000Z"
    parameters = (i + 1) * 10**9
    return {
        "id": f"org/m{i}",
        "downloads": 1_000 - 10 * i,
        "tags": ["license:mit", "gguf"] if i % 3 else ["license:apache-2.0"],
        "safetensors": {"total": parameters, "parameters": {"BF16": parameters}},
        "createdAt": day,
        "lastModified": day,
        "sha": f"{i:040d}",
        **fields,
    }


def _words(lines: Sequence[str], first: str) -> set[str]:
    """Return the rest of the lines that begin with a word."""
    return {line.partition(" ")[2] for line in lines if line.partition(" ")[0] == first}


OPERATIONS = {one.name: one for one in (Score, Onboard, Sync)}
