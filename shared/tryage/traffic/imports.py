"""Feedback that people have given in LangSmith or Langfuse, written into the log of traffic.

The runs of models hold the id of their decision in their metadata. Clients are passed in, so
neither package is needed here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tryage.traffic.records import Feedback

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from tryage.traffic.traffic import Traffic

DECISION_ID_KEY = "tryage_id"
"""Where the metadata of a run holds the id of its decision."""

_PAGE = 100  # runs or scores in a request


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import has done: `new` feedback, what the log had already, and what was left out.

    `skipped` counts feedback without a score from 0 to 1, or about nothing that the log knows.
    """

    new: int = 0
    known: int = 0
    skipped: int = 0


def import_langsmith_feedback(
    traffic: Traffic,
    client: Any,  # noqa: ANN401 - a langsmith.Client, an optional package
    *,
    project: str,
    since: datetime | None = None,
) -> ImportReport:
    """Write the feedback about the runs of a LangSmith project into the log.

    Feedback about the run of a model counts, and so does feedback about the run around it or about
    the whole trace if there was one decision in it. Its key becomes the kind. A second import
    changes nothing.

    Args:
        traffic: The log.
        client: A `langsmith.Client`.
        project: The name of the project.
        since: Only runs that started from then on.

    Raises:
        TrafficError: the store fails.
        Exception: what the client raises if LangSmith refuses or does not answer.
    """
    runs = client.list_runs(project_name=project, start_time=since)
    decisions = _decisions_of_runs(runs)
    outcomes: Counter[str] = Counter()
    names = list(decisions)
    for start in range(0, len(names), _PAGE):
        for given in client.list_feedback(run_ids=names[start : start + _PAGE]):
            feedback = _feedback(
                f"langsmith:{given.id}",
                decisions.get(str(given.run_id)),
                given.created_at,
                given.score,
                given.key,
                given.comment,
            )
            outcomes[_add(traffic, feedback)] += 1
    return ImportReport(outcomes["new"], outcomes["known"], outcomes["skipped"])


def import_langfuse_scores(
    traffic: Traffic,
    client: Any,  # noqa: ANN401 - a langfuse.Langfuse, an optional package
    *,
    since: datetime | None = None,
) -> ImportReport:
    """Write the scores of Langfuse into the log.

    A score of an observation counts, and so does a score of a trace if there was one decision in
    it. Its name becomes the kind. A second import changes nothing.

    Args:
        traffic: The log.
        client: A `langfuse.Langfuse`.
        since: Only scores and observations from then on.

    Raises:
        TrafficError: the store fails.
        Exception: what the client raises if Langfuse refuses or does not answer.
    """
    decisions = _decisions_of_observations(client, since)
    outcomes: Counter[str] = Counter()
    for given in _pages(client.api.scores.get_many, fields="details,subject", from_timestamp=since):
        subject = given.subject
        feedback = _feedback(
            f"langfuse:{given.id}",
            None if subject is None else decisions.get(subject.id),
            given.timestamp,
            given.value,
            given.name,
            given.comment,
        )
        outcomes[_add(traffic, feedback)] += 1
    return ImportReport(outcomes["new"], outcomes["known"], outcomes["skipped"])


def _decisions_of_runs(runs: Any) -> dict[str, str]:  # noqa: ANN401 - an iterator of LangSmith's runs
    """Return the id of the decision by the id of a run, of its parent and of its trace."""
    found: dict[str, str] = {}
    around: dict[str, set[str]] = {}
    for run in runs:
        decision_id = _decision_id(
            run.extra.get("metadata") if isinstance(run.extra, dict) else None
        )
        if decision_id is None:
            continue
        found[str(run.id)] = decision_id
        for outer in (run.parent_run_id, run.trace_id):
            if outer is not None:
                around.setdefault(str(outer), set()).add(decision_id)
    return _with_outer(found, around)


def _decisions_of_observations(
    client: Any,  # noqa: ANN401 - a langfuse.Langfuse
    since: datetime | None,
) -> dict[str, str]:
    """Return the id of the decision by the id of an observation and of its trace."""
    found: dict[str, str] = {}
    around: dict[str, set[str]] = {}
    for one in _pages(
        client.api.observations.get_many, fields="core,metadata", from_start_time=since
    ):
        decision_id = _decision_id(one.metadata)
        if decision_id is not None:
            found[one.id] = decision_id
            around.setdefault(one.trace_id, set()).add(decision_id)
    return _with_outer(found, around)


def _decision_id(metadata: object) -> str | None:
    """Return the id of the decision in the metadata of a run, which may hold anything."""
    found = metadata.get(DECISION_ID_KEY) if isinstance(metadata, dict) else None
    return found if isinstance(found, str) else None


def _with_outer(found: dict[str, str], around: dict[str, set[str]]) -> dict[str, str]:
    """Add what is around the runs, where it holds one decision alone."""
    outer = {name: next(iter(ids)) for name, ids in around.items() if len(ids) == 1}
    return {**outer, **found}


def _pages(request: Any, **arguments: Any) -> Iterator[Any]:  # noqa: ANN401 - a method of Langfuse's client
    """Yield the entries of all pages."""
    cursor: str | None = None
    while True:
        page = request(limit=_PAGE, cursor=cursor, **arguments)
        yield from page.data
        cursor = page.meta.cursor
        if cursor is None:
            return


def _feedback(  # noqa: PLR0913 - the fields of feedback
    feedback_id: str,
    decision_id: str | None,
    time: datetime,
    score: object,
    kind: str,
    comment: str | None,
) -> Feedback | None:
    """Return feedback, None if it has no usable score, or is about nothing that we know."""
    if decision_id is None or not isinstance(score, bool | int | float):
        return None
    if not 0 <= score <= 1:  # nor is NaN
        return None
    return Feedback(feedback_id, decision_id, time.timestamp(), float(score), kind, comment)


def _add(traffic: Traffic, feedback: Feedback | None) -> str:
    if feedback is None:
        return "skipped"
    return "new" if traffic.add_feedback(feedback) else "known"
