"""Rules: pins and bans of experts before the prediction, by what an operator knows of a request."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tryage.core.cache import cached_property
from tryage.core.policy import Policy, PolicyStage
from tryage.core.policy_change import PolicyChange
from tryage.core.preferences import Preferences
from tryage.core.validation import preview
from tryage.errors import InputError
from tryage.policies.rule import Rule
from tryage.policies.rule_conditions import Moment

if TYPE_CHECKING:
    from tryage.core.library import Library
    from tryage.core.request import RoutingRequest
    from tryage.policies.rule_conditions import Condition

_Effect: TypeAlias = tuple[Preferences, PolicyChange]  # what a rule requires, and what it says


class Rules(Policy):
    """Applies rules to every request, before the prediction.

    All rules that apply hold together. They are requirements of the operator: neither a flag in a
    prompt nor the preferences of a call can loosen them, and where they leave no expert the default
    answers if it meets them, else `NoExpertError` says so. A decision and its record name the rules
    that have applied. A router refuses rules with a name that none of its experts has; its subsets
    do not.

    Args:
        rules: The rules, in the order in which records name them.

    Raises:
        InputError: something is no rule.
    """

    stage = PolicyStage.RESTRICTION

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = _check_rules(rules)
        self._clock: Callable[[], float] = time.time
        self._is_checked = False  # whether a router has all names
        self._effects: tuple[Library, tuple[_Effect, ...]] | None = None

    @classmethod
    def from_file(cls, path: str | Path) -> Rules:
        """Read rules from a TOML file: a table `[[rules]]` for each, with the words of `Rule`.

        Other tables of the file are not read.

        Raises:
            InputError: the file is no TOML, has no rule, or a malformed one; the message has the
                line of the rule.
            MissingExtraError: as for `Rule`.
        """
        from tryage.policies.rule_file import read_rules

        return cls(read_rules(Path(path)))

    def bind(self, library: Library, traffic: Any) -> Rules:  # noqa: ANN401, ARG002 - as in the base class
        """Return the rules for the experts of a router.

        Raises:
            InputError: a rule names an expert that the router does not have.
        """
        if not self._is_checked:
            for title, rule in self._titled():
                _check_names(title, rule, library)
        bound = copy.copy(self)
        bound._is_checked = True  # noqa: SLF001 - of its own class
        return bound

    def restrict(
        self, requests: Sequence[RoutingRequest], library: Library
    ) -> Sequence[RoutingRequest]:
        """Add the requirements of all rules that apply to each request."""
        effects, moment = self._effects_for(library), Moment(self._clock())
        return [self._restricted(request, effects, moment) for request in requests]

    def _effects_for(self, library: Library) -> tuple[_Effect, ...]:
        """Return what each rule requires of the experts of a library; the last ones are kept."""
        kept = self._effects  # another thread may keep those of another library meanwhile
        if kept is None or kept[0] is not library:
            effects = [
                (
                    Preferences(requirements=rule.requirements(library)),
                    PolicyChange(self.name, f"{title}: {rule.describe()}"),
                )
                for title, rule in self._titled()
            ]
            kept = self._effects = (library, tuple(effects))
        return kept[1]

    def _restricted(
        self, request: RoutingRequest, effects: Sequence[_Effect], moment: Moment
    ) -> RoutingRequest:
        original = request
        for conditions, (preferences, change) in zip(self._conditions, effects, strict=True):
            if all(holds(original, moment) for holds in conditions):
                request = request.restricted(preferences, change)
        return request

    def set_clock(self, clock: Callable[[], float]) -> None:
        """Read the time from a function, in seconds since 1970."""
        self._clock = clock

    @cached_property
    def _conditions(self) -> tuple[tuple[Condition, ...], ...]:
        """The conditions of each rule."""
        return tuple(rule.conditions() for rule in self.rules)

    def _titled(self) -> list[tuple[str, Rule]]:
        """Return the rules with what records call them."""
        return [(one.name or f"rule {i}", one) for i, one in enumerate(self.rules, start=1)]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without a library and the conditions, which cannot be pickled."""
        state = {name: value for name, value in vars(self).items() if name != "_conditions"}
        return {**state, "_effects": None}

    def __repr__(self) -> str:
        """Show the names of the rules."""
        return f"Rules({', '.join(title for title, _ in self._titled())})"


def _check_rules(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return the rules as a tuple, or raise `InputError`."""
    if not isinstance(rules, Iterable) or isinstance(rules, (str, Path)):
        hint = " Read a file with Rules.from_file(path)." if isinstance(rules, (str, Path)) else ""
        raise InputError(f"rules is {preview(rules)}; expected a list of Rule.{hint}")
    found = tuple(rules)
    for number, rule in enumerate(found, start=1):
        if not isinstance(rule, Rule):
            raise InputError(f"rule {number} is {preview(rule)}; expected a Rule(...).")
    return found


def _check_names(title: str, rule: Rule, library: Library) -> None:
    """Raise unless a library has what a rule names; the message says which rule it is."""
    try:
        rule.check_names(library)
    except InputError as error:
        raise InputError(f"{title}: {error}") from error
