"""Operations on the log of traffic for `kills.py`: feedback, learning, budgets, chat models."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import forks
import numpy as np
from forks import Report
from kill_operation import EXPERTS, TOPICS, Operation, expect, make_router
from typing_extensions import override

from tryage import Expert, Library, Router
from tryage.core.policy_change import PolicyChange
from tryage.errors import BudgetExceededError
from tryage.policies import Budget
from tryage.policies.guarantee_calibration import GuaranteeCalibration
from tryage.policies.guarantee_monitor import GuaranteeMonitor, GuaranteeTerms
from tryage.testing import FixedPerception
from tryage.traffic import sync as learning
from tryage.traffic.learner import Learner
from tryage.traffic.records import DecisionRecord, Feedback
from tryage.traffic.sync import TrafficSync
from tryage.traffic.traffic import Traffic
from tryage_langchain import ChatTryage
from tryage_langchain.testing import ScriptedChatModel
from tryage_llamaindex import TryageLLM
from tryage_llamaindex.testing import ScriptedLLM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def _open(folder: Path) -> Traffic:
    return Traffic(f"sqlite:///{folder / 'log.db'}", flush_interval=0.01)


def _check_integrity(folder: Path) -> None:
    path = folder / "log.db"
    if path.exists():
        with sqlite3.connect(path) as file:
            expect(
                file.execute("PRAGMA integrity_check").fetchone() == ("ok",), "the file is damaged"
            )


class LogOperation(Operation):
    """The base of operations on a log: it is made before the first kill."""

    @override
    @contextmanager
    def prepared(self, folder: Path) -> Iterator[None]:
        forks.run(lambda _: _open(folder).close())
        yield


class GiveFeedback(LogOperation):
    """Decisions and feedback to each, twenty times, and a `flush` after every tenth decision."""

    name = "feedback"
    _N = 20

    @override
    def run(self, folder: Path, report: Report) -> None:
        with _open(folder) as log:
            for i in range(self._N):
                log.record_decision(DecisionRecord(f"d{i}", time.time(), "r", "a"))
                if i % 2:
                    log.add_feedback(Feedback(f"f{i}", f"d{i}", time.time(), 1.0))
                    report(f"feedback f{i}")
                if i % 10 == 9 and log.flush():
                    report(f"decisions {i}")

    @override
    def check(self, folder: Path) -> str:
        _check_integrity(folder)
        promised = {line.partition(" ")[2] for line in self.lines if line.startswith("feedback")}
        flushed = max(
            (int(one.split()[1]) for one in self.lines if one.startswith("dec")), default=-1
        )
        with _open(folder) as log:
            entries = log.feedback_after(0)
            ids = [entry.feedback.id for entry in entries]
            decisions = {record.id for record, _, _ in log.decisions()}
        expect(len(set(ids)) == len(ids), "feedback is there twice")
        expect(promised <= set(ids), "feedback that was stored is lost")
        expect(all(entry.decision is not None for entry in entries), "its decision is lost")
        expect({f"d{i}" for i in range(flushed + 1)} <= decisions, "flushed decisions are lost")
        expect(
            [entry.sequence for entry in entries] == list(range(1, len(ids) + 1)),
            "numbers have a gap",
        )
        return "whole"

    @override
    def finish(self, folder: Path) -> None:
        forks.run(partial(self.run, folder))  # sends the same again
        with _open(folder) as log:
            counts = log.counts()
        expect(
            (counts["decisions"], counts["feedback"]) == (self._N, self._N // 2),
            f"something is doubled: {counts}",
        )
        expect(counts["pending_feedback"] == 0, "feedback has no decision")


class Learn(LogOperation):
    """Feedback, what it teaches, and a snapshot after every fifth row."""

    name = "learn"
    _N = 8

    @override
    @contextmanager
    def prepared(self, folder: Path) -> Iterator[None]:
        self._perception = make_router().perception
        self._positions = self._perception.latent_positions(list(TOPICS)).astype(np.float32)
        learning._FIRST_SNAPSHOT = learning.ROWS_PER_SNAPSHOT = 5  # noqa: SLF001 - more snapshots than in use
        with super().prepared(folder):
            yield

    @override
    def run(self, folder: Path, report: Report) -> None:
        with _open(folder) as log:
            sync = self._sync(log)
            for i in range(self._N):
                position = self._positions[i % len(TOPICS)]
                chosen = EXPERTS[i % len(EXPERTS)]
                log.record_decision(
                    DecisionRecord(f"d{i}", float(i), "", chosen, position=position, kind="sum")
                )
                log.add_feedback(Feedback(f"f{i}", f"d{i}", float(i), i % 2, "test"))
                sync.sync()
                report(f"learned {i}")

    @override
    def check(self, folder: Path) -> str:
        _check_integrity(folder)
        with _open(folder) as log:
            resumed, anew = self._sync(log), self._sync(log)
            resumed.sync()
            log.latest_snapshot = lambda *_: None  # as if there were none: all is read
            anew.sync()
            n_rows = log.last_sequence()
        expect(n_rows >= len(self.lines), "what was learned is lost")
        expect(resumed.learner.state.sequence == n_rows, "not all of the log is learned")
        digests = {_digest(one) for one in (resumed, anew)}
        expect(len(digests) == 1, "a snapshot is not what the log teaches")
        return "whole"

    @override
    def finish(self, folder: Path) -> None:
        forks.run(partial(self.run, folder))
        with _open(folder) as log:
            expect(log.last_sequence() == self._N, "a row is doubled")
        self.check(folder)

    def _sync(self, log: Traffic) -> TrafficSync:
        library = Library([Expert(name) for name in EXPERTS])
        return TrafficSync(log, Learner(self._perception, library), self._perception.replace())


def _digest(sync: TrafficSync) -> str:
    return hashlib.sha256(sync.learner.state.to_bytes()).hexdigest()


class Spend(LogOperation):
    """Requests that a hard budget pays, until it is spent."""

    name = "budget"
    _LIMIT, _EXPECTED, _BILL = 0.15, 0.01, 0.015

    @override
    def run(self, folder: Path, report: Report) -> None:
        router = self._router(folder)
        while True:
            try:
                decision = router.route("a prompt")
            except BudgetExceededError:
                break
            report("charged")
            router.settle(decision.id, "only", cost=self._BILL)
            report("billed")
        router.traffic.close()

    @override
    def check(self, folder: Path) -> str:
        _check_integrity(folder)
        spent, n_charged, n_billed = (
            self._status(folder),
            *map(self.lines.count, ("charged", "billed")),
        )
        least = n_billed * self._BILL + (n_charged - n_billed) * self._EXPECTED
        # One request may be charged, or billed, and not yet reported.
        expect(least - 1e-9 <= spent <= least + self._BILL * 2, f"{spent} of {least} USD")
        return "whole"

    @override
    def finish(self, folder: Path) -> None:
        again = forks.run(partial(self.run, folder))
        n_billed = [*self.lines, *again].count("billed")
        expect(
            self._LIMIT - self._BILL <= self._status(folder) <= self._LIMIT + self._BILL,
            "the budget is not kept",
        )
        expect(n_billed * self._BILL <= self._LIMIT + self._BILL, "more is paid than allowed")

    def _router(self, folder: Path) -> Router:
        experts = [Expert("only", input_price=0, output_price=10, output_tokens=1_000)]
        budget = Budget(usd_per_month=self._LIMIT, hard=True)
        return Router(FixedPerception({"only": 0.5}), experts, policy=budget, traffic=_open(folder))

    def _status(self, folder: Path) -> float:
        router = self._router(folder)
        spent = float(router.policy.status().spent)
        router.traffic.close()
        return spent


class Chat(LogOperation):
    """Calls of LangChain's chat model with a log, and a thumb to each answer."""

    name = "langchain"
    _N = 8

    @override
    @contextmanager
    def prepared(self, folder: Path) -> Iterator[None]:
        self._known = make_router()
        with super().prepared(folder):
            yield

    @override
    def run(self, folder: Path, report: Report) -> None:
        router = Router(self._known.perception, self._known.library, traffic=_open(folder))
        answer = self._model(router)
        for i in range(self._N):
            decision_id = answer(f"{TOPICS[i % len(TOPICS)]} paris {i}")
            report(f"answered {decision_id}")
            router.feedback(decision_id, 1.0, feedback_id=f"thumb-{decision_id}")
            report(f"feedback {decision_id}")
        router.traffic.close()

    def _model(self, router: Router) -> Callable[[str], str]:
        models = {name: ScriptedChatModel(model=name) for name in EXPERTS}
        chat = ChatTryage(router=router, models=models)
        return lambda text: chat.invoke(text).response_metadata["tryage"]["id"]

    @override
    def check(self, folder: Path) -> str:
        _check_integrity(folder)
        words = [line.split() for line in self.lines]
        promised = {decision for word, decision in words if word == "feedback"}
        with _open(folder) as log:
            rows = list(log.decisions())
            thumbs = [one for one in log.feedback_after(0) if one.feedback.kind == "thumb"]
        ids = Counter(record.id for record, _, _ in rows)
        expect(set(ids.values()) <= {1}, "a decision is there twice")
        expect(promised <= {one.feedback.decision_id for one in thumbs}, "a thumb is lost")
        expect(promised <= set(ids), "the decision of a thumb is lost")
        expect(len({one.feedback.id for one in thumbs}) == len(thumbs), "a thumb is there twice")
        return "whole"

    @override
    def finish(self, folder: Path) -> None:
        with _open(folder) as log:
            before = log.counts()
        forks.run(partial(self.run, folder))
        with _open(folder) as log:
            after = log.counts()
        expect(after["decisions"] - before["decisions"] == self._N, "decisions are lost or doubled")
        expect(after["feedback"] - before["feedback"] >= self._N, "feedback is lost")


