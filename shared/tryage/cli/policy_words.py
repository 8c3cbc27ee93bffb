"""Policies as words of the command, such as `budget usd_per_day=5 | hedge`."""

from __future__ import annotations

import inspect
import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tryage.core.validation import did_you_mean
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tryage.core.policy import Policy
    from tryage.router import Router
    from tryage.scoring.qtable import QTable

POLICY_HELP = (
    'A policy and its settings, in quotes: "budget usd_per_request=0.001", "threshold '
    'strong=gpt-5.4 weak=gpt-5.4-nano share=0.3", "quality-gap gap=0.02", "guarantee '
    'reference=gpt-5.4 at_least=0.95", "cascade steps=gpt-5.4-nano,gpt-5.4", "rules FILE.toml", '
    '"answer-cache", "hedge", "erase-and-check words=12"; several as "rules FILE.toml | budget '
    'usd_per_day=5". Repeatable.'
)

CALIBRATED = frozenset({"guarantee", "cascade"})
"""Policies that learn from answers before they decide: these must not be the ones they are judged
by."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a policy may learn from: a router, measured answers, and the evidence that they give."""

    router: Router
    table: QTable | None = None
    evidence: Any = None  # a FloatArray like the losses of the table


def needs_calibration(text: str) -> bool:
    """Return whether a policy of this text learns from answers."""
    return any(part.split()[:1] and part.split()[0] in CALIBRATED for part in text.split("|"))


def parse_policy(text: str, calibration: Calibration) -> Policy:
    """Return the policy, or the chain of policies, that a text means.

    Raises:
        InputError: there is no such policy, or it has no such setting.
        GuaranteeError: the answers do not allow a guarantee.
    """
    from functools import reduce
    from operator import or_

    return reduce(or_, [_parse_one(part, calibration) for part in text.split("|")])


def _parse_one(text: str, calibration: Calibration) -> Policy:
    try:
        word, *words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"--policy {text.strip()!r} has no name, or an open quote.") from error
    if word not in _BUILDERS:
        raise InputError(
            f"{word!r} is no policy; expected one of {', '.join(_BUILDERS)}."
            f"{did_you_mean(word, _BUILDERS)}"
        )
    pairs = [one.partition("=") for one in words]
    settings = {name.replace("-", "_"): _value(value) for name, equal, value in pairs if equal}
    positional = [name for name, equal, _ in pairs if not equal]
    try:
        policy: Policy = _BUILDERS[word](calibration, *positional, **settings)
    except TypeError as error:
        raise InputError(f"--policy {text.strip()!r}: {error}. {_settings(word)}") from error
    return policy


def _value(text: str) -> Any:  # noqa: ANN401 - a number, a truth value, a word or a list of words
    """Return a setting: JSON where it is JSON, a list of words with commas, or a word."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return [one.strip() for one in text.split(",")] if "," in text else text


def _settings(word: str) -> str:
    """Return which settings a policy has."""
    from tryage import policies

    name = "".join(part.capitalize() for part in word.split("-"))
    parameters = inspect.signature(getattr(policies, name)).parameters
    return f"Its settings are {', '.join(parameters)}."


def _plain(name: str) -> Callable[..., Policy]:
    """Return a function that makes a policy of its settings alone."""

    def build(_: Calibration, *positional: str, **settings: Any) -> Policy:  # noqa: ANN401 - as in _value
        from tryage import policies

        policy: Policy = getattr(policies, name)(*positional, **settings)
        return policy

    return build


def _rules(_: Calibration, path: str) -> Policy:
    from tryage.policies.rules import Rules

    return Rules.from_file(path)


def _guarantee(calibration: Calibration, **settings: Any) -> Policy:  # noqa: ANN401 - as in _value
    from tryage.policies.guarantee import Guarantee

    if calibration.table is None:
        raise InputError(
            "A guarantee is calibrated with measured answers, which a log has not; give a table."
        )
    return Guarantee.calibrate(calibration.router, calibration.table, **settings)


def _cascade(calibration: Calibration, **settings: Any) -> Policy:  # noqa: ANN401 - as in _value
    from tryage.policies.cascade import Cascade
    from tryage.policies.evidence import LogProbability
    from tryage.policies.likelihood import Likelihood

    table, evidence = calibration.table, calibration.evidence
    if table is None:
        raise InputError(
            "A cascade is calibrated with measured answers, which a log has not; give a table."
        )
    if evidence is None:
        raise InputError(
            "A cascade reads evidence from answers, which a table has not: say how strong it is, "
            "such as --evidence 0.8, and it is simulated."
        )
    likelihood = Likelihood.fit(evidence.ravel(), 1.0 - table.losses.ravel())
    return Cascade(**settings, verify=LogProbability(), likelihoods=likelihood)


_BUILDERS: Mapping[str, Callable[..., Policy]] = {
    "budget": _plain("Budget"),
    "threshold": _plain("Threshold"),
    "quality-gap": _plain("QualityGap"),
    "erase-and-check": _plain("EraseAndCheck"),
    "guarantee": _guarantee,
    "cascade": _cascade,
    "answer-cache": _plain("AnswerCache"),
    "rules": _rules,
    "hedge": _plain("Hedge"),
}
