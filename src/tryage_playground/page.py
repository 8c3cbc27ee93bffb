"""From a state to all that the page shows: decisions, rows, picture, snippets and problems."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.explanation import format_dollars
from tryage.errors import InputError, TryageError
from tryage_playground.picture import draw
from tryage_playground.pool import PoolKey
from tryage_playground.snippets import SnippetParts, python_snippet, toml_snippet
from tryage_playground.state import WEIGHTS, is_too_long_for_a_link, to_query
from tryage_playground.trade_off import trade_off
from tryage_playground.view import (
    FEW_ROWS,
    compare_in_words,
    explain_plainly,
    legend,
    make_rows,
    prompt_facts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.core.decision import Decision
    from tryage.core.expert import Expert
    from tryage.core.preferences import Requirement
    from tryage.router import Router
    from tryage.scoring.qtable import QTable
    from tryage_playground.files import FileStore, LoadedLibrary, LoadedTable, LoadedTraffic
    from tryage_playground.picture import Picture
    from tryage_playground.pool import RouterPool
    from tryage_playground.state import PageState, Side
    from tryage_playground.trade_off import Step
    from tryage_playground.view import PromptFacts, Row

_TOO_LONG = "The prompt is too long for a link, so the link is without it."

_MAX_UNKNOWN = 6  # models of which the page says that nothing is known

_FILE_WORDS = {"table": "Q-table", "library": "library", "traffic": "log of traffic"}


@dataclass(frozen=True, slots=True)
class SideResult:
    """What one way to decide leads to; with an `error` there is no decision."""

    title: str
    error: str | None = None
    decision: Decision | None = None
    sentences: tuple[str, ...] = ()
    explanation: str = ""
    rows: tuple[Row, ...] = ()
    hidden_rows: int = 0
    legend: tuple[tuple[str, str], ...] = ()
    python: str = ""
    toml: str = ""


@dataclass(frozen=True, slots=True)
class LearnedRow:
    """What the log taught about a model: qualities before and now, and the count of feedback."""

    name: str
    count: int
    measured: float
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class MeasuredRow:
    """Mean quality of a model on the prompts of a table: measured, and predicted for the same."""

    name: str
    count: int
    measured: float
    predicted: float | None


@dataclass(frozen=True, slots=True)
class Results:
    """All that changes when a field of the page changes."""

    state: PageState
    query: str
    problems: tuple[str, ...]
    sides: tuple[SideResult, ...] = ()
    comparison: str = ""
    facts: PromptFacts | None = None
    kind: str = ""
    picture: Picture | None = None
    steps: tuple[tuple[str, str], ...] = ()
    unpriced: tuple[str, ...] = ()
    unknown_facts: tuple[str, ...] = ()
    measured: tuple[MeasuredRow, ...] = ()
    n_measured: int = 0
    learned: tuple[LearnedRow, ...] = ()
    has_learned_log: bool = False
    announcement: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Setup:
    """What the sides of a page share: the state, loaded files, and the router over the models."""

    state: PageState
    pool: RouterPool
    key: PoolKey
    router: Router
    requirements: tuple[Requirement, ...]
    table: LoadedTable | None
    library: LoadedLibrary | None
    log: LoadedTraffic | None

    @property
    def told(self) -> Mapping[str, Expert]:
        """What a loaded library says about models, by name."""
        return {} if self.library is None else self.library.experts


def make_results(
    state: PageState, pool: RouterPool, files: FileStore, problems: Sequence[str] = ()
) -> Results:
    """Return what the page shows for a state; whatever fails is told in words."""
    found = _loaded_files(state, files)
    missing = [_missing_text(kind) for kind, loaded in found.items() if loaded is None]
    results = Results(
        state=state,
        query=to_query(state),
        problems=(*problems, *missing),
        files={kind: loaded.name for kind, loaded in found.items() if loaded is not None},
    )
    if state.shares_prompt and is_too_long_for_a_link(state.prompt):
        results = replace(results, problems=(*results.problems, _TOO_LONG))
    if not state.prompt.strip():
        return replace(results, problems=(*results.problems, "Write a prompt first."))
    library = found.get("library")
    told = () if library is None else library.names
    names, unknown = _known_models(state, pool, told)
    results = replace(results, problems=(*results.problems, *unknown))
    try:
        setup = _set_up(replace(state, models=names), pool, found)
    except TryageError as error:
        return replace(results, problems=(*results.problems, str(error)))
    measured = _by_expert(setup.router, setup.table)
    sides = tuple(
        _decide(title, side, setup, measured)
        for title, side in zip("AB", state.sides, strict=False)
    )
    return _with_decisions(results, setup, sides)


def _loaded_files(state: PageState, files: FileStore) -> dict[str, Any]:
    """Return the files that a state names by kind, None where one is not loaded."""
    ids = {"table": state.table, "library": state.library, "traffic": state.traffic}
    return {kind: files.find(kind, ids[kind]) for kind in ids if ids[kind]}  # type: ignore[arg-type]  # one of the three kinds


def _known_models(
    state: PageState, pool: RouterPool, told: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the models of which something is known, and what is said of the others."""
    if state.uses_all_models:
        return state.models, ()
    texts = {name: None if name in told else pool.name_problem(name) for name in state.models}
    known = tuple(name for name, text in texts.items() if text is None)
    unknown = [text for text in texts.values() if text is not None]
    more = len(unknown) - _MAX_UNKNOWN
    return known, (*unknown[:_MAX_UNKNOWN], *([f"{more:,} more are unknown."] if more > 0 else []))


