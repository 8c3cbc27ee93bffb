"""Feedback from LangSmith and Langfuse: their real clients ask a server on loopback."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace
from uuid import UUID

import hypothesis
import pytest
from hypothesis import strategies as st

from tryage.testing.hub.http import LoopbackServer, json_response
from tryage.traffic.imports import (
    ImportReport,
    import_langfuse_scores,
    import_langsmith_feedback,
)

TIME = "2026-11-20T10:00:00.000000+00:00"
CHILD, OUTER, TRACE, OTHER = (str(UUID(int=i)) for i in range(1, 5))

pytestmark = pytest.mark.enable_socket


@pytest.fixture
def decided(log, decision):
    """A log of two decisions, called d1 and d2."""
    for name in ("d1", "d2"):
        log.record_decision(decision(name))
    assert log.flush(10)
    return log


def given(log):
    return {
        record.id: [(one.score, one.kind, one.comment) for one in feedback]
        for record, _, feedback in log.decisions()
    }


# LangSmith


def run_of(run_id, decision_id=None, parent=None):
    metadata = {} if decision_id is None else {"tryage_id": decision_id}
    return {
        "id": run_id, "trace_id": TRACE, "parent_run_id": parent, "name": "run",
        "run_type": "llm", "start_time": TIME, "inputs": {}, "dotted_order": "x",
        "session_id": OTHER, "extra": {"metadata": metadata},
    }  # fmt: skip


def langsmith_feedback(number, run_id, score, key="thumb"):
    return {
        "id": str(UUID(int=100 + number)), "run_id": run_id, "key": key, "score": score,
        "comment": "fine", "created_at": TIME, "modified_at": TIME, "trace_id": TRACE,
    }  # fmt: skip


class LangSmith:
    """Answers what the client of LangSmith asks."""

    def __init__(self, runs, feedback):
        self.runs, self.feedback, self.asked = runs, feedback, []

    def __call__(self, request):
        self.asked.append(request)
        if request.path.endswith("/feedback"):
            wanted = request.query.get("run", [])
            return json_response([one for one in self.feedback if one["run_id"] in wanted])
        if request.path.endswith("/runs/query"):
            return json_response({"runs": self.runs, "cursors": {}})
        if request.path.endswith("/sessions"):
            project = {"id": OTHER, "name": "app", "tenant_id": OTHER, "start_time": TIME}
            project["reference_dataset_id"] = None
            return json_response([project])
        return json_response({"version": "0.15.0"})


@pytest.fixture
def ask_langsmith(decided):
    langsmith = pytest.importorskip("langsmith")

    def ask(runs, feedback):
        with LoopbackServer(LangSmith(runs, feedback)) as server:
            client = langsmith.Client(api_url=server.url, api_key="none", auto_batch_tracing=False)
            return import_langsmith_feedback(decided, client, project="app")

    return ask


def test_feedback_of_langsmith_about_a_run_or_around_it_is_about_its_decision(
    ask_langsmith, decided
):
    runs = [run_of(OUTER), run_of(CHILD, "d1", parent=OUTER)]
    feedback = [
        langsmith_feedback(1, CHILD, 0.5, "judge"),
        langsmith_feedback(2, OUTER, True),
        langsmith_feedback(3, TRACE, 0),
    ]
    assert ask_langsmith(runs, feedback) == ImportReport(new=3)
    assert sorted(given(decided)["d1"]) == [
        (0.0, "thumb", "fine"), (0.5, "judge", "fine"), (1.0, "thumb", "fine"),
    ]  # fmt: skip


def test_a_second_import_from_langsmith_changes_nothing(ask_langsmith, decided):
    arguments = [run_of(CHILD, "d1")], [langsmith_feedback(1, CHILD, 1)]
    assert ask_langsmith(*arguments) == ImportReport(new=1)
    assert ask_langsmith(*arguments) == ImportReport(known=1)
    assert len(given(decided)["d1"]) == 1


def test_feedback_about_a_trace_of_two_decisions_is_about_neither(ask_langsmith, decided):
    runs = [run_of(CHILD, "d1"), run_of(OTHER, "d2")]
    assert ask_langsmith(runs, [langsmith_feedback(1, TRACE, 1)]) == ImportReport()
    assert given(decided) == {"d1": [], "d2": []}


@pytest.mark.parametrize("score", [None, 5, -1])
def test_feedback_without_a_score_from_0_to_1_is_skipped(ask_langsmith, score):
    found = ask_langsmith([run_of(CHILD, "d1")], [langsmith_feedback(1, CHILD, score)])
    assert found == ImportReport(skipped=1)


# Langfuse


def observation(name, trace, decision_id):
    return {
        "id": name, "traceId": trace, "startTime": TIME, "endTime": TIME, "type": "GENERATION",
        "projectId": "p", "metadata": {"tryage_id": decision_id},
    }  # fmt: skip


def langfuse_score(name, kind, subject, value):
    return {
        "id": name, "projectId": "p", "name": "helpful", "value": value, "dataType": "NUMERIC",
        "source": "ANNOTATION", "timestamp": TIME, "createdAt": TIME, "updatedAt": TIME,
        "environment": "default", "comment": "ok", "metadata": {},
        "subject": {"kind": kind, "id": subject, "traceId": "t1"},
    }  # fmt: skip


class Langfuse:
    """Answers what the client of Langfuse asks, in pages of one entry."""

    def __init__(self, observations, scores):
        self.entries = {"observations": observations, "scores": scores}

    def __call__(self, request):
        entries = self.entries[request.path.rsplit("/", 1)[-1]]
        page = int(request.query.get("cursor", ["0"])[0])
        cursor = str(page + 1) if page + 1 < len(entries) else None
        meta = {"limit": 1, "cursor": cursor}
        return json_response({"data": entries[page : page + 1], "meta": meta})


def test_scores_of_langfuse_about_observations_and_traces_are_about_their_decisions(decided):
    langfuse = pytest.importorskip("langfuse")
    observations = [observation("o1", "t1", "d1"), observation("o2", "t2", "d2")]
    scores = [
        langfuse_score("s1", "observation", "o1", 0.25),
        langfuse_score("s2", "trace", "t2", 1.0),
        langfuse_score("s3", "trace", "elsewhere", 1.0),
        langfuse_score("s4", "trace", "t2", 17.0),
    ]
    with LoopbackServer(Langfuse(observations, scores)) as server:
        client = langfuse.Langfuse(
            public_key="pk",
            secret_key="none",  # noqa: S106 - it opens nothing
            host=server.url,
            tracing_enabled=False,
        )
        assert import_langfuse_scores(decided, client) == ImportReport(new=2, skipped=2)
        assert import_langfuse_scores(decided, client) == ImportReport(known=2, skipped=2)
    assert given(decided) == {"d1": [(0.25, "helpful", "ok")], "d2": [(1.0, "helpful", "ok")]}


# Whatever a client returns

ODD = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(
        st.sampled_from(["metadata", "tryage_id"]), st.text(max_size=3) | st.none(), max_size=2
    )
)


class OddClient:
    """A client of LangSmith that returns objects with odd values in their fields."""

    def __init__(self, extra, score, comment):
        self._extra, self._score, self._comment = extra, score, comment

    def list_runs(self, **_):
        known = SimpleNamespace(
            id=CHILD, parent_run_id=None, trace_id=None, extra={"metadata": {"tryage_id": "d1"}}
        )
        odd = SimpleNamespace(id=OTHER, parent_run_id=None, trace_id=None, extra=self._extra)
        return [known, odd]

    def list_feedback(self, **_):
        when = datetime.fromisoformat(TIME)
        fields = {"id": 1, "run_id": CHILD, "created_at": when, "key": "thumb"}
        return [SimpleNamespace(**fields, score=self._score, comment=self._comment)]


@hypothesis.settings(
    max_examples=40, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(ODD, ODD, st.none() | st.text(max_size=5))
def test_odd_fields_of_runs_and_feedback_are_skipped(decided, extra, score, comment):
    report = import_langsmith_feedback(decided, OddClient(extra, score, comment), project="app")
    is_score = isinstance(score, bool | int | float) and 0 <= score <= 1
    assert (report.new + report.known, report.skipped) == (int(is_score), int(not is_score))
