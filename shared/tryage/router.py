"""The router: `decide_batch` is a prompt's whole way; the rest logs, learns and makes copies."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.batch_scorer import BatchScorer
from tryage.core.cache import cached_property
from tryage.core.constraints import DEFAULT_CONSTRAINTS, Constraint, active_weights
from tryage.core.costs import has_known_costs
from tryage.core.decision import DefaultExpert, check_min_typicality
from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.pareto import ParetoFront, lower_envelope
from tryage.core.perception import Perception, Prediction
from tryage.core.policy import apply_policy, check_policy
from tryage.core.request import (
    ConversationContext,
    PreferencesLike,
    RoutingRequest,
    apply_flags,
    build_requests,
    check_preferences,
    group_by_preferences,
    with_default_trade_off,
)
from tryage.core.unknown_experts import announce_once, warn_of_unknown
from tryage.core.validation import check_bools, check_number
from tryage.errors import InputError, PerceptionError
from tryage.perception.two_stage import align_second_stage
from tryage.perception.wrappers import AlignedPerception
from tryage.router_log import RouterLog
from tryage.router_sources import RouterSources
from tryage.telemetry.observer import TELEMETRY, traced
from tryage.traffic.decision_log import open_log
from tryage.traffic.explorer import Explorer

if TYPE_CHECKING:
    from typing_extensions import Self

    from tryage.core.arrays import Float32Array, FloatArray
    from tryage.core.decision import Decision, ScoredBatch
    from tryage.core.exploration import Exploration
    from tryage.core.pareto import MeasuredLosses
    from tryage.core.policy import Policy
    from tryage.core.preferences import Preferences
    from tryage.onboarding.candidates import ModelSource
    from tryage.onboarding.report import OnboardingReport
    from tryage.scoring.qtable import QTable
    from tryage.simulation.result import Simulation
    from tryage.traffic.decision_log import DecisionLog
    from tryage.traffic.traffic import Traffic


class Router(RouterLog, RouterSources):
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
        traffic: The log of decisions and feedback, or its URL, such as "sqlite:///tryage.db". The
            router writes its decisions into it and learns from the feedback in it, whichever
            process wrote that.
        exploration: How often another good expert answers than the best one, so that feedback can
            tell which is best; None is never.
        policy: Changes which expert is chosen, such as `tryage.policies.Budget`; several as
            `first | second`.

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
        traffic: Traffic | str | None = None,
        exploration: Exploration | None = None,
        policy: Policy | None = None,
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
        self._scorer = BatchScorer(
            self.library, self.constraints, self._aligned_perception.count_tokens, strict
        )
        self.log = open_log(traffic, perception, self.library)
        self.exploration = exploration
        self._explorer: Explorer | None = Explorer(exploration)
        self.policy = self._bound(policy)
        unseen_indices = self._aligned_perception.unseen_indices
        announce_once(self.library, lambda: warn_of_unknown(self.library, unseen_indices))

    def route(
        self,
        prompt: str,
        preferences: Preferences | str | None = None,
        *,
        context: ConversationContext | None = None,
    ) -> Decision:
        """Choose the expert for one prompt.

        `preferences` apply to this call, as `Preferences.overridden` says: what they say replaces
        what the router's say of the same, and their requirements are added to the router's.
        `context` describes the conversation, and holds keys and tags for the log.

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
        contexts = None if context is None else [context]
        return self.route_batch([prompt], preferences, contexts=contexts)[0]

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
        observer = TELEMETRY.observer
        if observer is None:
            decisions = self.decide_batch(prompts, preferences, contexts=contexts)
        else:
            decide = partial(self.decide_batch, prompts, preferences, contexts=contexts)
            decisions = traced(decide, observer)
        if self.records:
            for decision in decisions:
                self.record(decision)
        return decisions

    def decide_batch(
        self,
        prompts: Sequence[str],
        preferences: PreferencesLike = None,
        *,
        contexts: Sequence[ConversationContext] | None = None,
    ) -> list[Decision]:
        """Do what `route_batch` does without the log, for callers that `record` what they do.

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
        requests = self._scorer.without_excessive_flags(requests, prediction)
        if failure is None:
            prediction = self._refined(requests, prediction)
        decisions: dict[int, Decision] = {}
        for shared_preferences, rows in group_by_preferences(requests).items():
            batch = self._scorer.score(requests, shared_preferences, rows, prediction)
            batch = self._with_frozen_choices(batch, shared_preferences)
            batch = self._with_ability_std(batch, shared_preferences)
            group = [requests[row] for row in rows.tolist()]
            decided = [
                batch.decide(i, one, self._default_expert, strict=self.strict, failure=failure)
                for i, one in enumerate(group)
            ]
            decided = self._changed(batch, group, decided)
            for i, row in enumerate(rows.tolist()):
                decisions[row] = self._explored(batch, i, decided[i])
        return [decisions[row] for row in range(len(requests))]

    def _refined(self, requests: Sequence[RoutingRequest], prediction: Prediction) -> Prediction:
        """Return the prediction with that of the second stage, where there is one that is asked."""
        if self._second_stage is None:
            return prediction
        learned = self._learned_losses(prediction)
        return self._second_stage.refine(requests, prediction, self._scorer.score, learned)

    def _changed(
        self, batch: ScoredBatch, requests: Sequence[RoutingRequest], decisions: list[Decision]
    ) -> list[Decision]:
        """Return the decisions as the policy changes them, those of the default if it cannot.

        Raises:
            PerceptionError: it cannot score other texts, and no default may answer.
        """
        if self.policy is None:
            return decisions
        rescore, default = partial(self._rescore, requests[0].preferences), self._default_expert
        try:
            return apply_policy(self.policy, batch, requests, decisions, rescore)
        except PerceptionError as error:
            if default is None or self.strict:
                raise
            return [
                batch.default_decision(i, one, default, strict=False, failure=error)
                for i, one in enumerate(requests)
            ]

    def _rescore(self, preferences: Preferences, requests: Sequence[RoutingRequest]) -> ScoredBatch:
        """Predict and score other texts for a policy; all `requests` have these preferences.

        Raises:
            PerceptionError: the prediction fails.
        """
        try:
            prediction = self._aligned_perception.predict_for(requests)
        except (RuntimeError, ArithmeticError, MemoryError) as error:  # as of the prompts
            raise PerceptionError(str(error) or type(error).__name__) from error
        prediction = self._refined(requests, prediction)
        return self._scorer.score(requests, preferences, np.arange(len(requests)), prediction)

    def _explored(self, batch: ScoredBatch, i: int, decision: Decision) -> Decision:
        """Return the decision for prompt `i`, in which exploration may have drawn another expert.

        After an alarm the log asks for a small share of the experts in doubt, also where the user
        does not explore. What a policy has changed stays.
        """
        if decision.changes:
            return decision
        probes = {} if self.log is None else self.log.probes(decision)
        if self._explorer is None or (self.exploration is None and not probes):
            return decision
        drawn = self._explorer.explore(batch, i, decision, tags=decision.tags, probes=probes)
        if not drawn.explored:
            return drawn
        frozen = drawn.frozen_choice or decision.expert.name
        return replace(drawn, frozen_choice=frozen, calls=None)  # they are of another expert

    def _with_frozen_choices(self, batch: ScoredBatch, preferences: Preferences) -> ScoredBatch:
        """Add which experts would be chosen without feedback, if there was any."""
        positions = self._positions(batch.prediction, preferences)
        if positions is None or self.log is None or not self.log.has_learned:
            return batch
        losses = self._frozen_perception.losses_at(positions)
        return batch if losses is None else batch.with_frozen_losses(losses)

    def _learned_losses(self, prediction: Prediction) -> Float32Array | None:
        """Return how feedback in the log has changed the losses, None if it has not."""
        positions = prediction.positions
        if self.log is None or positions is None or not self.log.has_learned:
            return None
        live = self._aligned_perception.losses_at(positions)
        frozen = self._frozen_perception.losses_at(positions)
        return None if live is None or frozen is None else live - frozen

    def _with_ability_std(self, batch: ScoredBatch, preferences: Preferences) -> ScoredBatch:
        """Add the part of the std that exploration can reduce; by default it takes the whole."""
        positions = self._positions(batch.prediction, preferences)
        if positions is None or self.exploration is None:
            return batch
        return replace(batch, ability_std=self._aligned_perception.ability_std_at(positions))

    def _positions(self, prediction: Prediction, preferences: Preferences) -> FloatArray | None:
        """Return the positions `(batch, k)` that alone predicted the losses, None otherwise."""
        is_alone = self._second_stage is None and preferences.quality != "preferred"
        return prediction.positions if is_alone else None

    @cached_property
    def _frozen_perception(self) -> AlignedPerception:
        """What predicts as before any feedback; only a router with a log has it."""
        frozen = self.perception if self.log is None else self.log.frozen
        return AlignedPerception(self.perception.around(frozen), self.library)

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
        requests = self._scorer.without_excessive_flags(requests, prediction)
        base, slopes, allowed = self._scorer.envelope_lines(
            requests, constraint, prediction, self._default_expert
        )
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
        if self.prompt_flags:
            requests = [apply_flags(one, self.library, strict=self.strict) for one in requests]
        return requests if self.policy is None else [*self.policy.restrict(requests, self.library)]

    @property
    def _default_expert(self) -> DefaultExpert | None:
        if self.default is None:
            return None
        return DefaultExpert(self.default, self.default_exempt, self.min_typicality)

    def _nan_prediction(self, batch: int) -> Prediction:
        """Return a prediction of NaN, which makes every expert ineligible."""
        nothing = np.full((batch, len(self.library)), np.nan, dtype=np.float32)
        return Prediction(nothing, nothing)

    def observe(self, decision: Decision, loss: float) -> None:
        """Report the measured loss of the chosen expert: the perception learns from it, in place.

        With a log it is feedback of the kind "test".

        Raises:
            InputError: the loss is outside the range of the losses that the perception learned.
            PerceptionError: the perception cannot learn, or has never seen the expert.
        """
        name = self.library[decision.expert.name].name
        loss = check_number("loss", loss, *self.perception.loss_range())
        if self.log is not None and self.log.learns:
            self.feedback(decision.id, 1.0 - loss, kind="test", expert=name)
        else:
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

    def onboard_models(
        self,
        models: Mapping[str, ModelSource] | Iterable[ModelSource],
        **options: Any,  # noqa: ANN401 - the options of `tryage.onboarding.onboard_models`
    ) -> tuple[Self, OnboardingReport]:
        """Test models with few prompts; return a router that knows them too, and a report.

        `models` are clients by name, or a list of LangChain models, LlamaIndex LLMs, functions from
        text to text, or `Candidate`s. Takes `budget` (USD), `prompts`, `judge`, `journal`,
        `make_client`, `config` and `progress`.

        Raises:
            InputError, PerceptionError, MeasurementError: as in
                `tryage.onboarding.onboard_models`.
        """
        from tryage.onboarding.onboard import onboard_models

        result = onboard_models(self.perception, self.library, models, **options)
        return self._with_parts(result.perception, result.library), result.report

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

    def __repr__(self) -> str:
        """Show the parts."""
        return (
            f"Router({type(self.perception).__name__}, {self.library!r}, default={self.default!r})"
        )

    def _with_parts(self, perception: Perception, library: Library) -> Self:
        """Return this router with another perception and library."""
        log = None if self.log is None else self.log.for_parts(perception, library)
        around = perception if log is None else perception.around(log.perception)
        router = self._rebuilt(around, library)
        router.share(log, self)
        return router

    def _rebuilt(self, perception: Perception, library: Library) -> Self:
        """Return a router of other parts, without log, exploration and policy."""
        default = self.default if self.default in library else None
        announce_once(library, lambda: None)  # this router has done so
        parts = {"perception": perception, "library": library, "default": default}
        if default is None:
            parts["min_typicality"] = None
        return type(self)(**self._parts() | parts)

    def share(self, log: DecisionLog | None, other: Router) -> None:
        """Use a log, and the budget of exploration of another router."""
        self.log, self.exploration, self._explorer = log, other.exploration, other._explorer
        self.policy = self._bound(other.policy)

    def continue_from(self, earlier: Router) -> None:
        """Take over what exploration has spent, if an earlier router explores in the same way."""
        if earlier.exploration == self.exploration:
            self._explorer = earlier._explorer

    def with_policy(self, policy: Policy | None) -> Self:
        """Return this router with its policy replaced; None is none.

        Raises:
            InputError: it is no policy, or does not fit the experts.
        """
        router = copy.copy(self)
        router.policy = self._bound(policy)
        return router

    def _bound(self, policy: Policy | None) -> Policy | None:
        """Return a policy for the experts and the log of this router."""
        return None if policy is None else check_policy(policy).bind(self.library, self.traffic)

    def simulate(  # noqa: PLR0913 - what the requests of a simulation are
        self,
        policy: Policy | Mapping[str, Policy],
        data: QTable | Traffic | str,
        *,
        order: str = "given",
        seed: int = 0,
        batch_size: int = 1,
        requests_per_day: float | None = None,
        contexts: Sequence[ConversationContext] | None = None,
        evidence: FloatArray | None = None,
    ) -> Simulation:
        """Show what a policy would cost and bring on measured prompts or on logged traffic.

        Beside it stand plain routing, a threshold of costs at every height, each single expert, an
        equal share for each, and the best answer to each prompt. Nothing is asked, learned or
        written: the policy is copied, and starts anew. Print the result.

        Args:
            policy: The policy, or several by the names that they get in the result.
            data: Measured prompts; losses of 0 are best, costs are in USD. Or a log, or its URL: of
                it the score of what was not answered is as predicted.
            order: In which order the prompts come: "given", "shuffled", "easy first" or "hard
                first".
            seed: Of the shuffle, and of the bootstrap.
            batch_size: How many requests are decided before any of them is answered.
            requests_per_day: How many requests of a table come on a day; by default all.
            contexts: Keys and tags of the prompts of a table, `(n_prompts,)`.
            evidence: The probability that an answer is right, as the answer itself tells, of a
                table `(n_prompts, n_experts)`; NaN is none.

        Raises:
            InputError: a value is out of range, or the router has no expert of the data.
            QTableError: no prompt of the table was measured.
            PerceptionError: the prediction fails.
            TrafficError: there is no log, or the store fails.
        """
        from tryage.simulation.compare import compare, named_policies
        from tryage.simulation.data import read_data

        found = read_data(
            data,
            self.library,
            requests_per_day=requests_per_day,
            contexts=contexts,
            evidence=evidence,
        )
        perception = self.perception if found.perception is None else found.perception
        router = self._rebuilt(perception, self.library.subset(found.stream.experts))
        # First for all experts: a rule may name one that the data have no answers of.
        bound = {name: one.bind(self.library, None) for name, one in named_policies(policy).items()}
        return compare(
            router.with_policy,
            bound,
            found.stream.ordered(order, seed),
            batch_size=batch_size,
            seed=seed,
            notes=found.notes,
        )

    def map_routers(self, build: Callable[[Router], Router]) -> Router:
        """Return what `build` makes of this router; a router of routers maps each of them."""
        return build(self)

    def _parts(self) -> dict[str, Any]:
        """Return the arguments of the constructor that a file can hold."""
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
