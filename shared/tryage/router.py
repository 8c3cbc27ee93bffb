"""The router: perception + library + objective -> decision; routing touches no network or disk."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tryage.core.constraints import DEFAULT_CONSTRAINTS, Constraint, RequestBatch, active_weights
from tryage.core.decision import ScoredBatch, score_batch
from tryage.core.expert import Expert
from tryage.core.library import Library, merge_missing_facts
from tryage.core.objective import Prediction, evaluate_constraint
from tryage.core.pareto import ParetoFront, lower_envelope
from tryage.core.preferences import Preferences
from tryage.core.request import (
    ConversationContext,
    PreferencesLike,
    RoutingRequest,
    apply_flags,
    build_requests,
    check_preferences,
    conversation_state,
    group_by_preferences,
    merge_preferences,
)
from tryage.core.validation import check_number
from tryage.errors import InputError, PerceptionError
from tryage.learning.qtable import lookup_losses
from tryage.perception.base import AlignedPerception, Learner, Perception
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
    _aligned_perception: AlignedPerception

    def subset(self, names: Iterable[str] | Mapping[str, object]) -> Self:
        """Return this router over some of its experts; a mapping (name -> client) works too.

        The default stays if it is among them.

        Raises:
            LibraryError: an unknown name, or none.
        """
        library = self.library.subset(list(names) if isinstance(names, Mapping) else names)
        return self._with_parts(self.perception, library)

    among = subset

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
        perception = self._updatable_perception().onboard(expert, losses)
        return self._with_parts(perception, self.library.with_expert(expert))

    def observe(self, decision: Decision, loss: float) -> None:
        """Tell how badly the chosen expert did: the perception learns from it, in place.

        Raises:
            PerceptionError: the perception cannot learn, or has never seen the expert.
        """
        i = self.library.index(decision.expert.name)
        loss = check_number("loss", loss, low=-np.inf)
        self._aligned_perception.observe(self._updatable_perception(), decision.prompt, i, loss)

    def _with_parts(self, perception: Perception, library: Library) -> Self:
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

    def _updatable_perception(self) -> Learner:
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
        return _with_library(known, _merge_libraries(library, known.library))

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
        from tryage.hub.candidates import load_library

        origin = self.library.origin
        if origin is None or origin.query is None:
            raise InputError(
                "Only a router made by Router.from_hub can be refreshed, and not a part of one: "
                "refresh that one and take among() again."
            )
        library = load_library(origin.query, origin.path, settings, newer_than=origin.as_of)
        if origin.supplement is not None:
            library = _merge_libraries(library, origin.supplement)
        for name in origin.added_experts:
            if name not in library:
                library = library.with_expert(self.library[name])
        return _with_library(self, library)


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
        self._aligned_perception = AlignedPerception(perception, self.library)

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
        preferences: PreferencesLike = None,
        *,
        contexts: Sequence[ConversationContext] | None = None,
    ) -> list[Decision]:
        """Choose the expert for every prompt, in one encoder pass.

        `preferences` are for this call, one for all or a list with one (or None) per prompt.
        `contexts`, one per prompt, tell the conversations that the prompts stand in.

        Raises:
            InputError, FlagError, NoExpertError, PerceptionError: as in `route`.
        """
        requests = self._build_requests(prompts, preferences, contexts)
        if not requests:
            return []
        try:
            prediction, failure = (
                self._aligned_perception.predict([one.text for one in requests]),
                None,
            )
        except (RuntimeError, ArithmeticError, MemoryError) as error:
            # PerceptionError is a RuntimeError, and so is what torch raises. Other exceptions are
            # mistakes in code, which a default would hide.
            prediction, failure = self._nan_prediction(len(requests)), self._describe_failure(error)
        decisions: dict[int, Decision] = {}
        for shared_preferences, rows in group_by_preferences(requests).items():
            batch = self._score_group(requests, shared_preferences, rows, prediction)
            for i, row in enumerate(rows.tolist()):
                decision = batch.decision(i, requests[row])
                decisions[row] = decision or batch.fallback(
                    i, requests[row], failure, default=self.default, strict=self.strict
                )
        return [decisions[row] for row in range(len(requests))]

    def pareto(
        self,
        prompts: Sequence[str],
        constraint: str = "size",
        *,
        preferences: Preferences | None = None,
        table: QTable | None = None,
    ) -> ParetoFront:
        """Compute the exact front of predicted loss against one constraint, over its weight.

        Requirements and the other weights stay in force. With a Q-table that measured the prompts,
        every point also has the mean measured loss of the chosen experts.

        Raises:
            InputError: no prompt, or no such constraint.
            NoExpertError, PerceptionError: a prompt has no expert to choose.
        """
        requests = self._build_requests(prompts, preferences)
        if not requests:
            raise InputError("A front needs at least one prompt, got none.")
        active_weights({constraint: 1.0}, self.constraints)
        prediction = self._aligned_perception.predict([one.text for one in requests])
        base, slopes, allowed = self._envelope_lines(requests, constraint, prediction)
        path = lower_envelope(base, slopes, allowed)
        truth = None if table is None else path.mean(lookup_losses(table, prompts, self.library))
        return ParetoFront(
            constraint=constraint,
            names=self.library.names,
            path=path,
            weights=path.weights,
            losses=path.mean(prediction.losses),
            constraints=path.mean(slopes).clip(0.0, 1.0),  # sums of many steps round
            true_losses=truth,
        )

    def _build_requests(
        self,
        prompts: Sequence[str],
        preferences: PreferencesLike,
        contexts: Sequence[ConversationContext] | None = None,
    ) -> list[RoutingRequest]:
        """Check a batch, and bring code's preferences and the prompts' flags together."""
        requests = build_requests(prompts, preferences, contexts, self._effective_preferences)
        if not self.prompt_flags:
            return requests
        return [apply_flags(one, strict=self.strict) for one in requests]

    def _effective_preferences(self, preferences: Preferences | None) -> Preferences:
        return merge_preferences(self.preferences, check_preferences(preferences, self.constraints))

    def _describe_failure(self, error: Exception) -> str:
        """Describe a failed perception, or raise if the default may not step in."""
        reason = f"The perception failed: {error or type(error).__name__}"
        if self.strict or self.default is None:
            raise PerceptionError(reason) from error
        return reason

    def _score_group(
        self,
        requests: Sequence[RoutingRequest],
        preferences: Preferences,
        rows: IndexArray,
        full_prediction: Prediction,
    ) -> ScoredBatch:
        """Score the prompts `rows` of a batch, which share their preferences."""
        group = [requests[row] for row in rows.tolist()]
        prediction = full_prediction if rows.size == len(requests) else full_prediction.select(rows)
        tokens = prediction.output_tokens

        def build_request(counted: bool) -> RequestBatch:
            lengths = self._count_tokens(group) if counted else np.zeros(len(group))
            return RequestBatch(lengths, tokens, conversation_state(group, self.library))

        return score_batch(self.library, preferences, self.constraints, prediction, build_request)

    def _count_tokens(self, requests: Sequence[RoutingRequest]) -> FloatArray:
        """Count the tokens of each prompt, or of the conversation it stands in, `(batch,)`."""
        alone = [one.text for one in requests if one.context is None]
        counted = iter(self._aligned_perception.count_tokens(alone).tolist() if alone else ())
        known = [one.context.tokens if one.context else next(counted) for one in requests]
        return np.array(known, dtype=np.float64)

    def _envelope_lines(
        self, requests: Sequence[RoutingRequest], constraint: str, prediction: Prediction
    ) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Return what a front is made of: base, constraint, allowed, each `(batch, n_experts)`."""
        shape = prediction.losses.shape
        base, slopes, allowed = np.empty(shape), np.empty(shape), np.empty(shape, np.bool_)
        tokens = self._aligned_perception.count_tokens([one.text for one in requests])
        request = RequestBatch(tokens, prediction.output_tokens)
        slopes[:] = evaluate_constraint(
            constraint, self.constraints[constraint], self.library, request
        )[0]
        for preferences, rows in group_by_preferences(requests).items():
            others = {name: w for name, w in preferences.weights.items() if name != constraint}
            rest = Preferences(others, preferences.requirements)
            batch = self._score_group(requests, rest, rows, prediction)
            base[rows], allowed[rows] = batch.routing_loss.total, batch.eligible
        if self.default is not None and not self.strict:
            allowed[~allowed.any(axis=1), self.library.index(self.default)] = True
        return base, slopes, allowed

    def _nan_prediction(self, batch: int) -> Prediction:
        """Return the prediction that knows nothing."""
        nothing = np.full((batch, len(self.library)), np.nan, dtype=np.float32)
        return Prediction(nothing, nothing)


def _with_library(router: AnyRouter, library: Library) -> AnyRouter:
    """Return a router with another library, all else equal."""
    whole = cast("Router", router)
    return cast("AnyRouter", whole._with_parts(whole.perception, library))  # noqa: SLF001 - our own class


def _merge_libraries(library: Library, other: Library) -> Library:
    """Return a library of the Hub completed by another one, which it remembers."""
    joined = merge_missing_facts(library, other)
    if joined.origin is not None:
        joined.origin = replace(joined.origin, supplement=other)
    return joined
