"""From scores to a Decision: the chosen expert, the ranking, the rejected experts, the default."""

from __future__ import annotations

import math
import secrets
from collections.abc import (  # noqa: TC003 - pydantic in LangChain reads the annotations
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field, replace
from datetime import datetime  # noqa: TC003 - pydantic reads the annotations
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.cache import cached_property, get_or_compute
from tryage.core.choice import NO_EXPERT, choose_experts
from tryage.core.costs import PromptCosts, with_forecasts
from tryage.core.expert import Expert  # noqa: TC001 - pydantic reads the annotations
from tryage.core.explanation import (
    EXPLAINED_LEVEL,
    EXPLAINED_PROMPTS,
    describe_untypical,
    explain,
)
from tryage.core.nearest_miss import nearest_miss_lines
from tryage.core.objective import (
    MAX_EXACT_EXPERTS,
    RoutingLoss,
    compute_routing_loss,
    needs_request,
)
from tryage.core.policy_change import (
    PolicyChange,  # noqa: TC001 - pydantic reads the annotations
)
from tryage.core.preferences import Preferences
from tryage.core.ranking import (
    TOLERANCE,
    RankedExpert,
    Ranking,
    RejectedExpert,
    check_eligibility,
)
from tryage.core.validation import check_number
from tryage.errors import InputError, NoExpertError, PerceptionError

if TYPE_CHECKING:
    from tryage.core.arrays import Float64Array, FloatArray, IndexArray
    from tryage.core.constraints import Constraint
    from tryage.core.library import Library
    from tryage.core.perception import Prediction
    from tryage.core.ranking import Eligibility
    from tryage.core.request import RoutingRequest
    from tryage.core.request_batch import RequestBatch


def new_id() -> str:
    """Return a random id of a decision, 16 hexadecimal digits."""
    return secrets.token_hex(8)


_MAX_EVALUATED = 1_024  # predictions of a batch whose terms are computed once, for all their uses


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """The answer of a router to one prompt.

    `prompt` is the text without flags: send that to `expert`. `ranking` and `rejected` behave like
    tuples of `RankedExpert` and `RejectedExpert`. When no expert could be chosen, `expert` is the
    declared default, `default_used` is true and `default_reason` says why. `flags` are the flags of
    the prompt that count, `dropped_flags` those that would leave no expert and do not count.
    `as_of` is when the facts about the experts were read from the Hub (UTC), None if they come from
    elsewhere. `typicality` is the share of prompts of the trained kinds that are as unlike the
    training prompts as this one, a p-value; None if the perception has measured none.

    `id` is random. `position` `(k,)` is where the prompt lies in the ability space, which is what
    learning from a later measurement needs; None if the perception has no such space. `kind` is the
    prompt's most probable category, None if it is unknown. `keys` and `tags` are those of the
    request. `frozen_choice` is the expert that would be chosen without feedback and exploration,
    None if it is the one of the lowest total. `arm` is the name of the router that decided, where
    traffic is split, and `shadow_choices` are those of other routers by their names. `arms` are the
    names of all routers on the way to the one that decided, where a split is in a split.

    `propensity` is the probability with which `expert` was chosen, less than 1 only with
    exploration; `propensities` are those of all experts that could be chosen, by name, empty if the
    choice was certain. `explored` says that `expert` is not the one that would have been chosen
    without exploration: it is first in the ranking all the same, and `margin` may be negative.

    `timing` is when the pass began and ended that made the decision, in nanoseconds since 1970;
    None if no telemetry is written.

    `changes` say what policies have changed and why, in their order: `expert` is first in the
    ranking all the same. `calls` says how it is called, where one call is not all.
    """

    prompt: str
    expert: Expert
    ranking: Sequence[RankedExpert] = ()
    rejected: Sequence[RejectedExpert] = ()
    preferences: Preferences = field(default_factory=Preferences)
    default_used: bool = False
    default_reason: str | None = None
    flags: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    as_of: datetime | None = None
    dropped_flags: tuple[str, ...] = ()
    typicality: float | None = None
    id: str = field(default_factory=new_id, repr=False)
    position: Any = field(default=None, repr=False)  # a FloatArray, which pydantic cannot describe
    propensity: float = 1.0
    propensities: Mapping[str, float] = field(default_factory=dict, repr=False)
    explored: bool = False
    kind: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    frozen_choice: str | None = field(default=None, repr=False)
    arm: str | None = None
    shadow_choices: Mapping[str, str] = field(default_factory=dict, repr=False)
    changes: tuple[PolicyChange, ...] = ()
    calls: Any = field(default=None, repr=False)  # a CallPlan: pydantic cannot describe functions
    timing: tuple[int, int] | None = field(default=None, repr=False)
    arms: tuple[str, ...] = field(default=(), repr=False)

    @property
    def chosen(self) -> RankedExpert | None:
        """The scores of the chosen expert, None if the default was used."""
        return self.ranking[0] if len(self.ranking) and not self.default_used else None

    @property
    def margin(self) -> float | None:
        """How much higher the total of the second expert is, None without a second."""
        if len(self.ranking) < 2:
            return None
        best, second = self.ranking[:2]
        return second.total - best.total

    @property
    def confidence(self) -> float | None:
        """Probability that the chosen expert beats the second, None without a second or a std.

        Of a trained perception: the share of such choices in which the chosen expert has the lower
        loss, of those in which their losses differ. A lead in the total counts as much as one in
        the predicted loss. Of any other perception: the probability that the total is lower, from
        independent Gaussians. With a tolerance: that it is worse by at most the tolerance.
        """
        if len(self.ranking) < 2:
            return None
        best, second = self.ranking[:2]
        if best.std is None or second.std is None:
            return None
        gap = second.total - best.total
        if self.preferences.tolerance is not None:
            added = second.terms.get(TOLERANCE, 0.0) - best.terms.get(TOLERANCE, 0.0)
            gap += self.preferences.tolerance - added
        if best.uncertainty is not None:
            losses, stds = (best.predicted_loss, second.predicted_loss), (best.std, second.std)
            has_terms = bool(best.terms or second.terms or self.preferences.tolerance)
            probability: float = best.uncertainty.better_probability(
                losses, stds, gap, has_terms=has_terms
            )
            return probability
        std = math.hypot(best.std, second.std)
        if std == 0:
            return 1.0 if gap > 0 else 0.5
        return 0.5 * (1 + math.erf(gap / (std * math.sqrt(2))))

    def interval(self, level: float = 0.9, prompts: int = 1) -> tuple[float, float] | None:
        """Return the interval of the chosen expert's loss, as `RankedExpert.interval` does.

        None if the default was used, too.

        Raises:
            InputError: a level out of range, or no prompt.
        """
        return None if self.chosen is None else self.chosen.interval(level, prompts)

    def explain(self, top: int = 3) -> str:
        """Explain in words which expert is chosen and why, with the `top` best in detail."""
        return explain(self, top)

    def to_dict(self, top: int | None = None) -> dict[str, Any]:
        """Return JSON-safe values, with the prompt; `top` limits the ranking and the rejections."""
        chosen = self.chosen
        return {
            "id": self.id,
            "expert": self.expert.name,
            "prompt": self.prompt,
            "predicted_loss": chosen.predicted_loss if chosen else None,
            "std": chosen.std if chosen else None,
            "interval": self.interval(EXPLAINED_LEVEL, EXPLAINED_PROMPTS),
            "typicality": self.typicality,
            "cost": chosen.cost if chosen else None,
            "margin": self.margin,
            "confidence": self.confidence,
            "default_used": self.default_used,
            "default_reason": self.default_reason,
            "propensity": self.propensity,
            "propensities": dict(self.propensities),
            "explored": self.explored,
            "changes": [change.to_dict() for change in self.changes],
            "ranking": [ranked.to_dict() for ranked in self.ranking[:top]],
            "rejected": [rejected.to_dict() for rejected in self.rejected[:top]],
            "preferences": self.preferences.to_dict(),
            "flags": list(self.flags),
            "dropped_flags": list(self.dropped_flags),
            "warnings": list(self.warnings),
            "as_of": None if self.as_of is None else self.as_of.isoformat(),
        }


def check_min_typicality(value: float | None, default: str | None) -> float | None:
    """Return the checked lowest typicality of prompts for which an expert is chosen.

    Raises:
        InputError: it is not between 0 and 1, or there is no `default` for all other prompts.
    """
    if value is None:
        return None
    if default is None:
        raise InputError(
            f"min_typicality is {value!r:.80} without a default: name the expert that answers "
            "prompts unlike those that the router was trained on, as default=."
        )
    return check_number("min_typicality", value, 0.0, 1.0)


def needs_token_counts(preferences: Preferences, constraints: Mapping[str, Constraint]) -> bool:
    """Return whether a weight or a requirement depends on the length of the prompts.

    Counting tokens can take longer than everything else, so it is skipped when nothing needs it.
    """
    if preferences.answer_value is not None or preferences.tolerance is not None:
        return True
    weights, requirements = preferences.weights, preferences.requirements
    return bool(requirements and preferences.needs_cost) or needs_request(weights, constraints)


def score_batch(
    library: Library,
    preferences: Preferences,
    constraints: Mapping[str, Constraint],
    prediction: Prediction,
    request: RequestBatch,
) -> ScoredBatch:
    """Score every expert for prompts that share their preferences.

    The token counts of `request` may be zeros if `needs_token_counts` is false and nobody reads
    what a request costs.
    """
    request = with_forecasts(request, prediction)
    eligibility = check_eligibility(library, preferences, prediction, request)
    routing_loss = compute_routing_loss(
        prediction.losses,
        library,
        preferences.weights,
        constraints,
        request,
        answer_value=preferences.answer_value,
        latency_value=preferences.latency_value,
    )
    if prediction.losses.size <= _MAX_EVALUATED:
        routing_loss = routing_loss.evaluated()
    tolerance = preferences.tolerance
    return ScoredBatch(library, prediction, routing_loss, eligibility, request, tolerance)


@dataclass(frozen=True, slots=True)
class DefaultExpert:
    """The expert that answers when none can be chosen.

    It must meet the requirements, unless it is `exempt`. It also answers prompts that are less
    typical than `min_typicality`.
    """

    name: str
    exempt: bool = False
    min_typicality: float | None = None


@dataclass(frozen=True, eq=False)
class ScoredBatch:
    """Scores of every expert for prompts that share their preferences.

    The tables in `prediction` and `routing_loss` are `(batch, n_experts)`. The costs of `request`
    are those of the ranked experts, and with a `tolerance` decide between them. `frozen_choices`
    are the experts that would be chosen without feedback, None where nothing was learned.
    """

    library: Library
    prediction: Prediction
    routing_loss: RoutingLoss
    eligibility: Eligibility
    request: RequestBatch | None = None
    tolerance: float | None = None
    frozen_choices: Sequence[str | None] | None = None
    ability_std: FloatArray | None = None

    def decision(self, i: int, request: RoutingRequest) -> Decision | None:
        """Return the decision for prompt `i`, None if no expert is eligible."""
        ranking = self.ranking(i, self._best[i])
        if not len(ranking):
            return None
        best = int(ranking.top(1)[0])
        return Decision(
            prompt=request.text,
            expert=get_or_compute(self.library, ("expert", best), lambda: self.library[best]),
            ranking=ranking,
            rejected=self.eligibility.rejections(i),
            preferences=request.preferences,
            flags=request.flags,
            warnings=request.warnings,
            as_of=self.library.as_of,
            dropped_flags=request.dropped_flags,
            typicality=self.typicality(i),
            **self._log_fields(i, request),
        )

    def _log_fields(self, i: int, request: RoutingRequest) -> dict[str, Any]:
        """Return the fields of the decision for prompt `i` that only a log reads."""
        positions, kinds = self.prediction.positions, self.prediction.kinds
        context = request.context
        return {
            "position": None if positions is None else positions[i],
            "kind": None if kinds is None else kinds[i],
            "keys": {} if context is None else context.keys,
            "tags": () if context is None else tuple(context.tags),
            "frozen_choice": None if self.frozen_choices is None else self.frozen_choices[i],
        }

    def with_frozen_losses(self, losses: FloatArray) -> ScoredBatch:
        """Add whom `losses` `(batch, n_experts)` would choose, predicted without any feedback.

        Everything else that counts stays as it is.
        """
        chosen = choose_experts(
            self.library,
            RoutingLoss(losses, self.routing_loss.terms),
            self.eligibility.eligible,
            self.request,
            self.tolerance,
        )
        names = self.library.names
        choices = [None if best == NO_EXPERT else names[best] for best in chosen.tolist()]
        return replace(self, frozen_choices=choices)

    def typicality(self, i: int) -> float | None:
        """Return the p-value of prompt `i` among the training prompts, None if it is unknown."""
        values = self.prediction.typicality
        return None if values is None else float(values[i])

    def decide(
        self,
        i: int,
        request: RoutingRequest,
        default: DefaultExpert | None,
        *,
        strict: bool,
        failure: Exception | None = None,
    ) -> Decision:
        """Return the decision for prompt `i`, of the default if no expert can or may be chosen.

        `failure` is the error of a perception that failed.

        Raises:
            NoExpertError, PerceptionError: as in `default_decision`.
        """
        reason = self._untypical(i, None if default is None else default.min_typicality)
        decision = None if reason else self.decision(i, request)
        return decision or self.default_decision(
            i, request, default, strict=strict, failure=failure, reason=reason
        )

    def _untypical(self, i: int, min_typicality: float | None) -> str | None:
        """Return why no expert may be chosen for prompt `i`, None if one may."""
        if min_typicality is None or np.count_nonzero(self.eligibility.eligible[i]) < 2:
            return None  # there is nothing to choose
        typicality = self.typicality(i)
        if typicality is None:  # an unknown number meets no requirement
            return (
                "The perception measures no typicality, and the minimum is "
                f"{min_typicality:g}: train the router again, or leave out min_typicality."
            )
        if typicality >= min_typicality:
            return None
        return f"{describe_untypical(typicality)}, and the minimum is {min_typicality:g}."

    def default_decision(  # noqa: PLR0913 - the prompt, and what is known of the failure
        self,
        i: int,
        request: RoutingRequest,
        default: DefaultExpert | None,
        *,
        strict: bool,
        failure: Exception | None = None,
        reason: str | None = None,
    ) -> Decision:
        """Return the decision for the default expert of prompt `i`.

        `failure` is the error of a perception that failed; `reason` says why no expert is chosen
        although some are eligible.

        Raises:
            NoExpertError, PerceptionError: there is no default, strict mode forbids it, or it does
                not meet the requirements and is not exempt.
        """
        rejected = self.eligibility.rejections(i)
        reason = reason or self._reason(i, failure)
        index = None if default is None else self.library.index(default.name)
        unmet = () if index is None else rejected.failed_requirements(index)
        if default is None or index is None or strict or (unmet and not default.exempt):
            advice = _advice(default, request.flags, unmet, strict=strict)
            raise self._no_choice_error(i, reason, advice, request) from failure
        also = f" It does not meet the requirements: {'; '.join(unmet)}." if unmet else ""
        return Decision(
            prompt=request.text,
            expert=self.library[index],
            rejected=rejected,
            preferences=request.preferences,
            default_used=True,
            default_reason=reason + also,
            flags=request.flags,
            warnings=request.warnings,
            as_of=self.library.as_of,
            dropped_flags=request.dropped_flags,
            typicality=self.typicality(i),
            **self._log_fields(i, request),
        )

    def _reason(self, i: int, failure: Exception | None) -> str:
        """Return why no expert can be chosen for prompt `i`."""
        if failure is not None:
            return f"The perception failed: {failure or type(failure).__name__}"
        if not self.eligibility.is_predicted(i):
            return "The perception has no usable prediction for any expert."
        return f"None of the {len(self.library)} experts is eligible."

    def _no_choice_error(
        self, i: int, reason: str, advice: str, request: RoutingRequest
    ) -> NoExpertError | PerceptionError:
        """Return the error for prompt `i`: the nearest miss of each requirement, and policies."""
        kind = NoExpertError if self.eligibility.is_predicted(i) else PerceptionError
        misses = nearest_miss_lines(self.library, self.eligibility.rejections(i).checks)
        policies = [f"Required by {one.policy}: {one.reason}." for one in request.changes]
        return kind("\n".join([reason, *misses, *policies, advice]))

    def margins(self) -> Float64Array:
        """Return how much higher the total of the second-best expert is, `(batch,)`.

        An expert with the very loss of the best one counts as a copy of it, such as the same model
        at another provider, not as the second. Infinite without a second eligible expert.
        """
        totals = np.where(self.eligibility.eligible, self.routing_loss.total, np.inf)
        totals = totals.astype(np.float64)
        rows, best = np.arange(len(totals)), totals.argmin(axis=1)
        lowest, losses = totals[rows, best], self.prediction.losses
        is_copy = losses == losses[rows, best][:, None]
        second = np.where(is_copy, np.inf, totals).min(axis=1)
        return np.where(
            np.isfinite(second), second - np.where(np.isfinite(lowest), lowest, 0), np.inf
        )

    def ranking(self, i: int, best: int | None = None) -> Ranking:
        """Return the eligible experts for prompt `i`, best first; `best` if it is known already."""
        prediction = self.prediction
        return Ranking(
            self.library,
            prediction.losses[i],
            partial(_std_row, prediction, i),  # a lambda would give the collector twice the objects
            self.routing_loss.row(i),
            self.eligibility.eligible[i],
            costs=None if self.request is None else self._costs(i, self.request),
            tolerance=self.tolerance,
            best=best,
            uncertainty=prediction.uncertainty,
        )

    def ranked_experts(self, i: int, k: int, also: Iterable[str] = ()) -> IndexArray:
        """Return the library positions of the `k` best experts for prompt `i`, in order.

        The eligible ones of those named in `also` follow, if they are not among the best.
        """
        best = self.ranking(i, self._best[i]).top(k)
        named = [self.library.index(name) for name in also if name in self.library]
        more = [j for j in named if self.eligibility.eligible[i, j] and j not in best]
        return np.concatenate([best, np.array(more, np.intp)]) if more else best

    def counted_costs(self, i: int, experts: IndexArray) -> Float64Array:
        """Return the USD of prompt `i` at some experts, `(k,)`, where unknown what counts as such.

        Zeros without a request.
        """
        if self.request is None:
            return np.zeros(len(experts))
        return np.asarray(self._costs(i, self.request).counted(experts), np.float64)

    @cached_property
    def _best(self) -> list[int | None]:
        """The position of the best expert of each prompt, None where `Ranking` has to find it."""
        if len(self.library) > MAX_EXACT_EXPERTS:
            return [None] * len(self.eligibility.eligible)
        chosen = choose_experts(
            self.library,
            self.routing_loss,
            self.eligibility.eligible,
            self.request,
            self.tolerance,
        )
        return [None if best == NO_EXPERT else best for best in chosen.tolist()]

    def _costs(self, i: int, request: RequestBatch) -> PromptCosts:
        row = request if len(request.prompt_tokens) == 1 else request.take(slice(i, i + 1))
        return PromptCosts(self.library, row)


def _std_row(prediction: Prediction, i: int) -> FloatArray:
    std: FloatArray = prediction.std[i]
    return std


def _advice(
    default: DefaultExpert | None, flags: Sequence[str], unmet: Sequence[str], *, strict: bool
) -> str:
    """Return what to do when no expert can be chosen and the default may not answer."""
    if strict and flags:
        return f"Strict mode does not drop flags that leave no expert: {', '.join(flags)}."
    if strict and default is not None:
        return "Strict mode forbids the default."
    if default is None:
        return "Loosen a requirement, or add experts. No default is declared."
    return (
        f"The default {default.name} does not meet the requirements: {'; '.join(unmet)}. Loosen a "
        "requirement, or let the default answer all the same with default_exempt=True."
    )
