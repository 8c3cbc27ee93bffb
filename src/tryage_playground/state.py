"""What a visitor has chosen: every field of the page, to and from the pairs of a query string.

A field that is missing has its default, so that links stay short; an empty number is None.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import quote_plus, urlencode

from tryage.core.flag_items import closest_form, parse_item
from tryage.core.preferences import Preferences, Requirement
from tryage.core.presets import PRESETS
from tryage.errors import InputError
from tryage_playground.policy_choice import PolicyChoice

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import TypeAlias

    Pairs: TypeAlias = Sequence[tuple[str, str]]

EXAMPLE_PROMPT = "Write a Python function that merges two sorted lists."

WEIGHTS = ("latency", "size", "recency", "security", "verbosity", "readability")
"""The constraints that have a slider, in the order of the page."""

SECOND_PREFIX = "b_"  # of the fields of the second side

_MAX_MODELS = 400  # in a link
_MAX_SHARED = 6_000  # characters of a prompt as a link writes them
_MAX_TEXT = 300  # characters of a field that is no prompt


@dataclass(frozen=True, slots=True)
class Side:
    """One way to decide: what a right answer is worth, weights, and a policy."""

    answer_value: float | None = PRESETS["balanced"]["answer_value"]
    tolerance: float | None = PRESETS["balanced"]["tolerance"]
    weights: Mapping[str, float] = field(default_factory=dict)
    policy: PolicyChoice = field(default_factory=PolicyChoice)

    def preferences(self, requirements: Iterable[Requirement] = ()) -> Preferences:
        """Return the preferences of this side.

        Raises:
            InputError: a number is out of range.
        """
        return Preferences(
            self.weights,
            requirements,
            answer_value=self.answer_value,
            tolerance=self.tolerance,
        )


@dataclass(frozen=True, slots=True)
class PageState:
    """Everything that decides what the page shows.

    `models` are compared, or with `uses_all_models` all experts of the router. `requirements` are
    in the words of flags, such as "cost<0.01, needs=vision". `table`, `library` and `traffic` are
    the ids of loaded files. `shares_prompt` says that links may hold the prompt.
    """

    prompt: str = EXAMPLE_PROMPT
    models: tuple[str, ...] = ()
    uses_all_models: bool = False
    requirements: str = ""
    first: Side = field(default_factory=Side)
    second: Side | None = None
    table: str = ""
    library: str = ""
    traffic: str = ""
    shares_prompt: bool = False
    shows_all_rows: bool = False

    @property
    def sides(self) -> tuple[Side, ...]:
        """The one or two ways to decide."""
        return (self.first,) if self.second is None else (self.first, self.second)

    def parsed_requirements(self) -> tuple[Requirement, ...]:
        """Return the requirements of the page.

        Raises:
            InputError: an item is no requirement; the message has the nearest valid form.
        """
        items = [item.strip() for item in self.requirements.split(",") if item.strip()]
        return tuple(map(_parse_requirement, items))


def _parse_requirement(text: str) -> Requirement:
    item = parse_item(text)
    if item is None or item.requirement is None:
        raise InputError(
            f"{text!r:.80} is not a requirement. The nearest valid form is {closest_form(text)!r}."
        )
    return item.requirement


# From pairs ------------------------------------------------------------------------------------


def read_state(
    pairs: Pairs, default: PageState, max_prompt: int = 100_000
) -> tuple[PageState, tuple[str, ...]]:
    """Return the state that the pairs of a form or a link say, and what is wrong with them.

    A value that cannot be read has its default, and the page tells so. Without any pair it is
    `default`, which the page opens with.
    """
    if not pairs:
        return default, ()
    reader = _PairReader(pairs)
    prompt = reader.text("prompt", default.prompt, max_prompt)
    state = PageState(
        prompt=prompt,
        models=reader.names("model", default.models),
        uses_all_models=reader.has("all"),
        requirements=reader.text("require", ""),
        first=reader.side(""),
        second=reader.side(SECOND_PREFIX) if reader.has("compare") else None,
        table=reader.text("table", ""),
        library=reader.text("library", ""),
        traffic=reader.text("traffic", ""),
        shares_prompt=reader.has("share_prompt"),
        shows_all_rows=reader.has("rows"),
    )
    return state, tuple(reader.problems)


class _PairReader:
    """Reads the fields of a form or a link, and collects what is wrong."""

    def __init__(self, pairs: Pairs) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)
        self.problems: list[str] = []

    def has(self, name: str) -> bool:
        """Return whether a box is ticked."""
        return bool(self._values.get(name, [""])[-1])

    def text(self, name: str, default: str, limit: int = _MAX_TEXT) -> str:
        """Return a text; one that is too long is cut."""
        found = self._values.get(name)
        if found is None:
            return default
        if len(found[-1]) > limit:
            self.problems.append(
                f"{name} has more than {limit:,} characters: the rest is left out."
            )
        return found[-1][:limit]

    def names(self, name: str, default: Sequence[str]) -> tuple[str, ...]:
        """Return the names that are given, each once; a form without any sends an empty one."""
        found = self._values.get(name)
        if found is None:
            return tuple(default)
        names = unique_names(text.strip()[:_MAX_TEXT] for text in found if text.strip())
        if len(names) > _MAX_MODELS:
            self.problems.append(f"{len(names)} models are given: the first {_MAX_MODELS} count.")
        return names[:_MAX_MODELS]

    def number(self, name: str, default: float | None) -> float | None:
        """Return a number, None for an empty field."""
        found = self._values.get(name)
        if found is None:
            return default
        text = found[-1].strip()
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            return value
        self.problems.append(f"{name} is {text!r:.40}: expected a number, such as 0.5.")
        return default

    def side(self, prefix: str) -> Side:
        """Return one way to decide, of the fields with a prefix."""
        default = Side()
        weights = {name: self.number(prefix + name, None) for name in WEIGHTS}
        side = Side(
            answer_value=self.number(prefix + "answer_value", default.answer_value),
            tolerance=self.number(prefix + "tolerance", default.tolerance),
            weights={name: weight for name, weight in weights.items() if weight},
            policy=PolicyChoice(
                self.text(prefix + "policy", ""),
                self.number(prefix + "policy_value", None),
                self.text(prefix + "strong", ""),
                self.text(prefix + "weak", ""),
            ),
        )
        return self._checked(side, prefix)

    def _checked(self, side: Side, prefix: str) -> Side:
        """Return the side, or the default one if a number is out of range."""
        preset = self.text(prefix + "preset", "")
        if preset in PRESETS:
            side = with_preset(side, preset)
        try:
            side.preferences()
        except InputError as error:
            self.problems.append(str(error))
            return Side()
        return side


def unique_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return each name once, in its first spelling; upper and lower case are alike."""
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(name.casefold(), name)
    return tuple(first.values())


