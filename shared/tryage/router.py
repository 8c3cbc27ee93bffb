"""The router: `route_batch` is a prompt's whole way; the rest makes, teaches and saves routers."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.constraints import DEFAULT_CONSTRAINTS, Constraint, active_weights
from tryage.core.costs import has_known_costs
from tryage.core.decision import (
    DefaultExpert,
    ScoredBatch,
    check_min_typicality,
    needs_token_counts,
    score_batch,
)
from tryage.core.expert import Expert
from tryage.core.library import Library, merge_missing_facts
from tryage.core.objective import evaluate_constraint
from tryage.core.pareto import ParetoFront, lower_envelope
from tryage.core.perception import Perception, Prediction
from tryage.core.ranking import check_eligibility
from tryage.core.request import (
    ConversationContext,
    PreferencesLike,
    RoutingRequest,
    apply_flags,
    build_requests,
    check_preferences,
    conversation_state,
    group_by_preferences,
    with_default_trade_off,
)
from tryage.core.request_batch import RequestBatch
from tryage.core.unknown_experts import announce_once, warn_of_unknown
from tryage.core.validation import check_bools, check_number
from tryage.errors import InputError
from tryage.perception.bundled_router import bundled_router_parts
from tryage.perception.pretrained import (
    BUNDLED_FOLDER,
    damaged_router,
    load_router_parts,
    resolve_folder,
    save_router,
    without_privileges,
)
from tryage.perception.two_stage import align_second_stage
from tryage.perception.wrappers import AlignedPerception

if TYPE_CHECKING:
    from typing_extensions import Self

    from tryage.core.arrays import BoolArray, FloatArray, IndexArray
    from tryage.core.decision import Decision
    from tryage.core.pareto import MeasuredLosses
    from tryage.core.preferences import Preferences
    from tryage.hub.settings import HubSettings

_LOGGER = logging.getLogger(__name__)


class Router:
    """Chooses for every prompt the expert with the lowest predicted loss plus constraints.

    A router is safe to share between threads.

    Args:
        perception: Predicts the loss of every expert from the prompt.
        library: The facts about the experts; by default only the names of the perception's experts.
            The losses of experts that the perception has never seen are estimated from their facts.
        preferences: What counts for every prompt, or the name of a preset, such as "thrifty". Where
            nothing is said about the trade-off and some costs are known, "balanced" is in force.
        constraints: Your own constraints by name, in addition to the built-in ones.
        default: The expert to use when no expert can be chosen, such as when the perception fails.
            It must meet the requirements itself.
        default_exempt: Let the default answer even if it does not meet the requirements; the
            decision then says which.
        strict: Raise instead of using the default; a malformed flag raises as well, and so do flags
            that leave no expert.
        prompt_flags: Whether flags in prompts are read. They can only tighten the preferences.
            Flags that leave no expert are dropped, with a warning.
        min_typicality: The default answers prompts whose typicality is lower, such as .01: they are
            unlike the prompts that the perception was trained on. So are all prompts of which it is
            unknown. It needs a default.

    Raises:
        LibraryError: the library is empty, has duplicates or does not contain the default.
        InputError: a weight names no constraint.
        PerceptionError: the perception has never seen some experts and has no prior for them.
    """

    def __init__(  # noqa: PLR0913 - the parts of a router; only the first is required
        self,
        perception: Perception,
        library: Library | Iterable[Expert | str] | None = None,
        *,
        preferences: Preferences | str | None = None,
        constraints: Mapping[str, Constraint] = DEFAULT_CONSTRAINTS,
        default: str | None = None,
        default_exempt: bool = False,
        strict: bool = False,
        prompt_flags: bool = False,
        min_typicality: float | None = None,
    ) -> None:
        if not isinstance(perception, Perception):
            raise InputError(
                f"perception is a {type(perception).__name__}; expected a tryage.core.Perception: "
                "derive your class from it."
            )
        check_bools(default_exempt=default_exempt, strict=strict, prompt_flags=prompt_flags)
        experts = perception.experts if library is None else library
        self.library = experts if isinstance(experts, Library) else Library(experts)
        self.perception = perception
        self.constraints = {**DEFAULT_CONSTRAINTS, **constraints}
        self.preferences = check_preferences(preferences, self.constraints)
        self.default = None if default is None else self.library[default].name
        self.default_exempt = default_exempt
        self.strict = strict
        self.prompt_flags = prompt_flags
        self.min_typicality = check_min_typicality(min_typicality, default)
        self._aligned_perception = AlignedPerception(perception, self.library)
        self._second_stage = align_second_stage(perception, self.library)
        unseen_indices = self._aligned_perception.unseen_indices
        announce_once(self.library, lambda: warn_of_unknown(self.library, unseen_indices))

    def route(self, prompt: str, preferences: Preferences | str | None = None) -> Decision:
        """Choose the expert for one prompt.

        `preferences` apply to this call, as `Preferences.overridden` says: what they say replaces
        what the router's say of the same, and their requirements are added to the router's.

        Raises:
            InputError: the prompt is not a string, or a weight names no constraint.
            FlagError: a malformed flag, in strict mode.
            NoExpertError, PerceptionError: no choice is possible, and there is no default that
                meets the requirements, or strict mode forbids it. The message names the nearest
                miss of each requirement.
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

        `preferences` apply to this call: one for all prompts, or a list with one (or None) per
        prompt. `contexts`, one per prompt, describe the conversations that the prompts belong to.

        Raises:
            InputError, FlagError, NoExpertError, PerceptionError: as in `route`.
        """
        requests = self._build_requests(prompts, preferences, contexts)
        if not requests:
            return []
        failure: Exception | None = None
        try:
            prediction = self._aligned_perception.predict_for(requests)
        except (RuntimeError, ArithmeticError, MemoryError) as error:
            # PerceptionError and the errors of torch are RuntimeErrors. Other exceptions are
            # programming errors, which a default would hide.
            prediction, failure = self._nan_prediction(len(requests)), error
        if has_known_costs(self.library, prediction):
            requests = with_default_trade_off(requests)
        requests = self._without_excessive_flags(requests, prediction)
        if failure is None and self._second_stage is not None:
            prediction = self._second_stage.refine(requests, prediction, self._score_group)
        decisions: dict[int, Decision] = {}
        for shared_preferences, rows in group_by_preferences(requests).items():
            batch = self._score_group(requests, shared_preferences, rows, prediction)
            for i, row in enumerate(rows.tolist()):
                decisions[row] = batch.decide(
                    i, requests[row], self._default_expert, strict=self.strict, failure=failure
                )
        return [decisions[row] for row in range(len(requests))]

    def pareto(
        self,
        prompts: Sequence[str],
        constraint: str = "size",
        *,
        preferences: Preferences | str | None = None,
        table: MeasuredLosses | None = None,
    ) -> ParetoFront:
        """Compute the exact front of predicted loss against one constraint, over its weight.

        Requirements and other weights stay in force, and so does `answer_value` unless the
        constraint is the cost. With a `QTable` of measured losses on the prompts, every point also
        has the mean measured loss of the chosen experts.

        Raises:
            InputError: no prompt, or an unknown constraint.
            NoExpertError, PerceptionError: a prompt has no eligible expert.
        """
        requests = self._build_requests(prompts, preferences)
        if not requests:
            raise InputError("A front needs at least one prompt, got none.")
        active_weights({constraint: 1.0}, self.constraints)
        prediction = self._aligned_perception.predict_for(requests)
        requests = self._without_excessive_flags(requests, prediction)
        base, slopes, allowed = self._envelope_lines(requests, constraint, prediction)
        path = lower_envelope(base, slopes, allowed)
        measured = None if table is None else table.losses_for(prompts, self.library)
        return ParetoFront(
            constraint=constraint,
            names=self.library.names,
            path=path,
            weights=path.weights,
            losses=path.mean(prediction.losses),
            constraints=path.mean(slopes).clip(0.0, 1.0),  # sums of many steps have rounding errors
            true_losses=None if measured is None else path.mean(measured),
        )

    def _build_requests(
        self,
        prompts: Sequence[str],
        preferences: PreferencesLike,
        contexts: Sequence[ConversationContext] | None = None,
    ) -> list[RoutingRequest]:
        """Check a batch, and combine its preferences with the flags in the prompts."""
        requests = build_requests(
            prompts,
            preferences,
            contexts,
            defaults=self.preferences,
            constraints=self.constraints,
        )
        if not self.prompt_flags:
            return requests
        return [apply_flags(one, self.library, strict=self.strict) for one in requests]

    def _without_excessive_flags(
        self, requests: list[RoutingRequest], prediction: Prediction
    ) -> list[RoutingRequest]:
        """Drop the flags of each prompt whose flags leave no expert; in strict mode, keep them."""
        rows = [row for row, one in enumerate(requests) if one.has_flag_requirements]
        if self.strict or not rows:
            return requests
        flagged, index = [requests[row] for row in rows], np.array(rows, dtype=np.intp)
        has_choice = self._has_choice(flagged, prediction.select(index))
        excessive = set(index[~has_choice].tolist())
        if excessive:
            _LOGGER.warning(
                "Flags that leave no expert are dropped, number of prompts: %d.", len(excessive)
            )
        return [
            one.without_flags() if row in excessive else one for row, one in enumerate(requests)
        ]

    def _has_choice(self, requests: Sequence[RoutingRequest], prediction: Prediction) -> BoolArray:
        """Return for which prompts any expert is eligible, `(batch,)`."""
        found = np.zeros(len(requests), dtype=np.bool_)
        for preferences, rows in group_by_preferences(requests).items():
            part, request = self._request_batch(requests, preferences, rows, prediction)
            found[rows] = check_eligibility(self.library, preferences, part, request).has_choice
        return found

    def _score_group(
        self,
        requests: Sequence[RoutingRequest],
        preferences: Preferences,
        rows: IndexArray,
        full_prediction: Prediction,
    ) -> ScoredBatch:
        """Score the prompts `rows` of a batch, which share their preferences."""
        prediction, request = self._request_batch(requests, preferences, rows, full_prediction)
        return score_batch(self.library, preferences, self.constraints, prediction, request)

    def _request_batch(
        self,
        requests: Sequence[RoutingRequest],
        preferences: Preferences,
        rows: IndexArray,
        full_prediction: Prediction,
    ) -> tuple[Prediction, RequestBatch]:
        """Return the predictions and the lengths of the prompts `rows`, without forecasts."""
        group = [requests[row] for row in rows.tolist()]
        prediction = full_prediction if rows.size == len(requests) else full_prediction.select(rows)
        counted = needs_token_counts(preferences, self.constraints)
        counted = counted or has_known_costs(self.library, prediction)
        tokens = self._count_tokens(group) if counted else np.zeros(len(group))
        conversation = conversation_state(group, self.library)
        return prediction, RequestBatch(tokens, conversation=conversation)

    def _count_tokens(self, requests: Sequence[RoutingRequest]) -> FloatArray:
        """Count the tokens of each prompt, or of the conversation it belongs to, `(batch,)`."""
        texts = [one.text for one in requests if one.context is None]
        counted = iter(self._aligned_perception.count_tokens(texts).tolist() if texts else ())
        tokens = [one.context.tokens if one.context else next(counted) for one in requests]
        return np.array(tokens, dtype=np.float64)

    @property
    def _default_expert(self) -> DefaultExpert | None:
        if self.default is None:
            return None
        return DefaultExpert(self.default, self.default_exempt, self.min_typicality)

    def _nan_prediction(self, batch: int) -> Prediction:
        """Return a prediction of NaN, which makes every expert ineligible."""
        nothing = np.full((batch, len(self.library)), np.nan, dtype=np.float32)
        return Prediction(nothing, nothing)

    def _envelope_lines(
        self, requests: Sequence[RoutingRequest], constraint: str, prediction: Prediction
    ) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Return base, constraint and allowed of a front, each `(batch, n_experts)`."""
        shape = prediction.losses.shape
        base, slopes, allowed = np.empty(shape), np.empty(shape), np.empty(shape, np.bool_)
        tokens = self._aligned_perception.count_tokens([one.text for one in requests])
        request = RequestBatch(tokens, prediction.output_tokens, costs=prediction.costs)
        slopes[:] = evaluate_constraint(
            constraint, self.constraints[constraint], self.library, request
        )[0]
        for preferences, rows in group_by_preferences(requests).items():
            rest = preferences.without_constraint(constraint)
            batch = self._score_group(requests, rest, rows, prediction)
            base[rows], allowed[rows] = batch.routing_loss.total, batch.eligibility.eligible
            for i in np.flatnonzero(~batch.eligibility.has_choice).tolist():
                decision = batch.default_decision(
                    i, requests[rows[i]], self._default_expert, strict=self.strict
                )
                allowed[rows[i], self.library.index(decision.expert.name)] = True
        return base, slopes, allowed

    def observe(self, decision: Decision, loss: float) -> None:
        """Report the measured loss of the chosen expert: the perception learns from it, in place.

        Raises:
            InputError: the loss is outside the range of the losses that the perception learned.
            PerceptionError: the perception cannot learn, or has never seen the expert.
        """
        name = self.library[decision.expert.name].name
        loss = check_number("loss", loss, *self.perception.loss_range())
        self._aligned_perception.observe(decision.prompt, name, loss)
        if self._second_stage is not None:
            self._second_stage.observe(decision.prompt, name, loss)

    def onboard(self, expert: Expert, losses: Mapping[str, float]) -> Self:
        """Return a router that also knows `expert`, learned from its measured loss per prompt.

        Raises:
            InputError: a loss is outside the range of the losses that the perception learned.
            PerceptionError: the perception cannot learn.
        """
        if not isinstance(expert, Expert):
            raise InputError(f"onboard takes an Expert, got {type(expert).__name__}.")
        if not isinstance(losses, Mapping):
            raise InputError(
                f"losses are a {type(losses).__name__}; expected a dict of prompt -> measured loss."
            )
        bounds = self.perception.loss_range()
        checked = {prompt: check_number("loss", loss, *bounds) for prompt, loss in losses.items()}
        perception = self.perception.onboard(expert, checked)
        return self._with_parts(perception, self.library.with_expert(expert))

    def subset(self, names: Iterable[str] | Mapping[str, object]) -> Self:
        """Return this router for some of its experts: a list of names, or a mapping name -> client.

        The default stays if it is one of them.

        Raises:
            LibraryError: an unknown name, or no name.
        """
        library = self.library.subset(list(names) if isinstance(names, Mapping) else names)
        return self._with_parts(self.perception, library)

    among = subset  # the former name

    def with_preferences(self, preferences: Preferences | str | None) -> Self:
        """Return this router with its preferences replaced."""
        router = copy.copy(self)
        router.preferences = check_preferences(preferences, self.constraints)
        return router

    @classmethod
    def from_pretrained(  # noqa: PLR0913 - the settings of a router
        cls,
        name_or_path: str | Path | None = None,
        *,
        preferences: Preferences | str | None = None,
        constraints: Mapping[str, Constraint] | None = None,
        default: str | None = None,
        default_exempt: bool | None = None,
        strict: bool | None = None,
        prompt_flags: bool | None = None,
        min_typicality: float | None = None,
        **hub: Any,  # noqa: ANN401 - the options of snapshot_download
    ) -> Self:
        """Load a router: the bundled one, a folder, or a Hub repository by its id.

        A setting that is None stays as it was saved. A repository of the Hub cannot switch on
        `prompt_flags` or `default_exempt`: pass them yourself.

        Args:
            name_or_path: A folder or a repository id; None for the bundled router.
            preferences: They replace the saved ones.
            constraints: The router's own constraints by name. They are code, so no file has them.
            default: As for `Router`.
            default_exempt: As for `Router`.
            strict: As for `Router`.
            prompt_flags: As for `Router`.
            min_typicality: As for `Router`.
            hub: `revision`, `token`, `cache_dir` ... for `huggingface_hub.snapshot_download`.

        Raises:
            InputError: an unknown argument, or a setting that does not fit the router.
            PersistenceError: there is no router, it is damaged, from a newer version, or it needs
                constraints that are missing.
        """
        given = {
            "preferences": preferences,
            "default": default,
            "default_exempt": default_exempt,
            "strict": strict,
            "prompt_flags": prompt_flags,
            "min_typicality": min_typicality,
        }
        settings = {name: value for name, value in given.items() if value is not None}
        name = BUNDLED_FOLDER if name_or_path is None else name_or_path
        folder = resolve_folder(name, hub, "save_pretrained", "name/router", given)
        parts = _load_parts(name_or_path, folder, constraints or {}, settings)
        try:
            router = cls(**parts)
        except InputError as error:
            raise damaged_router(folder, error) from error
        return cls(**router._parts() | settings) if settings else router

    @classmethod
    def from_hub(cls, task: str | None = None, *, base: Self | None = None, **query: Any) -> Self:  # noqa: ANN401 - the arguments of `Library.from_hub`
        """Return a router for the matching models of the Hub.

        Models that `base` has, under any of their names, keep their learned abilities, and its
        facts about them fill in missing ones. All other models get the prior of its perception.
        Routing reads from memory only and never waits for the Hub.

        Args:
            task: The Hub's pipeline tag, such as "text-generation".
            base: The router that gives its perception, preferences, constraints and, if it is among
                the models, its default; the bundled router if None.
            query: The other arguments of `Library.from_hub`: `filters`, `limit`, `sort`, `license`,
                `catalogue`, `settings` ...

        Raises:
            InputError, LibraryError, HubError, CatalogueError: as in `Library.from_hub`.
            PerceptionError: some models are new to the perception of `base`, and it has no prior.
        """
        library = Library.from_hub(task, **query)
        known = base if base is not None else cls.from_pretrained()
        merged = _merge_libraries(library, known.library)
        return known._with_parts(known.perception, merged)  # noqa: SLF001 - the same class

    def explain_missing(self) -> str:
        """Return which models `from_hub` left out because something about them is unknown, and why.

        Raises:
            InputError, CatalogueError: as in `Library.explain_missing`.
        """
        return self.library.explain_missing()

    def refresh(self, settings: HubSettings | None = None) -> Self:
        """Return this router with an up-to-date library; everything it has learned is kept.

        The catalogue is read again. If it is not newer than the library, the Hub is asked first; if
        that fails, there is a warning and the catalogue is used as it is. This router does not
        change and can route in other threads meanwhile: refresh in the background and replace it by
        the result.

        Raises:
            InputError: the library does not come from `from_hub`, or it is a subset of one.
            LibraryError, HubError, CatalogueError: as in `Library.from_hub`.
        """
        from tryage.hub.candidates import load_library

        origin = self.library.origin
        if origin is None or origin.query is None:
            raise InputError(
                "Only a router made by Router.from_hub can be refreshed, not a subset of it: "
                "refresh the whole router and take subset() again."
            )
        library = load_library(origin.query, origin.path, settings, newer_than=origin.as_of)
        if origin.supplement is not None:
            library = _merge_libraries(library, origin.supplement)
        for name in origin.added_experts:
            if name not in library:
                library = library.with_expert(self.library[name])
        return self._with_parts(self.perception, library)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        **hub: Any,  # noqa: ANN401 - the options of push_to_hub
    ) -> None:
        """Save the router to a folder: weights as safetensors, the rest as JSON, and a model card.

        Of your own constraints only the names are saved, because they are code: pass them again to
        `from_pretrained`. Tokens, clients and other arguments are not part of a router and are not
        written to any file. With `push_to_hub`, `repo_id` and `hub` are as for that method.

        Raises:
            InputError: an unknown argument, or one for the Hub without `push_to_hub`.
            PersistenceError: the perception is not one that Tryage can save.
        """
        if hub or repo_id is not None:
            _check_push_arguments(hub, repo_id, push_to_hub=push_to_hub)
        folder = Path(folder)
        save_router(folder, **self._parts())
        if push_to_hub:
            self.push_to_hub(repo_id or folder.name, **hub)

    def push_to_hub(self, repo_id: str, **hub: Any) -> str:  # noqa: ANN401 - the options of upload_folder
        """Upload the router to a repository of the Hugging Face Hub; return the URL of the commit.

        Takes `token`, `private`, `branch`, `commit_message` and the options of
        `HfApi.upload_folder`.

        Raises:
            InputError: an unknown argument.
            PersistenceError: the Hub refuses or does not answer.
        """
        from tryage.hub.repository import push_folder

        return push_folder(lambda folder: save_router(folder, **self._parts()), repo_id, **hub)

    def __repr__(self) -> str:
        """Show the parts."""
        return (
            f"Router({type(self.perception).__name__}, {self.library!r}, default={self.default!r})"
        )

    def _with_parts(self, perception: Perception, library: Library) -> Self:
        """Return this router with another perception and library."""
        default = self.default if self.default in library else None
        announce_once(library, lambda: None)  # this router has done so
        parts = {"perception": perception, "library": library, "default": default}
        if default is None:
            parts["min_typicality"] = None
        return type(self)(**self._parts() | parts)

    def _parts(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            "perception": self.perception,
            "library": self.library,
            "preferences": self.preferences,
            "constraints": self.constraints,
            "default": self.default,
            "default_exempt": self.default_exempt,
            "strict": self.strict,
            "prompt_flags": self.prompt_flags,
            "min_typicality": self.min_typicality,
        }


def _load_parts(
    name_or_path: str | Path | None,
    folder: Path,
    constraints: Mapping[str, Constraint],
    chosen: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the parts of a saved router; `chosen` are the settings that its user gave."""
    if name_or_path is None:
        return {**bundled_router_parts(), "constraints": constraints}
    parts = load_router_parts(folder, constraints)
    is_local = folder == Path(name_or_path)
    return parts if is_local else without_privileges(parts, name_or_path, chosen)


def _check_push_arguments(
    options: Mapping[str, Any], repo_id: str | None, *, push_to_hub: bool
) -> None:
    """Raise unless the arguments of a push are known, and meant for one."""
    from tryage.hub.repository import check_push_options

    check_push_options(options)
    if not push_to_hub:
        names = ", ".join([*([] if repo_id is None else ["repo_id"]), *options])
        raise InputError(f"{names}: only for a push; pass push_to_hub=True as well.")


def _merge_libraries(library: Library, other: Library) -> Library:
    """Fill in missing facts of a library of the Hub from another one, and remember that one."""
    merged = merge_missing_facts(library, other)
    if merged.origin is not None:
        merged.origin = replace(merged.origin, supplement=other)
    return merged