def _missing_text(kind: str) -> str:
    return (
        f"This link uses a {_FILE_WORDS[kind]} that is not loaded here: load the same file again."
    )


def _set_up(state: PageState, pool: RouterPool, found: Mapping[str, Any]) -> _Setup:
    """Return what the sides share.

    Raises:
        InputError: no model is chosen, or a requirement is malformed.
        PerceptionError: the router cannot predict one of the models.
    """
    table, library, log = (found.get(kind) for kind in ("table", "library", "traffic"))
    key = PoolKey(
        () if state.uses_all_models else state.models,
        state.uses_all_models,
        "" if library is None else library.id,
        "" if log is None else log.id,
    )
    told = {} if library is None else library.experts
    router = pool.router(key, told, None if log is None else log.traffic)
    requirements = state.parsed_requirements()
    return _Setup(state, pool, key, router, requirements, table, library, log)


def _decide(
    title: str, side: Side, setup: _Setup, measured: Mapping[str, tuple[float, int]]
) -> SideResult:
    """Return what one side decides; an error is told in words."""
    state = setup.state
    try:
        preferences = side.preferences(setup.requirements)
        policy = side.policy.make()
        router = setup.router if policy is None else setup.router.with_policy(policy)
        decision = router.decide_batch([state.prompt], preferences)[0]
    except TryageError as error:
        return SideResult(title, error=str(error))
    limit = None if state.shows_all_rows else FEW_ROWS
    rows = make_rows(decision, limit=limit, measured=measured)
    parts = SnippetParts(
        models=setup.key.names,
        preferences=preferences,
        policy=side.policy,
        experts=setup.told,
        reads_flags=bool(decision.flags or decision.dropped_flags),
        router=setup.pool.place,
        traffic=None if setup.log is None else f"sqlite:///{setup.log.name}",
    )
    return SideResult(
        title,
        decision=decision,
        sentences=explain_plainly(decision, side.policy.class_name),
        explanation=decision.explain(),
        rows=rows,
        hidden_rows=len(decision.ranking) - len(rows),
        legend=legend(rows),
        python=python_snippet(parts, state.prompt),
        toml=toml_snippet(parts),
    )


def _with_decisions(results: Results, setup: _Setup, sides: tuple[SideResult, ...]) -> Results:
    """Add everything that is read from the decisions."""
    results = replace(results, sides=sides, announcement=_announcement(sides))
    decisions = [one.decision for one in sides if one.decision is not None]
    if not decisions:
        return results
    first = decisions[0]
    found = trade_off(first.ranking[:])
    winners = [(one.title, one.decision.expert.name) for one in sides if one.decision is not None]
    losses = setup.pool.base.perception.predict([first.prompt]).losses[0]
    return replace(
        results,
        comparison=compare_in_words(*decisions) if len(decisions) == 2 else "",
        facts=prompt_facts(first, losses),
        kind=first.kind or "unknown",
        picture=draw(found, winners),
        steps=tuple(map(_step_row, found.steps)),
        unpriced=found.unpriced,
        unknown_facts=_unknown_facts(setup.router),
        measured=_measured_rows(setup),
        n_measured=0 if setup.table is None else len(setup.table.table),
        learned=_learned_rows(setup.router),
        has_learned_log=setup.log is not None,
    )