class LlamaIndexChat(Chat):
    """Calls of LlamaIndex's LLM with a log, and a thumb to each answer."""

    name = "llamaindex"

    def _model(self, router: Router) -> Callable[[str], str]:
        llms = {name: ScriptedLLM(model=name) for name in EXPERTS}
        llm = TryageLLM(router=router, llms=llms)
        return lambda text: llm.complete(text).additional_kwargs["tryage"]["id"]


class Watch(LogOperation):
    """A guarantee that bad answers break: what is known of it, and its event in the log."""

    name = "guarantee"
    _N = 60
    _TERMS = GuaranteeTerms("Guarantee", "large", 0.9, 0.95, judged_share=1.0, kind="judge")
    _CALIBRATION = GuaranteeCalibration(0.1, 500, 0.5, 0.4, 0.98, "large", time=1_000.0)

    @override
    @contextmanager
    def prepared(self, folder: Path) -> Iterator[None]:
        forks.run(lambda _: self._write(folder))
        yield

    def _write(self, folder: Path) -> None:
        with _open(folder) as log:
            for i in range(self._N):
                chosen = "small" if i % 2 else "large"
                log.record_decision(
                    DecisionRecord(
                        f"{i:016x}",
                        1_001.0,
                        "router",
                        chosen,
                        propensity=0.5,
                        candidates=("small", "large"),
                        losses=(0.3, 0.1),
                        propensities=(0.5, 0.5),
                        changes=(PolicyChange("Guarantee", "why", "small", chosen),),
                    )
                )
                log.add_feedback(Feedback(f"f{i}", f"{i:016x}", 1_001.0, 1.0 - i % 2, "judge"))

    @override
    def run(self, folder: Path, report: Report) -> None:
        with _open(folder) as log:
            if GuaranteeMonitor(log, self._TERMS, self._CALIBRATION).sync().stopped is not None:
                report("stopped")

    @override
    def check(self, folder: Path) -> str:
        with _open(folder) as log:
            n_events = len(log.events_after(0))
            state = GuaranteeMonitor(log, self._TERMS, self._CALIBRATION).sync()
        expect(n_events == 1 or not self.lines, "an event that was written is lost")
        expect(n_events <= 1, "the event is there twice")
        expect(state.stopped is not None, "a broken guarantee goes on")
        return "event" if n_events else "no event"

    @override
    def finish(self, folder: Path) -> None:
        forks.run(partial(self.run, folder))
        with _open(folder) as log:
            expect(len(log.events_after(0)) == 1, "the event is missing or there twice")


