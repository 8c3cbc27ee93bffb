"""Operations on files for `kills.py`: save, train, push, export, and new facts about models."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import forks
import numpy as np
from forks import Report
from hub_process import HubProcess
from kill_operation import (
    Operation,
    describe,
    expect,
    hidden_files,
    make_old,
    make_router,
    make_table,
)
from typing_extensions import override

from tryage import Preferences, Router
from tryage.cli import app
from tryage.traffic.records import DecisionRecord
from tryage.traffic.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD, NEW = Preferences({"size": 1.0}), Preferences({"size": 2.0})


class Save(Operation):
    """Saves a router over another one, which differs in experts, preferences and abilities."""

    name = "save"

    @override
    @contextmanager
    def prepared(self, folder: Path) -> Iterator[None]:
        bundled = Router.from_pretrained()
        self.old = bundled.subset(bundled.library.names[:40]).with_preferences(OLD)
        self.new = Router(bundled.perception, bundled.library, preferences=NEW)
        self.new.observe(self.new.route("Prove it.", Preferences(only=["gpt-4o-mini"])), 1.0)
        self.old.save_pretrained(folder / "router")
        self.labels = {}
        for label, router in (("old", self.old), ("new", self.new)):
            router.save_pretrained(folder / label)
            (text,) = forks.run(lambda report, path=folder / label: report(_load(path)))
            self.labels[text] = label
            shutil.rmtree(folder / label)
        yield

    @override
    def run(self, folder: Path, report: Report) -> None:
        self.new.save_pretrained(folder / "router")
        report("saved")

    @override
    def check(self, folder: Path) -> str:
        found = self.labels.get(_load(folder / "router"))
        expect(found is not None, "a mixture of both")
        expect(found == "new" or "saved" not in self.lines, "a save that had ended is lost")
        return found

    @override
    def finish(self, folder: Path) -> None:
        self.new.save_pretrained(folder / "router")
        expect(self.labels[_load(folder / "router")] == "new", "the next save is not whole")
        expect(not hidden_files(folder), hidden_files(folder))


class Train(Operation):
    """`tryage train` onto a router, with a checkpoint."""

    name = "train"

    @override
    @contextmanager
    def prepared(self, folder: Path) -> Iterator[None]:
        make_table(n_places=4).write(folder / "table.parquet")
        make_router(seed=1, preferences=OLD).save_pretrained(folder / "router")
        (self.old,) = forks.run(lambda report: report(_load(folder / "router")))
        forks.run(partial(self.run, folder))
        (self.new,) = forks.run(lambda report: report(_load(folder / "router")))
        shutil.rmtree(folder / "router")
        shutil.rmtree(folder / "stages")
        make_router(seed=1, preferences=OLD).save_pretrained(folder / "router")
        yield

    @override
    def run(self, folder: Path, report: Report) -> None:
        table, router, stages = (
            str(folder / name) for name in ("table.parquet", "router", "stages")
        )
        app(
            ["train", table, "-o", router, "--checkpoint", stages, "--from-scratch"],
            standalone_mode=False,
        )
        report("trained")

    @override
    def check(self, folder: Path) -> str:
        found = {self.old: "old", self.new: "new"}.get(_load(folder / "router"))
        expect(found is not None, "a mixture of both")
        expect(found == "new" or "trained" not in self.lines, "a training that had ended is lost")
        return found

    @override
    def finish(self, folder: Path) -> None:
        make_old((folder / "stages").glob(".*.partial"))
        forks.run(partial(self.run, folder))
        expect(_load(folder / "router") == self.new, "another router than without a kill")
        expect(not hidden_files(folder), hidden_files(folder))


class Push(Operation):
    """Pushes a router over another one on a Hub."""

    name = "push"

    @override
    @contextmanager
    def prepared(self, folder: Path) -> Iterator[None]:
        self.old, self.new = make_router(1, OLD), make_router(0, NEW)
        with HubProcess() as hub, tempfile.TemporaryDirectory() as temporary:
            self.hub, self.temporary = hub, Path(temporary)
            self.n_runs = 0
            yield

    @override
    def reset(self) -> None:
        self.n_runs += 1  # a repository of its own for each run, because the Hub goes on
        shutil.rmtree(self.temporary)
        self.temporary.mkdir()
        forks.run(lambda _: self._push(self.old))

    @override
    def run(self, folder: Path, report: Report) -> None:
        self._push(self.new)
        report("pushed")

    @override
    def check(self, folder: Path) -> str:
        found = {describe(self.old): "old", describe(self.new): "new"}.get(self._pull(folder / "a"))
        expect(found is not None, "a mixture of both")
        expect(found == "new" or "pushed" not in self.lines, "a push that had ended is lost")
        expect(len(list(self.temporary.iterdir())) <= 1, "more folders than one are left")
        return found

    @override
    def finish(self, folder: Path) -> None:
        make_old(self.temporary.iterdir())
        self._push(self.new)
        expect(self._pull(folder / "b") == describe(self.new), "the next push is not whole")
        expect(not list(self.temporary.iterdir()), "temporary folders are left")

    def _push(self, router: Router) -> None:
        with self.hub.patched(self.temporary.parent / "unused"):
            tempfile.tempdir = str(self.temporary)
            router.push_to_hub(f"tester/router-{self.n_runs}")

    def _pull(self, cache: Path) -> str:
        with self.hub.patched(cache):
            return describe(Router.from_pretrained(f"tester/router-{self.n_runs}"))


class Export(Operation):
    """Exports a log over an older export."""

    name = "export"

    @override
    @contextmanager
    def prepared(self, folder: Path) -> Iterator[None]:
        (folder / "log.jsonl").write_text("old\n")
        forks.run(lambda _: _fill(folder / "log.db"))
        yield

    @override
    def run(self, folder: Path, report: Report) -> None:
        with Traffic(f"sqlite:///{folder / 'log.db'}") as log:
            log.export(folder / "log.jsonl")
        report("exported")

    @override
    def check(self, folder: Path) -> str:
        text = (folder / "log.jsonl").read_text()
        expect(text == "old\n" or text.count("\n") == _N_DECISIONS, "half of an export")
        expect(text != "old\n" or "exported" not in self.lines, "an export that had ended is lost")
        return "old" if text == "old\n" else "new"

    @override
    def finish(self, folder: Path) -> None:
        make_old(folder.glob(".*.partial"))
        forks.run(partial(self.run, folder))
        expect(
            (folder / "log.jsonl").read_text().count("\n") == _N_DECISIONS,
            "the next export is not whole",
        )
        expect(not hidden_files(folder), hidden_files(folder))


_N_DECISIONS = 1_000


def _fill(path: Path) -> None:
    """Make a log of decisions."""
    rng = np.random.default_rng(0)
    with Traffic(f"sqlite:///{path}") as log:
        for i in range(_N_DECISIONS):
            position = rng.normal(size=8).astype(np.float32)
            log.record_decision(DecisionRecord(f"{i:05}", float(i), "r", "a", position=position))


def _load(folder: Path) -> str:
    return describe(Router.from_pretrained(folder))


OPERATIONS = {one.name: one for one in (Save, Train, Push, Export)}
