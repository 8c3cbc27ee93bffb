"""`tryage evaluate --traffic`: what other policies would have been worth on the logged traffic."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from tryage.cli.outputs import write_json
from tryage.cli.terminal import echo, echo_table
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tryage.learning.traffic_report.policies import Policy
    from tryage.traffic.traffic import Traffic

POLICIES_HELP = (
    "A policy to judge: always:EXPERT, cost=FACTOR (costs count so many times as much), "
    "router:FOLDER (a saved router; router:FOLDER@DATE with what it had learned by then), "
    "shadow:NAME, frozen (without feedback and exploration), greedy (without exploration), "
    "best-single. Repeatable."
)

_DEFAULT_POLICIES = ("greedy", "best-single")


def evaluate_log(
    url: str,
    names: Sequence[str],
    *,
    kind: str | None = None,
    days: float | None = None,
    as_json: Path | None = None,
) -> None:
    """Print a table of the policies, and why the log cannot tell of some.

    Raises:
        InputError: a policy has no such form or does not fit the log, or the log has no decision.
        TrafficError: there is no log, or the store fails.
    """
    from tryage.learning.traffic_report.policy_evaluation import evaluate_traffic
    from tryage.learning.traffic_report.table import read_table
    from tryage.traffic.traffic import Traffic

    since = None if days is None else time.time() - 86_400 * days
    with Traffic(url, create=False) as traffic:
        policies = {name: parse_policy(name, traffic) for name in names or _DEFAULT_POLICIES}
        table = read_table(traffic.decisions(since), kind=kind)
    evaluation = evaluate_traffic(table, policies)
    echo(f"{evaluation.n_decisions:,} decisions, {evaluation.n_rated:,} with a rating that counts")
    echo_table(evaluation.rows())
    for line in evaluation.refusals():
        echo(line)
    if as_json is not None:
        write_json(as_json, evaluation.to_dict())


def parse_policy(text: str, traffic: Traffic) -> Policy:
    """Return the policy that a word of the command means, for this log.

    Raises:
        InputError: there is no such policy.
        PersistenceError: the folder holds no router.
    """
    from tryage.learning.traffic_report import policies

    fixed = {
        "greedy": policies.greedy,
        "frozen": policies.frozen,
        "best-single": policies.best_single,
    }
    word, colon, value = text.partition(":")
    if text in fixed:
        return fixed[text]
    if colon and value and word == "always":
        return policies.always(value)
    if colon and value and word == "shadow":
        return policies.shadow(value)
    if colon and value and word == "router":
        return _router_policy(value, traffic)
    if text.startswith("cost="):
        return policies.cost_weight(_factor(text))
    raise InputError(
        f"{text!r} is no policy; expected always:EXPERT, cost=FACTOR, router:FOLDER, shadow:NAME, "
        "frozen, greedy or best-single."
    )


def _router_policy(value: str, traffic: Traffic) -> Policy:
    """Return the policy of a saved router, `FOLDER` or `FOLDER@DATE`."""
    from tryage.learning.traffic_report.policies import router_at, saved_router
    from tryage.router import Router

    folder, at, date = value.rpartition("@")
    if not at:
        return saved_router(Router.from_pretrained(value))
    try:
        moment = datetime.fromisoformat(date)
    except ValueError as error:
        raise InputError(f"{date!r} is no time; expected such as 2026-11-20T08:00.") from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return router_at(Router.from_pretrained(folder), traffic, moment.timestamp())


def _factor(text: str) -> float:
    try:
        return float(text.removeprefix("cost="))
    except ValueError as error:
        raise InputError(f"{text!r} has no number; expected such as cost=2.") from error