class Prune(LogOperation):
    """Deletes the older half of a log."""

    name = "prune"
    _N = 6_000

    @override
    @contextmanager
    def prepared(self, folder: Path) -> Iterator[None]:
        forks.run(lambda _: self._write(folder))
        yield

    def _write(self, folder: Path) -> None:
        now = time.time()
        with Traffic(f"sqlite:///{folder / 'log.db'}") as log:
            for i in range(self._N):
                when = now - 86_400.0 * (100 if i % 2 else 1)
                log.record_decision(DecisionRecord(f"d{i}", when, "r", "a", tags=("t" * 50,)))
            log.flush(60)
            for i in range(0, self._N, 100):
                log.add_feedback(Feedback(f"f{i}", f"d{i}", now, 1.0))
                log.add_feedback(Feedback(f"g{i}", f"d{i + 1}", now, 1.0))

    @override
    def run(self, folder: Path, report: Report) -> None:
        with _open(folder) as log:
            log.prune(30)
            report("pruned")

    @override
    def check(self, folder: Path) -> str:
        _check_integrity(folder)
        with _open(folder) as log:
            counts = log.counts()
            entries = log.feedback_after(0)
        n_old = counts["decisions"] - self._N // 2
        expect(0 <= n_old <= self._N // 2, "decisions are lost or doubled")
        expect(not n_old or "pruned" not in self.lines, "what was deleted is back")
        expect(all(entry.decision is not None for entry in entries), "feedback without a decision")
        return "old" if n_old == self._N // 2 else "new" if not n_old else "a part"

    @override
    def finish(self, folder: Path) -> None:
        forks.run(partial(self.run, folder))
        with _open(folder) as log:
            counts = log.counts()
        expect(
            (counts["decisions"], counts["feedback"]) == (self._N // 2, self._N // 100 * 2 // 2),
            f"{counts}",
        )


OPERATIONS = {
    one.name: one for one in (GiveFeedback, Learn, Spend, Chat, LlamaIndexChat, Watch, Prune)
}
