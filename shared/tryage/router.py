"""The router: perception + library + objective -> decision; routing touches no network or disk."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.constraints import DEFAULT_CONSTRAINTS, Constraint, RequestBatch, active_weights
from tryage.core.decision import ScoredBatch, needs_token_counts, score_batch
from tryage.core.expert import Expert
from tryage.core.library import Library, merge_missing_facts
from tryage.core.objective import evaluate_constraint
from tryage.core.pareto import ParetoFront, lower_envelope
from tryage.core.perception import Perception, Prediction
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
)
from tryage.core.validation import check_number
from tryage.errors import InputError, PerceptionError
from tryage.perception.base import AlignedPerception
from tryage.perception.pretrained import (
    BUNDLED_FOLDER,
    damaged_router,
    load_router_parts,
    resolve_folder,
    save_router,
)

if TYPE_CHECKING:
    from typing_extensions import Self

    from tryage.core.arrays import BoolArray, FloatArray, IndexArray
    from tryage.core.decision import Decision
    from tryage.core.pareto import MeasuredLosses
    from tryage.hub.settings import HubSettings


class Router:
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
        if not isinstance(perception, Perception):
            raise InputError(
                f"perception is a {type(perception).__name__}; expected a tryage.perception."
                "Perception: derive your class from it."
            )
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
            prediction = self._aligned_perception.predict([one.text for one in requests])
            failure = None
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
        table: MeasuredLosses | None = None,
    ) -> ParetoFront:
        """Compute the exact front of predicted loss against one constraint, over its weight.

        Requirements and the other weights stay in force. With a `QTable` that measured the prompts,
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
        truth = None if table is None else path.mean(table.losses_for(prompts, self.library))
        return ParetoFront(
            constraint=constraint,
            names=self.library.names,
            path=path,
            weights=path.weights,
            losses=path.mean(prediction.losses),
            constraints=path.mean(slopes).clip(0.0, 1.0),  # sums of many steps round
            true_losses=truth,
        )

    def subset(self, names: Iterable[str] | Mapping[str, object]) -> Self:
        """Return this router over some of its experts; a mapping (name -> client) works, too.

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
        perception = self.perception.onboard(expert, losses)
        return self._with_parts(perception, self.library.with_expert(expert))

    def observe(self, decision: Decision, loss: float) -> None:
        """Report the loss of the chosen expert: the perception learns from it, in place.

        Raises:
            PerceptionError: the perception cannot learn, or has never seen the expert.
        """
        name = self.library[decision.expert.name].name
        loss = check_number("loss", loss, low=-np.inf)
        self._aligned_perception.observe(decision.prompt, name, loss)

    @classmethod
    def from_hub(cls, task: str | None = None, *, base: Self | None = None, **query: Any) -> Self:  # noqa: ANN401 - the arguments of `Library.from_hub`
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
        known = base if base is not None else cls.from_pretrained()
        merged = _merge_libraries(library, known.library)
        return known._with_parts(known.perception, merged)  # noqa: SLF001 - our own class

    def refresh(self, settings: HubSettings | None = None) -> Self:
        """Return this router with the library as it is now, all that was learned kept.

        The catalogue is read again; if it is not newer than the library, the Hub is asked for what
        the query finds. When that fails, a warning says so and the catalogue is used as it is. This
        router stays as it was and may go on routing in other threads meanwhile: refresh in the
        background and put the result in its place.

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
        return self._with_parts(self.perception, library)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path | None = None,
        *,
        constraints: Mapping[str, Constraint] | None = None,
        **hub: Any,  # noqa: ANN401 - what snapshot_download takes
    ) -> Self:
        """Read a router: the bundled default, a folder, or a Hub repository by its id.

        Args:
            name_or_path: None is the bundled default.
            constraints: The router's own constraints, by name, which are code and not in the file.
            hub: `revision`, `token`, `cache_dir` ... for `huggingface_hub.snapshot_download`.

        Raises:
            PersistenceError: nothing is there, it is damaged, from a newer version, or it needs
                constraints that were not given.
        """
        name = BUNDLED_FOLDER if name_or_path is None else name_or_path
        folder = resolve_folder(name, hub, "save_pretrained", "name/router")
        parts = load_router_parts(folder, constraints or {})
        try:
            return cls(**parts)
        except InputError as error:
            raise damaged_router(folder, error) from error

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        **hub: Any,  # noqa: ANN401 - what push_to_hub takes
    ) -> None:
        """Write the router: weights as safetensors, the rest as JSON, and a model card.

        Own constraints are code and are not saved, only their names: give them again on reading.
        Tokens, clients and other arguments are not part of a router and reach no file.

        Raises:
            PersistenceError: the perception is not one that Tryage can save.
        """
        folder = Path(folder)
        save_router(folder, **self._parts())
        if push_to_hub:
            self.push_to_hub(repo_id or folder.name, **hub)

    def push_to_hub(self, repo_id: str, **hub: Any) -> str:  # noqa: ANN401 - what upload_folder takes
        """Save the router to a repository of the Hugging Face Hub and return the commit's address.

        Takes token, private, branch, commit_message, and what `HfApi.upload_folder` takes.
        """
        from tryage.hub.repository import push_folder

        return push_folder(lambda folder: save_router(folder, **self._parts()), repo_id, **hub)

    def _build_requests(
        self,
        prompts: Sequence[str],
        preferences: PreferencesLike,
        contexts: Sequence[ConversationContext] | None = None,
    ) -> list[RoutingRequest]:
        """Check a batch, and bring code's preferences and the prompts' flags together."""
        requests = build_requests(
            prompts,
            preferences,
            contexts,
            defaults=self.preferences,
            constraints=self.constraints,
        )
        if not self.prompt_flags:
            return requests
        return [apply_flags(one, strict=self.strict) for one in requests]

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
        counted = needs_token_counts(preferences, self.constraints)
        tokens = self._count_tokens(group) if counted else np.zeros(len(group))
        conversation = conversation_state(group, self.library)
        request = RequestBatch(tokens, prediction.output_tokens, conversation)
        return score_batch(self.library, preferences, self.constraints, prediction, request)

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

    def _parts(self) -> dict[str, Any]:
        """Return the arguments that make this router."""
        return {
            "perception": self.perception,
            "library": self.library,
            "preferences": self.preferences,
            "constraints": self.constraints,
            "default": self.default,
            "strict": self.strict,
            "prompt_flags": self.prompt_flags,
        }

    def _with_parts(self, perception: Perception, library: Library) -> Self:
        """Return this router with another perception and library, all else equal."""
        default = self.default if self.default in library else None
        parts = {"perception": perception, "library": library, "default": default}
        return type(self)(**self._parts() | parts)


def _merge_libraries(library: Library, other: Library) -> Library:
    """Return a library of the Hub completed by another one, which it remembers."""
    joined = merge_missing_facts(library, other)
    if joined.origin is not None:
        joined.origin = replace(joined.origin, supplement=other)
    return joined
