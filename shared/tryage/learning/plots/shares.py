"""Shares: which models answered over time and what that cost, from a log of traffic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.errors import InputError
from tryage.learning.charts.chart import Axis, Bars, Chart, Panel, Rule
from tryage.learning.charts.style import (
    MAX_SERIES,
    OTHERS_STYLE,
    TEXT_COLOR,
    Style,
    fill_style,
    short_name,
)
from tryage.learning.charts.ticks import format_dollars
from tryage.learning.plots.plot import Plot, count_text
from tryage.learning.traffic_report.summary import bucket_seconds, describe_events, read_events
from tryage.learning.traffic_report.table import UNKNOWN, read_table
from tryage.traffic.traffic import Traffic, check_traffic

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tryage.core.arrays import Float64Array
    from tryage.learning.charts.chart import Mark
    from tryage.learning.traffic_report.summary import Alarm
    from tryage.learning.traffic_report.table import TrafficRow
    from tryage.traffic.records import Event

PERIODS = {"auto": None, "hour": 3_600, "day": 86_400, "week": 604_800}
"""Words for the length of a part, in seconds; None for one that fits the whole period."""

_MAX_PARTS = 400  # more bars cannot be told apart

_MAX_RULES = 12  # of events

_EVENT_DASHES = ("dashed", "dash-dot", "long dash", "dotted")

_MIN_ANSWERS = 30  # in each half of the period, to speak of a change

_CLEAR_CHANGE = 0.1  # of the answers


@dataclass(frozen=True, slots=True, eq=False)
class SharesPlot(Plot):
    """Answers and dollars of each model in each part of a period.

    `times` are the starts of the parts, `(n_parts,)` in seconds since 1970 (UTC), and `seconds` is
    how long each is. `answers` and `dollars` are `(n_parts, n_models)`, the most used model first;
    dollars are as billed, else as expected, NaN where none is known. `billed` is the share of the
    known costs that are as billed. `events` are alarms, such as a drift, and others.
    """

    times: tuple[float, ...]
    seconds: float
    names: tuple[str, ...]
    answers: Float64Array
    dollars: Float64Array
    billed: float
    events: tuple[Alarm, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as plain values for JSON; unknown dollars are None."""
        return {
            "times": list(self.times),
            "seconds": self.seconds,
            "models": {
                name: {
                    "answers": self.answers[:, i].astype(int).tolist(),
                    "dollars": [None if np.isnan(v) else v for v in self.dollars[:, i].tolist()],
                }
                for i, name in enumerate(self.names)
            },
            "billed": self.billed,
            "events": [
                {"time": one.time, "kind": one.kind, "expert": one.expert, "text": one.text}
                for one in self.events
            ],
        }

    def title(self) -> str:
        """Return in one sentence what was found: whose share has changed most."""
        half = len(self.times) // 2
        if half and min(self.answers[:half].sum(), self.answers[half:].sum()) >= _MIN_ANSWERS:
            before, after = (_shares(part) for part in (self.answers[:half], self.answers[half:]))
            most = int(np.abs(after - before).argmax())
            if abs(after[most] - before[most]) >= _CLEAR_CHANGE:
                return (
                    f"{short_name(self.names[most])} went from {before[most]:.0%} of the answers "
                    f"in the first half to {after[most]:.0%} in the second"
                )
        total = _shares(self.answers)
        return f"{short_name(self.names[0])} gave {total[0]:.0%} of the answers"

    def chart(self) -> Chart:
        """Return the picture: shares above, dollars below."""
        known = float(np.nansum(self.dollars))
        has_dollars = not np.isnan(self.dollars).all()
        panels = [self._shares_panel(), *([self._dollars_panel()] if has_dollars else [])]
        spent = f"{format_dollars(known)} in all" if has_dollars else "no cost is known"
        description = ", ".join(
            f"{name} {share:.0%}"
            for name, share in zip(self.names, _shares(self.answers), strict=True)
        )
        return Chart(
            self.title(),
            tuple(panels),
            f"Shares of {int(self.answers.sum()):,} answers: {description}; {spent}.",
            note=f"{count_text(int(self.answers.sum()), 'answer')}, {spent}"
            + (f", {self.billed:.0%} of the known costs as billed" if has_dollars else "")
            + "; times are UTC.",
            size=(9.6, 3.2 + 2.2 * len(panels)),
            legend="right",
        )

    def _shares_panel(self) -> Panel:
        totals = np.maximum(self.answers.sum(axis=1, keepdims=True), 1)
        marks = [*self._stacked(self.answers / totals), *self._rules()]
        y = Axis("share of the answers", "percent", limits=(0.0, 1.0))
        return Panel(self._time_axis(), y, tuple(marks))

    def _dollars_panel(self) -> Panel:
        dollars = np.nan_to_num(self.dollars)
        highest = float(dollars.sum(axis=1).max()) or 1.0
        marks = [*self._stacked(dollars), *self._rules()]
        y = Axis(f"USD {self._per()}", "dollars", limits=(0.0, 1.06 * highest))
        return Panel(self._time_axis(), y, tuple(marks))

    def _per(self) -> str:
        """Return how long a part is, in words."""
        words = {3_600: "per hour", 86_400: "per day", 604_800: "per week", 60: "per minute"}
        if self.seconds in words:
            return words[int(self.seconds)]
        lengths = ((3_600, "hours"), (60, "minutes"), (1, "seconds"))
        length, unit = next(one for one in lengths if self.seconds >= one[0] or one[0] == 1)
        return f"per {self.seconds / length:g} {unit}"

    def _time_axis(self) -> Axis:
        return Axis(unit="time", limits=(self.times[0], self.times[-1] + self.seconds))

    def _stacked(self, values: Float64Array) -> list[Mark]:
        """Stack the values of the models `(n_parts, n_models)`; the least used share a gray."""
        middle = [time + self.seconds / 2 for time in self.times]
        low = np.zeros(len(middle))
        marks: list[Mark] = []
        for i, name in enumerate(self.names[:MAX_SERIES]):
            column = values[:, i]
            marks.append(
                Bars(short_name(name), middle, column.tolist(), fill_style(i), low.tolist(),
                     0.92 * self.seconds)
            )  # fmt: skip
            low = low + column
        rest = values[:, MAX_SERIES:].sum(axis=1)
        if rest.any():
            width = 0.92 * self.seconds
            marks.append(Bars("others", middle, rest.tolist(), OTHERS_STYLE, low.tolist(), width))
        return marks

    def _rules(self) -> list[Rule]:
        """Draw a line for each event, the same for those of one kind and model."""
        end = self.times[-1] + self.seconds
        events = [one for one in self.events if one.time <= end][-_MAX_RULES:]
        names = {_event_name(one): None for one in events}
        dashes = {name: _EVENT_DASHES[i % len(_EVENT_DASHES)] for i, name in enumerate(names)}
        return [
            Rule(_event_name(one), "vertical", one.time,
                 Style(TEXT_COLOR, dash=dashes[_event_name(one)], width=2.2))
            for one in events
        ]  # fmt: skip