def with_preset(side: Side, name: str) -> Side:
    """Return a side whose trade-off is that of a preset; weights and policy stay."""
    words = PRESETS[name]
    return replace(side, answer_value=words.get("answer_value"), tolerance=words.get("tolerance"))


# To pairs --------------------------------------------------------------------------------------


def to_query(state: PageState) -> str:
    """Return the query string of a link to a state, which tells the same everywhere.

    It holds the prompt only if the state says so and it is short. The ids of files mean something
    only where the same files are loaded.
    """
    return urlencode([*_prompt_pairs(state), *state_pairs(state)])


def is_too_long_for_a_link(prompt: str) -> bool:
    """Return whether browsers and servers may refuse an address with this prompt."""
    return len(quote_plus(prompt, errors="replace")) > _MAX_SHARED


def _prompt_pairs(state: PageState) -> Pairs:
    if not state.shares_prompt:
        return []
    prompt = [] if is_too_long_for_a_link(state.prompt) else [("prompt", state.prompt)]
    return [*prompt, ("share_prompt", "1")]


def state_pairs(state: PageState) -> Iterable[tuple[str, str]]:
    """Yield the fields of a state without its prompt."""
    yield from (("model", name) for name in state.models or ("",))
    texts = {
        "all": "1" if state.uses_all_models else "",
        "require": state.requirements,
        "table": state.table,
        "library": state.library,
        "traffic": state.traffic,
        "rows": "1" if state.shows_all_rows else "",
        "compare": "" if state.second is None else "1",
    }
    yield from ((name, text) for name, text in texts.items() if text)
    yield from _side_pairs(state.first, "")
    if state.second is not None:
        yield from _side_pairs(state.second, SECOND_PREFIX)


def _side_pairs(side: Side, prefix: str) -> Iterable[tuple[str, str]]:
    default = Side()
    for name in ("answer_value", "tolerance"):
        if getattr(side, name) != getattr(default, name):
            yield prefix + name, format_number(getattr(side, name))
    for name in WEIGHTS:  # in the same order in every link
        if name in side.weights:
            yield prefix + name, format_number(side.weights[name])
    policy = side.policy
    if policy.kind:
        yield prefix + "policy", policy.kind
        yield prefix + "policy_value", format_number(policy.value)
    if policy.kind == "threshold":
        yield from ((prefix + "strong", policy.strong), (prefix + "weak", policy.weak))


def format_number(value: float | None) -> str:
    """Return a number as a field and a link write it: exact, and empty for None."""
    if value is None:
        return ""
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
