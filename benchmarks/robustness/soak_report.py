"""What came of a soak: outcomes, a comparison with what the models did, memory, and a picture."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from soak_faults import MODELS, OUTAGES

from tryage.learning.charts.chart import Axis, Chart, Line, Panel, Rule
from tryage.learning.charts.pictures import save_chart
from tryage.learning.charts.style import line_style

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

PATHS = {"langchain": "ChatTryage", "llamaindex": "TryageLLM", "http": "tryage serve"}
OUTCOMES = ("first", "next", "empty", "failed", "cut", "left", "fault")
PROCESSES = ("langchain", "llamaindex", "server", "http", "provider")
WARM_SHARE = 0.25  # of the time, before memory is judged

_COOL_DOWN = re.compile(r"Decision \S+: (\S+) cools down for ([\d.]+) seconds after (.+)\.")
_AGAIN = re.compile(r"Decision \S+: (\S+) answers again\.")
_KNOWN_OF_SERVER = re.compile(
    r"^INFO: |is asked next\.|cools down for|A request failed with|A stream broke off with|"
    r"The settings |the deadline of|: (there is no such|expected|got)|^$"
)
_TIMEOUTS = ("AttemptTimeoutError", "APITimeoutError", "ReadTimeout", "ConnectTimeout")
_MEGABYTE = 2.0**20


@dataclass(frozen=True)
class Soak:
    """What the processes have written: requests by path, calls of the models, samples, events."""

    requests: dict[str, list[dict[str, Any]]]
    calls: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    events: dict[str, list[dict[str, Any]]]
    changes: list[dict[str, Any]]
    options: dict[str, Any]
    counts: dict[str, Any]

    @property
    def seconds(self) -> float:
        """How long requests were sent."""
        return float(self.options["minutes"]) * 60

    @property
    def period(self) -> float:
        """Seconds until the outages repeat."""
        return float(self.options["period"]) * 60


def read_soak(folder: Path) -> Soak:
    """Read what the processes of a soak have written."""
    events = {path: _lines(folder / f"{path}.events.jsonl") for path in PATHS}
    server = (folder / "server.log").read_text(errors="replace").splitlines()
    events["server"] = [{"t": None, "event": "log", "message": line} for line in server]
    return Soak(
        {path: _lines(folder / f"{path}.jsonl") for path in PATHS},
        _lines(folder / "provider.jsonl"),
        _lines(folder / "samples.jsonl"),
        events,
        _lines(folder / "changes.jsonl"),
        json.loads((folder / "options.json").read_text()),
        json.loads((folder / "counts.json").read_text()),
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def write_report(folder: Path, picture: Path | None = None) -> str:
    """Return the report as Markdown, which is `FOLDER/result.md` too, and draw the picture."""
    soak = read_soak(folder)
    text = "\n\n".join(
        [
            _headline(soak),
            outcome_table(soak),
            latency_table(soak),
            check_table(soak),
            process_table(soak),
            cool_down_table(soak),
            _others(soak),
        ]
    )
    (folder / "result.md").write_text(text + "\n")
    if picture is not None:
        save_chart(soak_chart(soak), picture)
    return text


def _headline(soak: Soak) -> str:
    options, counts = soak.options, soak.counts
    n_requests = sum(map(len, soak.requests.values()))
    kind = str(options["url"]).partition(":")[0].partition("+")[0]
    return (
        f"{options['minutes']:g} minutes, {options['rate']:g} requests a second, {n_requests:,} "
        f"requests, {len(soak.calls):,} calls of models; log in {kind}: {counts}"
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


# Outcomes --------------------------------------------------------------------------------------


def outcome_table(soak: Soak) -> str:
    """Return how many requests ended how, by path."""
    rows = []
    for path, label in PATHS.items():
        counts = Counter(line["outcome"] for line in soak.requests[path])
        expected = _n_sent(soak, path)
        missing = expected - sum(counts.values())
        rows.append([label, f"{expected:,}", *(f"{counts[one]:,}" for one in OUTCOMES), missing])
    words = (
        "chosen model",
        "another",
        "empty",
        "failed, with reasons",
        "cut after the first word",
        "caller left",
        "faults",
        "without an end",
    )
    return _table(["path", "requests", *words], rows)


def _n_sent(soak: Soak, path: str) -> int:
    numbers = [line["i"] for line in soak.requests[path]]
    unanswered = sum(one.get("unanswered", 0) for one in soak.events[path])
    return max(len(numbers) + unanswered, 1 + max(numbers, default=-1))


def latency_table(soak: Soak) -> str:
    """Return percentiles of answers in milliseconds, with and without a failure of a model."""
    rows = []
    for path, label in PATHS.items():
        answered = [line for line in soak.requests[path] if line["outcome"] in ("first", "next")]
        streams = [line for line in answered if "stream" in line["way"]]
        kinds = {
            "no model failed": [one["seconds"] for one in answered if one["outcome"] == "first"],
            "a model failed or cooled down": [
                one["seconds"] for one in answered if one["outcome"] == "next"
            ],
            "first word of a stream": [one["first"] for one in streams],
        }
        rows += [[label, kind, *_percentiles(values)] for kind, values in kinds.items()]
    return _table(["path", "answers", "n", "p50, ms", "p90, ms", "p99, ms", "max, ms"], rows)


def _percentiles(seconds: Sequence[float]) -> list[str]:
    if not seconds:
        return ["0", "", "", "", ""]
    found = [*np.percentile(seconds, [50, 90, 99]), max(seconds)]
    return [f"{len(seconds):,}", *(f"{value * 1e3:,.0f}" for value in found)]


# What the models did ---------------------------------------------------------------------------


@dataclass
class Checks:
    """How often what a client was told agrees with what the models did."""

    served_without_answer: int = 0
    blamed_without_fault: int = 0
    blamed_for_time: int = 0
    unowned_calls: int = 0
    busy: int = 0


def check_requests(requests: Sequence[dict[str, Any]], calls: Sequence[dict[str, Any]]) -> Checks:
    """Compare what clients were told with what the models did.

    A model that is said to have answered must have done so, one that is said to have failed must
    have failed, and no model may be asked for a request that nobody has sent.
    """
    did: dict[tuple[str, str], set[str | None]] = defaultdict(set)
    for call in calls:
        did[call["marker"], call["model"]].add(call["did"])
    checks = Checks()
    for line in requests:
        if line["way"] == "adecide":
            continue
        if line["outcome"] in ("first", "next") and None not in did[line["marker"], line["model"]]:
            checks.served_without_answer += 1
        for name, error in line["failed"].items():
            checks.busy += name == PATHS["http"]
            if name != PATHS["http"] and not did[line["marker"], name] - {None}:
                is_late = error in _TIMEOUTS
                checks.blamed_for_time += is_late
                checks.blamed_without_fault += not is_late
    markers = {line["marker"] for line in requests}
    checks.unowned_calls = sum(call["marker"] not in markers for call in calls)
    return checks


def check_table(soak: Soak) -> str:
    """Return how often a client was told what is not so."""
    requests = [line for lines in soak.requests.values() for line in lines]
    checks = check_requests(requests, soak.calls)
    feedback = Counter(str(line["feedback"]) for line in requests if "feedback" in line)
    faults = Counter(str(call["did"]) for call in soak.calls)
    rows = [
        ["answers that carry another request's marker", _n_mixed(requests)],
        ["answers of a model that did not answer", checks.served_without_answer],
        ["models blamed that did not fail", checks.blamed_without_fault],
        ["models blamed that took longer than 3 s on a busy machine", checks.blamed_for_time],
        ["requests that the server was too busy for", checks.busy],
        ["calls of models for no request", checks.unowned_calls],
        ["feedback: new, known, errors", _feedback_text(feedback)],
    ]
    kinds = ", ".join(f"{name} {count:,}" for name, count in faults.most_common())
    return f"{_table(['check', 'count'], rows)}\n\nWhat the models did: {kinds}."


def _n_mixed(requests: Sequence[dict[str, Any]]) -> int:
    return sum(line["outcome"] == "fault" and line.get("is_mixed", False) for line in requests)


def _feedback_text(counts: Counter[str]) -> str:
    errors = sum(count for word, count in counts.items() if word not in ("True", "False"))
    return f"{counts['True']:,}, {counts['False']:,}, {errors:,}"


# Processes -------------------------------------------------------------------------------------


def slope(times: Sequence[float], values: Sequence[float]) -> tuple[float, float, float]:
    """Return the slope of medians by the minute, and its 95% interval, for an hour.

    Theil and Sen: the median of the slopes of all pairs, which single peaks do not move.
    """
    from scipy.stats import theilslopes

    minutes = np.floor(np.asarray(times) / 60)
    found = np.asarray(values, np.float64)
    x = np.unique(minutes)
    if len(x) < 3:
        return (np.nan, np.nan, np.nan)
    y = [np.median(found[minutes == minute]) for minute in x]
    fit = theilslopes(y, x)
    return fit.slope * 60, fit.low_slope * 60, fit.high_slope * 60


def process_table(soak: Soak) -> str:
    """Return memory, descriptors and threads of each process, and how fast they grow."""
    rows = []
    for name in PROCESSES:
        found = [one for one in soak.samples if one["process"] == name]
        late = [one for one in found if one["t"] >= WARM_SHARE * soak.seconds]
        if len(late) < 2:
            continue
        times = [one["t"] for one in late]
        memory = [one["rss"] / _MEGABYTE for one in late]
        cpu = (found[-1]["cpu"] - found[0]["cpu"]) / max(found[-1]["t"] - found[0]["t"], 1)
        row = [name, f"{memory[0]:.0f}", f"{memory[-1]:.0f}", f"{max(memory):.0f}"]
        row.append(_slope_text(times, memory))
        for word in ("descriptors", "threads"):
            values = [one[word] for one in late]
            row += [f"{min(values)} to {max(values)}", _slope_text(times, values)]
        rows.append([*row, f"{cpu:.2f}"])
    header = [
        "process",
        f"MB after {WARM_SHARE * soak.seconds / 60:.0f} min",
        "at the end",
        "peak",
        "MB an hour (95%)",
        "descriptors",
        "an hour (95%)",
        "threads",
        "an hour (95%)",
        "cores",
    ]
    return _table(header, rows)


def _slope_text(times: Sequence[float], values: Sequence[float]) -> str:
    middle, low, high = slope(times, values)
    return "" if np.isnan(middle) else f"{middle:+.1f} ({low:+.1f} to {high:+.1f})"


# Cool-downs ------------------------------------------------------------------------------------


def cool_downs(events: Iterable[dict[str, Any]]) -> tuple[Counter[str], Counter[str]]:
    """Return how often each model began to cool down, and how often it answered again."""
    opened, closed = Counter[str](), Counter[str]()
    for one in events:
        message = one.get("message", "")
        if found := _COOL_DOWN.search(message):
            opened[found[1]] += 1
        if found := _AGAIN.search(message):
            closed[found[1]] += 1
    return opened, closed


def cool_down_table(soak: Soak) -> str:
    """Return how often models began to cool down and answered again, by process."""
    rows = []
    for path in ("langchain", "llamaindex", "server"):
        opened, closed = cool_downs(soak.events[path])
        again = "not logged" if path == "server" else f"{sum(closed.values()):,}"
        rows.append(
            [path, *(f"{opened[name]:,}" for name in MODELS), again, _end_states(soak, path)]
        )
    header = ["process", *(f"{name} cools down" for name in MODELS), "answers again", "at the end"]
    return f"{_table(header, rows)}\n\n{_outage_table(soak)}"


def _end_states(soak: Soak, path: str) -> str:
    beats = soak.events["http" if path == "server" else path]
    healths = [one["health"] for one in beats if one["event"] == "beat"]
    if not healths:
        return ""
    return ", ".join(f"{name}: {healths[-1].get(name, 'cooling down')}" for name in MODELS)


def _outage_table(soak: Soak) -> str:
    """Return what share of the answers a model gave around its outages."""
    rows = []
    answered = [
        line
        for lines in soak.requests.values()
        for line in lines
        if line["outcome"] in ("first", "next") and line["way"] != "adecide"
    ]
    for outage in OUTAGES:
        start, end = outage.start * soak.period, outage.end * soak.period
        spans = {
            "before": (start - (end - start), start),
            "in it": (start + 0.2 * (end - start), end),
            "after": (end + 0.05 * soak.period, end + 0.1 * soak.period),
        }
        row: list[object] = [", ".join(outage.models), outage.fault, f"{end - start:.0f}"]
        for low, high in spans.values():
            inside = [one for one in answered if low <= one["due"] % soak.period < high]
            ours = sum(one["model"] in outage.models for one in inside)
            row.append(f"{ours / len(inside):.0%} of {len(inside):,}" if inside else "")
        rows.append(row)
    header = ["outage of", "what", "s", "share before", "share in it", "share after"]
    return _table(header, rows)


# The rest --------------------------------------------------------------------------------------


def _others(soak: Soak) -> str:
    """Return reloads, other warnings, and the faults themselves."""
    reloads = Counter(
        "in force" if "are in force" in one["message"] else "refused"
        for path in ("langchain", "llamaindex", "server")
        for one in soak.events[path]
        if "are in force" in one.get("message", "") or "settings stay" in one.get("message", "")
    )
    warnings = Counter(
        one["message"][:300]
        for path in PATHS
        for one in soak.events[path]
        if one["event"] == "warning"
    )
    ends = {path: one for path in PATHS for one in soak.events[path] if one["event"] == "end"}
    faults = [
        f"{path} {line['i']} {line['way']}: {line['error']}\n{line.get('detail', '')}"
        for path, lines in soak.requests.items()
        for line in lines
        if line["outcome"] == "fault"
    ]
    server = [one["message"] for one in soak.events["server"]]
    others = [text for text in server if not _KNOWN_OF_SERVER.search(text)]
    parts = [
        f"Settings changed {len(soak.changes)} times; reloads: {dict(reloads)}.",
        f"Ends: {ends}",
        f"Other warnings: {sum(warnings.values())}",
        *(f"- {count} x {text}" for text, count in warnings.most_common(10)),
        f"Other lines of the server: {len(others)}",
        *(f"- {text[:300]}" for text in others[:10]),
        f"Faults: {len(faults)}",
        *(f"```text\n{text}\n```" for text in faults[:10]),
    ]
    return "\n".join(parts)


def soak_chart(soak: Soak) -> Chart:
    """Return the picture: memory, descriptors, times of answers and what failed, by the minute."""
    minutes = Axis("minutes")
    panels = [
        _sample_panel(soak, "rss", "memory, MB", _MEGABYTE),
        _sample_panel(soak, "descriptors", "file descriptors", 1.0),
        Panel(
            minutes,
            Axis("seconds to an answer", is_log=True),
            (*_latency_lines(soak), *_rules(soak)),
        ),
        Panel(
            minutes, Axis("requests a minute", is_log=True), (*_outcome_lines(soak), *_rules(soak))
        ),
    ]
    n_requests = sum(map(len, soak.requests.values()))
    faults = sum(one["outcome"] == "fault" for lines in soak.requests.values() for one in lines)
    return Chart(
        title=f"{n_requests:,} requests in {soak.options['minutes']:g} minutes, {faults} faults",
        panels=tuple(panels),
        description=(
            "By the minute: memory and file descriptors of each process, percentiles of the time "
            "to an answer, and how requests ended. Vertical lines are the beginnings of outages."
        ),
        note=f"{soak.options['rate']:g} requests a second; dotted lines: an outage begins",
        size=(10.5, 7.0),
        columns=2,
        legend="below",
    )


def _rules(soak: Soak) -> list[Rule]:
    n_periods = int(np.ceil(soak.seconds / soak.period))
    starts = [(i + one.start) * soak.period / 60 for i in range(n_periods) for one in OUTAGES]
    return [Rule("", "vertical", start) for start in starts if start * 60 < soak.seconds]


def _sample_panel(soak: Soak, word: str, label: str, unit: float) -> Panel:
    lines = []
    for i, name in enumerate(PROCESSES[:4]):
        found = [one for one in soak.samples if one["process"] == name]
        x, y = [one["t"] / 60 for one in found], [one[word] / unit for one in found]
        lines.append(Line(name, x, y, line_style(i)))
    top = max((max(line.y, default=0.0) for line in lines), default=1.0)
    return Panel(Axis("minutes"), Axis(label, limits=(0.0, 1.1 * top)), (*lines, *_rules(soak)))


def _latency_lines(soak: Soak) -> list[Line]:
    by_minute: dict[int, list[float]] = defaultdict(list)
    for lines in soak.requests.values():
        for one in lines:
            if one["outcome"] in ("first", "next"):
                by_minute[int(one["due"] // 60)].append(one["seconds"])
    x = sorted(by_minute)
    return [
        Line(f"p{q}", x, [float(np.percentile(by_minute[i], q)) for i in x], line_style(j))
        for j, q in enumerate((50, 90, 99))
    ]


def _outcome_lines(soak: Soak) -> list[Line]:
    words = {"first": "chosen model", "next": "another model", "failed": "failed, with reasons"}
    n_minutes = int(np.ceil(soak.seconds / 60))
    lines = []
    for i, (outcome, label) in enumerate(words.items()):
        counts = Counter(
            int(one["due"] // 60)
            for found in soak.requests.values()
            for one in found
            if one["outcome"] == outcome
        )
        y = [counts[minute] or np.nan for minute in range(n_minutes)]
        lines.append(Line(label, list(range(n_minutes)), y, line_style(i)))
    return lines
