"""The router: perception + library + objective -> decision; routing touches no network or disk."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tryage.core.constraints import DEFAULT_CONSTRAINTS, Constraint, Request, active
from tryage.core.decision import Field, weigh
from tryage.core.expert import Expert
from tryage.core.library import Library, completed
from tryage.core.objective import Prediction, measure
from tryage.core.pareto import Front, envelope
from tryage.core.preferences import Preferences
from tryage.core.request import (
    Asked,
    Context,
    Wishes,
    alike,
    check_preferences,
    flagged,
    merged,
    read,
    thread,
)
from tryage.core.validation import number
from tryage.errors import InputError, PerceptionError
from tryage.learning.qtable import measured
from tryage.perception.base import Alignment, Learner, Perception
from tryage.perception.pretrained import Pretrained

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from typing_extensions import Self

    from tryage.core.arrays import BoolArray, FloatArray, IndexArray
    from tryage.core.decision import Decision
    from tryage.hub.settings import HubSettings
    from tryage.learning.qtable import QTable

    AnyRouter = TypeVar("AnyRouter", bound="Sourced")


class Adaptable:
    """Gives a router `among`, `with_preferences`, `onboard` and `observe`."""

    perception: Perception
    library: Library
    preferences: Preferences
    constraints: dict[str, Constraint]
    default: str | None
    strict: bool
    prompt_flags: bool
    _alignment: Alignment

    def among(self, names: Iterable[str] | Mapping[str, object]) -> Self:
        """Return this router over some of its experts; a mapping (name -> client) works too.

        The default stays if it is among them.

        Raises:
            LibraryError: an unknown name, or none.
        """
        library = self.library.subset(list(names) if isinstance(names, Mapping) else names)
        return self._over(self.perception, library)

    def with_preferences(self, preferences: Preferences | None) -> Self:
        """Return this router with other preferences in place of its own."""
        router = copy.copy(self)
        router.preferences = check_preferences(preferences, self.constraints)
        return router

    def onboard(self, expert: Expert, losses: Mapping[str, float]) -> Self:
        """Return a router that also knows `expert`, from its measured loss per prompt.

        Raises:
            PerceptionError: the perception cannot learn.
        """
        if not isinstance(expert, Expert):
            raise InputError(f"Onboarding takes an Expert, got {type(expert).__name__}.")
        perception = self._learner().onboard(expert, losses)
        return self._over(perception, self.library.with_expert(expert))

    def observe(self, decision: Decision, loss: float) -> None:
        """Tell how badly the chosen expert did: the perception learns from it, in place.

        Raises:
            PerceptionError: the perception cannot learn, or has never seen the expert.
        """
        i = self.library.index(decision.expert.name)
        loss = number("loss", loss, low=-np.inf)
        self._alignment.observe(self._learner(), decision.prompt, i, loss)

    def _over(self, perception: Perception, library: Library) -> Self:
        """Return this router with another perception and library, all else equal."""
        make: Callable[..., Self] = type(self)  # the only class with this base is Router
        return make(
            perception,
            library,
            preferences=self.preferences,
            constraints=self.constraints,
            default=self.default if self.default in library else None,
            strict=self.strict,
            prompt_flags=self.prompt_flags,
        )

    def _learner(self) -> Learner:
        if not isinstance(self.perception, Learner):
            raise PerceptionError(
                f"{type(self.perception).__name__} cannot learn: it has no onboard() and observe()."
            )
        return self.perception


class Sourced:
    """Gives a router `from_hub` and `refresh`."""

    library: Library

    @classmethod
    def from_hub(
        cls: type[AnyRouter],
        task: str | None = None,
        *,
        base: AnyRouter | None = None,
        **query: Any,  # noqa: ANN401 - as in `Library.from_hub`
    ) -> AnyRouter:
        """Return a router over the models of the Hub that fit.

        Models that `base` knows, under any of their names, keep their abilities, and what it knows
        of them completes the facts; all others get the prior of its perception. Routing reads what
        is in memory and never waits for the Hub.

        Args:
            task: The Hub's pipeline tag, such as "text-generation".
            base: Where perception, preferences, constraints and, if it is found, the default come
                from; the bundled router if None.
            query: The other arguments of `Library.from_hub`: `filters`, `limit`, `sort`, `license`,
                `catalogue`, `settings` ...

        Raises:
            InputError, LibraryError, HubError, CatalogueError: as in `Library.from_hub`.
            PerceptionError: the perception of `base` has no prior, and models are new to it.
        """
        library = Library.from_hub(task, **query)
        known = base if base is not None else cls.from_pretrained()  # type: ignore[attr-defined]  # the only class with this base is Router
        return _over(known, _beside(library, known.library))

    def refresh(self: AnyRouter, settings: HubSettings | None = None) -> AnyRouter:
        """Return this router with the library as it is now, all that was learned kept.

        The catalogue is read again; if nobody has brought it up to date since, the Hub is asked
        for what the query finds. When that fails, a warning says so and the catalogue is used as it
        is. This router stays as it was and may go on routing in other threads meanwhile: refresh in
        the background and put the result in its place.

        Raises:
            InputError: the library does not come from `from_hub`, or is a part of such a one.
            LibraryError, HubError, CatalogueError: as in `Library.from_hub`.
        """
        from tryage.hub.candidates import supply

        origin = self.library.origin
        if origin is None or origin.query is None:
            raise InputError(
                "Only a router made by Router.from_hub can be refreshed, and not a part of one: "
                "refresh that one and take among() again."
            )
        library = supply(origin.query, origin.path, settings, after=origin.as_of)
        if origin.beside is not None:
            library = _beside(library, origin.beside)
        for name in origin.added:
            if name not in library:
                library = library.with_expert(self.library[name])
        return _over(self, library)


class Router(Pretrained, Sourced, Adaptable):
    """Choose for every prompt the expert with the lowest predicted loss plus constraints.

    Args:
        perception: Predicts the loss of every expert from the prompt.
        library: What is known about the experts; by default just the perception's names. Experts
            that the perception has never seen are guessed from what is known about them.
        preferences: In force for every prompt.
        constraints: Your own, by name, beside the built-in ones.
        default: The expert to fall back on, when the perception fails or nobody is left. It is the
            declared last resort, so it need not meet the requirements; the decision says so.
        strict: Raise instead of using the default; a malformed flag raises too.
        prompt_flags: Whether prompts may carry flags. They tighten the preferences only.

    A router is safe to share between threads.

    Raises:
        LibraryError: the library is empty, has duplicates or does not hold the default.
        InputError: a weight names no constraint.
        PerceptionError: experts are unknown to the perception and it has no prior.
    """

    def __init__(  # noqa: PLR0913 - the parts of a router; one is enough
        self,
        perception: Perception,
        library: Library | Iterable[Expert | str] | None = None,
        *,
        preferences: Preferences | None = None,
        constraints: Mapping[str, Constraint] = DEFAULT_CONSTRAINTS,
        default: str | None = None,
        strict: bool = False,
        prompt_flags: bool = False,
    ) -> None:
        experts = perception.experts if library is None else library
        self.library = experts if isinstance(experts, Library) else Library(experts)
        self.perception = perception
        self.constraints = {**DEFAULT_CONSTRAINTS, **constraints}
        self.preferences = check_preferences(preferences, self.constraints)
        self.default = None if default is None else self.library[default].name
        self.strict = strict
        self.prompt_flags = prompt_flags
        self._alignment = Alignment(perception, self.library)

    def __repr__(self) -> str:
        """Name the parts."""
        return (
            f"Router({type(self.perception).__name__}, {self.library!r}, default={self.default!r})"
        )

    def route(self, prompt: str, preferences: Preferences | None = None) -> Decision:
        """Choose the expert for one prompt.

        `preferences` are for this call: their weights replace the router's weights of the same
        name, their requirements come on top.

        Raises:
            InputError: the prompt is not a string, or a weight names no constraint.
            FlagError: a malformed flag, in strict mode.
            NoExpertError, PerceptionError: no choice is possible, and there is no default or strict
                mode forbids it.
        """
        if not isinstance(prompt, str):
            hint = "; use route_batch for several prompts" if isinstance(prompt, Sequence) else ""
            raise InputError(f"A prompt is a string, got {type(prompt).__name__}{hint}.")
        return self.route_batch([prompt], preferences)[0]

    def route_batch(
        self,
        prompts: Sequence[str],
        preferences: Wishes = None,
        *,
        contexts: Sequence[Context] | None = None,
    ) -> list[Decision]:
        """Choose the expert for every prompt, in one encoder pass.

        `preferences` are for this call, one for all or a list with one (or None) per prompt.
        `contexts`, one per prompt, tell the conversations that the prompts stand in.

        Raises:
            InputError, FlagError, NoExpertError, PerceptionError: as in `route`.
        """
        asked = self._read(prompts, preferences, contexts)
        if not asked:
            return []
        try:
            prediction, failure = self._alignment.predict([one.text for one in asked]), None
        except (RuntimeError, ArithmeticError, MemoryError) as error:
            # PerceptionError is a RuntimeError, and so is what torch raises. Other exceptions are
            # mistakes in code, which a default would hide.
            prediction, failure = self._blank(len(asked)), self._failure(error)
        decisions: dict[int, Decision] = {}
        for wanted, rows in alike(asked).items():
            field = self._weigh(asked, wanted, rows, prediction)
            for i, row in enumerate(rows.tolist()):
                decision = field.decision(i, asked[row])
                decisions[row] = decision or field.fallback(
                    i, asked[row], failure, default=self.default, strict=self.strict
                )
        return [decisions[row] for row in range(len(asked))]

    def pareto(
        self,
        prompts: Sequence[str],
        constraint: str = "size",
        *,
        preferences: Preferences | None = None,
        table: QTable | None = None,
    ) -> Front:
        """Compute the exact front of predicted loss against one constraint, over its weight.

        Requirements and the other weights stay in force. With a Q-table that measured the prompts,
        every point also has the mean measured loss of the chosen experts.

        Raises:
            InputError: no prompt, or no such constraint.
            NoExpertError, PerceptionError: a prompt has no expert to choose.
        """
        asked = self._read(prompts, preferences)
        if not asked:
            raise InputError("A front needs at least one prompt, got none.")
        active({constraint: 1.0}, self.constraints)
        prediction = self._alignment.predict([one.text for one in asked])
        base, slopes, allowed = self._lines(asked, constraint, prediction)
        path = envelope(base, slopes, allowed)
        truth = None if table is None else path.mean(measured(table, prompts, self.library))
        return Front(
            constraint=constraint,
            names=self.library.names,
            path=path,
            weights=path.weights,
            losses=path.mean(prediction.losses),
            constraints=path.mean(slopes).clip(0.0, 1.0),  # sums of many steps round
            true_losses=truth,
        )

    def _read(
        self,
        prompts: Sequence[str],
        wishes: Wishes,
        contexts: Sequence[Context] | None = None,
    ) -> list[Asked]:
        """Check a batch, and bring code's preferences and the prompts' flags together."""
        asked = read(prompts, wishes, contexts, self._wanted)
        if not self.prompt_flags:
            return asked
        return [flagged(one, strict=self.strict) for one in asked]

    def _wanted(self, wish: Preferences | None) -> Preferences:
        return merged(self.preferences, check_preferences(wish, self.constraints))

    def _failure(self, error: Exception) -> str:
        """Describe a failed perception, or raise if the default may not step in."""
        told = f"The perception failed: {error or type(error).__name__}"
        if self.strict or self.default is None:
            raise PerceptionError(told) from error
        return told

    def _weigh(
        self, asked: Sequence[Asked], wanted: Preferences, rows: IndexArray, every: Prediction
    ) -> Field:
        """Score the prompts `rows` of a batch, which share their preferences."""
        group = [asked[row] for row in rows.tolist()]
        prediction = every if rows.size == len(asked) else every.at(rows)
        tokens = prediction.output_tokens

        def request(counted: bool) -> Request:
            lengths = self._lengths(group) if counted else np.zeros(len(group))
            return Request(lengths, tokens, thread(group, self.library))

        return weigh(self.library, wanted, self.constraints, prediction, request)

    def _lengths(self, asked: Sequence[Asked]) -> FloatArray:
        """Count the tokens of each prompt, or of the conversation it stands in, `(batch,)`."""
        alone = [one.text for one in asked if one.context is None]
        counted = iter(self._alignment.count_tokens(alone).tolist() if alone else ())
        known = [one.context.tokens if one.context else next(counted) for one in asked]
        return np.array(known, dtype=np.float64)

    def _lines(
        self, asked: Sequence[Asked], constraint: str, prediction: Prediction
    ) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Return what a front is made of: base, constraint, allowed, each `(batch, n_experts)`."""
        shape = prediction.losses.shape
        base, slopes, allowed = np.empty(shape), np.empty(shape), np.empty(shape, np.bool_)
        tokens = self._alignment.count_tokens([one.text for one in asked])
        request = Request(tokens, prediction.output_tokens)
        slopes[:] = measure(constraint, self.constraints[constraint], self.library, request)[0]
        for wanted, rows in alike(asked).items():
            others = {name: w for name, w in wanted.weights.items() if name != constraint}
            rest = Preferences(others, wanted.requirements)
            field = self._weigh(asked, rest, rows, prediction)
            base[rows], allowed[rows] = field.terms.total, field.eligible
        if self.default is not None and not self.strict:
            allowed[~allowed.any(axis=1), self.library.index(self.default)] = True
        return base, slopes, allowed

    def _blank(self, batch: int) -> Prediction:
        """Return the prediction that knows nothing."""
        nothing = np.full((batch, len(self.library)), np.nan, dtype=np.float32)
        return Prediction(nothing, nothing)


def _over(router: AnyRouter, library: Library) -> AnyRouter:
    """Return a router with another library, all else equal."""
    whole = cast("Router", router)
    return cast("AnyRouter", whole._over(whole.perception, library))  # noqa: SLF001 - our own class


def _beside(library: Library, other: Library) -> Library:
    """Return a library of the Hub completed by another one, which it remembers."""
    joined = completed(library, other)
    if joined.origin is not None:
        joined.origin = replace(joined.origin, beside=other)
    return joined
