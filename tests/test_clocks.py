"""Where the clock on the wall is read, which people and machines set: everything else counts time.

Deadlines, cool-downs, ages of cached answers and turns, and intervals use `time.monotonic`.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WALL_CLOCK = re.compile(r"\b(time|clock)\.time(_ns)?\b|datetime\.now\(|utcnow")

STAMP = "a record says when it was made; nothing is decided by it"
DAYS = "a user asks for the last days; a wrong clock shows others"

# What a clock that is wrong, and then right again, does at each place.
USES = {
    "shared/tryage/chat/outcomes.py": STAMP,
    "shared/tryage/traffic/decision_log.py": STAMP,
    "src/tryage_langchain/_child_runs.py": STAMP,
    "shared/tryage/policies/shadow.py": STAMP,
    "src/tryage_server/chat_answers.py": STAMP,
    "shared/tryage/telemetry/spans.py": STAMP + "; durations count by perf_counter",
    "shared/tryage/telemetry/recorder.py": STAMP + "; durations count by perf_counter",
    "shared/tryage/traffic/writes.py": STAMP + "; the order of the log is its numbers",
    "shared/tryage/hub/client.py": STAMP,
    "shared/tryage/hub/license_bases.py": STAMP,
    "shared/tryage/hub/sync_stages.py": STAMP,
    "shared/tryage/traffic/traffic.py": "prune deletes by it; a time to come tells no number",
    "shared/tryage/traffic/sync.py": "undo to a time to come is refused",
    "shared/tryage/traffic/spending.py": "a purse of a time to come is read again at once",
    "shared/tryage/policies/budget.py": "days and months are those of the clock",
    "shared/tryage/policies/rules.py": "hours and weekdays are those of the clock",
    "shared/tryage/policies/hedge.py": "latencies of the last day are read once, at the start",
    "shared/tryage/policies/guarantee_calibration.py": "see guarantee_monitor.py",
    "shared/tryage/policies/guarantee_monitor.py": "a calibration to come counts as of now",
    "shared/tryage/hub/candidates.py": "a fetch to come counts as none",
    "shared/tryage/hub/catalog.py": "an age is never below zero",
    "shared/tryage/hub/catalog_sync.py": "says since when another process syncs",
    "shared/tryage/hub/catalog_write.py": "records to come are older than the next sync",
    "shared/tryage/models/genai.py": "which of several prices is in force today",
    "shared/tryage/models/refresh.py": "facts of a day to come are refused",
    "shared/tryage/files.py": "left files go a minute after they were made, either way",
    "shared/tryage/simulation/run.py": "each simulation sets a clock of its own",
    "shared/tryage/cli/evaluate_traffic.py": DAYS,
    "shared/tryage/cli/report.py": DAYS,
}


def test_every_use_of_the_clock_on_the_wall_is_known():
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("shared/tryage", "src")
        for path in (ROOT / folder).rglob("*.py")
        if "testing" not in path.parts and WALL_CLOCK.search(path.read_text("utf-8"))
    }
    assert found == set(USES)