def shares_plot(
    traffic: Traffic,
    since: float | None = None,
    until: float | None = None,
    *,
    by: str = "auto",
) -> SharesPlot:
    """Return the shares of the models over time, from a log.

    Args:
        traffic: The log.
        since: Only decisions from this time on, in seconds since 1970 (UTC).
        until: Only decisions before this time.
        by: How long each part is: "hour", "day", "week", or "auto".

    Raises:
        InputError: there is no answer in this period, or an argument is wrong.
        TrafficError: the log cannot be read.
    """
    check_traffic(traffic)
    if by not in PERIODS:
        raise InputError(f"by is {by!r:.40}; expected one of {', '.join(PERIODS)}.")
    events = [one for one in read_events(traffic) if until is None or one.time < until]
    return make_shares(traffic.decisions(since, until), events, seconds=PERIODS[by])


def make_shares(
    rows: Iterable[TrafficRow], events: Sequence[Event] = (), *, seconds: float | None = None
) -> SharesPlot:
    """Return the shares of decisions and what came of them, in parts of so many seconds.

    Raises:
        InputError: nothing was answered, or there are too many parts.
    """
    table = read_table(rows, keep_records=False)
    served = table.served != UNKNOWN
    if not served.any():
        raise InputError("The log has decisions in this period, but no answer; choose another one.")
    start, end = float(table.times[0]), float(table.times[-1])
    length = float(bucket_seconds(end - start) if seconds is None else seconds)
    codes = np.floor(table.times / length).astype(np.int64)
    codes -= (first := int(codes[0]))
    n_parts, n_models = int(codes[-1]) + 1, len(table.experts)
    if n_parts > _MAX_PARTS:
        raise InputError(
            f"The period has {n_parts:,} parts of {length / 3_600:g} hours, at most {_MAX_PARTS} "
            "can be drawn; give longer parts or a shorter period."
        )
    cells = codes[served] * n_models + table.served[served]
    answers = _sums(cells, np.ones(len(cells)), (n_parts, n_models))
    known = served & ~np.isnan(table.spending)
    cells = codes[known] * n_models + table.served[known]
    dollars = _sums(cells, table.spending[known], (n_parts, n_models))
    dollars[_sums(cells, np.ones(len(cells)), (n_parts, n_models)) == 0] = np.nan
    dollars[answers == 0] = 0.0 if known.any() else np.nan
    order = np.argsort(-answers.sum(axis=0), kind="stable")
    order = order[answers.sum(axis=0)[order] > 0]
    return SharesPlot(
        times=tuple((first + i) * length for i in range(n_parts)),
        seconds=length,
        names=tuple(table.experts[i] for i in order.tolist()),
        answers=answers[:, order],
        dollars=dollars[:, order],
        billed=float((~np.isnan(table.billed[known])).mean()) if known.any() else 0.0,
        events=tuple(describe_events(events, start, end)),
    )


def _sums(cells: Any, values: Float64Array, shape: tuple[int, int]) -> Float64Array:  # noqa: ANN401 - integers of either size
    sums = np.bincount(cells, values, minlength=shape[0] * shape[1])
    return np.asarray(sums.reshape(shape), np.float64)


def _shares(answers: Float64Array) -> Float64Array:
    """Return the share of each model, `(n_models,)`."""
    return np.asarray(answers.sum(axis=0) / max(float(answers.sum()), 1.0))


def _event_name(one: Alarm) -> str:
    return one.kind if one.expert is None else f"{one.kind}: {short_name(one.expert)}"