def _announcement(sides: Sequence[SideResult]) -> str:
    """Return who answers, for the bar that is always in view; a screen reader reads it."""
    two = len(sides) > 1
    return "; ".join(f"{side.title}: {_winner(side)}" if two else _winner(side) for side in sides)


def _winner(side: SideResult) -> str:
    if side.decision is None:
        return "no model can be chosen"
    chosen = next((row for row in side.rows if row.is_winner), None)
    name = side.decision.expert.name
    return name if chosen is None else f"{name}, {chosen.quality:.1%}, {chosen.cost}"


def _step_row(step: Step) -> tuple[str, str]:
    """Return from which worth to which a model answers, and its name."""
    start, end = format_dollars(step.start), format_dollars(step.end)
    if not step.start:
        return ("whatever it is" if np.isinf(step.end) else f"less than {end}"), step.name
    return (f"{start} or more" if np.isinf(step.end) else f"{start} to {end}"), step.name


def _unknown_facts(router: Router) -> tuple[str, ...]:
    """Return the weights that change nothing, because their fact is known of no model."""
    columns = {"size": "parameters", "recency": "released", "verbosity": "output_tokens"}
    return tuple(
        name
        for name in WEIGHTS
        if not np.isfinite(router.library.column(columns.get(name, name))).any()
    )


# Measured and learned --------------------------------------------------------------------------

_MAX_JUDGED = 1_000  # prompts of a table whose predictions are compared with what was measured


def _by_expert(router: Router, table: LoadedTable | None) -> dict[str, tuple[float, int]]:
    """Return the measured qualities by the names of the router's experts."""
    if table is None:
        return {}
    found = table.quality().items()
    return {
        router.library.names[router.library.index(name)]: value
        for name, value in found
        if name in router.library
    }


def _measured_rows(setup: _Setup) -> tuple[MeasuredRow, ...]:
    """Return what was measured beside what is predicted for the same prompts, best first."""
    table = setup.table
    if table is None:
        return ()
    key = (setup.key, table.id)
    rows: tuple[MeasuredRow, ...] = setup.pool.remember(
        key, lambda: _compare_with_table(setup.router, table.table)
    )
    return rows


def _compare_with_table(router: Router, table: QTable) -> tuple[MeasuredRow, ...]:
    step = max(1, -(-len(table) // _MAX_JUDGED))  # rounded up
    part = table.take(np.arange(0, len(table), step))
    decisions = router.decide_batch(part.prompts)
    rows = []
    for j, name in enumerate(part.experts):
        losses = np.asarray(part.losses[:, j], dtype=np.float64)
        known = np.flatnonzero(np.isfinite(losses)).tolist()
        if known:
            measured = 1.0 - float(losses[known].mean())
            predicted = _mean_prediction(name, [decisions[i] for i in known], router)
            rows.append(MeasuredRow(name, len(known), measured, predicted))
    return tuple(sorted(rows, key=lambda row: -row.measured))


def _mean_prediction(name: str, decisions: Sequence[Decision], router: Router) -> float | None:
    """Return the mean predicted quality of a model, None if it is not among those compared."""
    if name not in router.library:
        return None
    found = [decision.ranking.find(name) for decision in decisions]  # type: ignore[attr-defined]  # a Ranking
    return 1.0 - float(np.mean([one.predicted_loss for one in found if one is not None]))


def _learned_rows(router: Router) -> tuple[LearnedRow, ...]:
    """Return what the router has learned from the log since its beginning."""
    if router.log is None:
        return ()
    return tuple(
        LearnedRow(one.expert, one.count, 1 - one.measured, 1 - one.before, 1 - one.after)
        for one in router.learned_since(0.0).changes
    )


def known_names(names: Sequence[str], pool: RouterPool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of which something is known, and the others.

    Raises:
        InputError: nothing is known of any.
    """
    known = tuple(name for name in names if pool.is_known(name))
    if names and not known:
        raise InputError(f"Nothing is known of its models, such as {names[0]!r:.80}.")
    return known, tuple(name for name in names if name not in known)
