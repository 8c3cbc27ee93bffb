"""Learns abilities from the log of feedback, one row after the other.

What is known after a row is a function of the frozen perception, the library and the rows up to it.
So every process that reads the same log ends with the same beliefs, bit for bit, however its reads
are divided.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from tryage.errors import InputError, PersistenceError, TrafficError
from tryage.perception.abilities import Gaussian
from tryage.perception.unmeasured import Beliefs, ObservedExperts
from tryage.perception.wrappers import match_columns
from tryage.traffic.beliefs import Belief, first_belief, forget, update_belief
from tryage.traffic.drift import ExpectedLoss
from tryage.traffic.feedback_model import FeedbackModel
from tryage.traffic.learner_state import STATE_FORMAT, LearnerState, Suspect
from tryage.traffic.records import Event, LoggedFeedback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tryage.core.arrays import FloatArray
    from tryage.core.library import Library
    from tryage.perception.abilities import Abilities, Link, SoftThreshold
    from tryage.perception.model import LearnedPerception
    from tryage.perception.unmeasured import LibraryPerception
    from tryage.traffic.drift import Direction

Row: TypeAlias = "LoggedFeedback | Event"

UNDO = "undo"  # the kind of event that brings back what was known at another sequence number

PROBE_SHARE = 0.01  # of decisions

# After a change nothing is known of the level, and only the last answers count.
_CHANGED_LEVEL_STD = 0.5  # of the range of losses
_SUSPECT_FORGETTING = 0.05  # of what is known, with each answer

# When an expert that became worse is as good as before, and how far that is believed.
MIN_REGAINED = 30  # answers
REGAINED_MARGIN = 0.05  # of the range of losses, beside one standard deviation of the belief
REGAINED_LEVEL_STD = 0.05

# When an expert failed surprisingly often, and after how many answers that hardly counts.
UNLUCKY_STDS = 2.0
MIN_JUDGED = 100  # answers

_MAX_UNMEASURED = 200  # experts; of more, only those with feedback get what all experts share
_MAX_HASHED = 2_000  # experts whose facts count for a snapshot; of more, only the names do

FULL_RANGE = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that the user should know: `kind` "drift" or "rollback", of one `expert` or None.

    `sequence` and `time` are of the feedback that made it certain. `direction` says how the expert
    changed, `prompt_kind` on which prompts, None for all. `expected` is the loss that was
    expected of the last answer.
    """

    kind: Literal["drift", "rollback"]
    sequence: int
    time: float
    expert: str | None = None
    direction: Direction | Literal["recovered"] | None = None
    prompt_kind: str | None = None
    expected: float | None = None

    @property
    def message(self) -> str:
        """What happened, in a sentence."""
        if self.kind == "rollback":
            return (
                "Learning from feedback has made the router worse than it was without; it starts "
                "again from the frozen router."
            )
        if self.direction == "recovered":
            return f"{self.expert} is as good again as it was before."
        where = "" if self.prompt_kind is None else f" on prompts of the kind {self.prompt_kind!r}"
        return f"{self.expert} has become {self.direction}{where}."

    def values(self) -> dict[str, Any]:
        """Return what an event keeps of it, beside its kind and expert."""
        return {
            "sequence": self.sequence,
            "time": self.time,
            "direction": self.direction,
            "prompt_kind": self.prompt_kind,
            "expected": self.expected,
            "message": self.message,
        }


class Learner:
    """The beliefs about all experts after a part of the log.

    Args:
        perception: The perception before any feedback. It is not changed.
        library: The experts that feedback may be about.
        router: The fingerprint of the perception. Rows of other routers are left out: their
            positions are of another space.
        aliases: Name in the log -> name of the expert, for several providers of one model.
        model: How far each kind of feedback is believed.
    """

    def __init__(
        self,
        perception: LearnedPerception,
        library: Library,
        *,
        router: str | None = None,
        aliases: Mapping[str, str] | None = None,
        model: FeedbackModel | None = None,
    ) -> None:
        self._perception, self._library = perception.replace(), library
        self._library_perception: LibraryPerception | None = None
        self._columns = match_columns(perception.experts, library)
        self.router, self.aliases = router, dict(aliases or {})
        self.model = model or FeedbackModel()
        self._library_names = {
            perception.experts[column]: library.names[i]
            for i, column in enumerate(self._columns.tolist())
            if column >= 0
        }
        self._known = {name: i for i, name in enumerate(perception.experts)}
        self._soft_threshold: SoftThreshold = perception.soft_threshold
        self.state = self._first_state()

    @property
    def link(self) -> Link:
        """What maps abilities to losses."""
        return self._perception.link

    @property
    def loss_range(self) -> tuple[float, float]:
        """The lowest and the highest loss; where they are unknown, those of a score."""
        return self._perception.link.loss_range or FULL_RANGE

    @property
    def sequence(self) -> int:
        """The number of the last row that was read."""
        return self.state.sequence

    def settings_hash(self) -> str:
        """Return a hash of what the state depends on beside the router and the log."""
        experts = self._library if len(self._library) <= _MAX_HASHED else self._library.names
        parts = [
            *map(repr, experts),
            repr(sorted(self.aliases.items())),
            repr(self.model),
            str(STATE_FORMAT),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def copy_empty(self) -> Learner:
        """Return a learner with the same parts that has read nothing."""
        parts = {"router": self.router, "aliases": self.aliases, "model": self.model}
        return Learner(self._perception, self._library, **parts)  # type: ignore[arg-type]  # the values of a dict of unlike ones

    # Learning

    def update(
        self, rows: Sequence[Row], rewind: Callable[[int], LearnerState] | None = None
    ) -> list[Alarm]:
        """Read further rows of the log in their order; return what the user should know.

        Rows that were read before are left out. `rewind` returns the state at an earlier sequence
        number.

        Raises:
            InputError: there is an event "undo" and no `rewind`.
            TrafficError: an event "undo" is damaged.
        """
        alarms: list[Alarm] = []
        for row in rows:
            if row.sequence <= self.sequence:
                continue
            if isinstance(row, LoggedFeedback):
                alarms += self._learn(row)
            elif row.kind == UNDO:
                self.restore(_required(rewind)(_undo_target(row)))
            self.state.sequence = row.sequence
        return alarms

    def restore(self, state: LearnerState) -> None:
        """Continue from a state."""
        self.state = state
        self._soft_threshold = replace(self._soft_threshold, incumbent=state.incumbent)

    def check_state(self, state: LearnerState) -> None:
        """Raise unless a state is one of this learner's perception.

        Raises:
            PersistenceError: it is of another one, or damaged.
        """
        size, n_experts = len(self.state.common.mean), len(self._perception.experts)
        if len(state.common.mean) != size or not state.incumbent < n_experts:
            raise PersistenceError(
                f"a snapshot of what was learned is damaged: it has {len(state.common.mean)} "
                f"abilities and the incumbent {state.incumbent}, expected {size} and below "
                f"{n_experts}"
            )

    def _first_state(self) -> LearnerState:
        """Return what is known before any feedback."""
        prior = self._perception.abilities.prior
        size = len(prior.mean)
        common = Gaussian(np.zeros(size), self.model.common_share * prior.covariance)
        common = _widen_level(common, self.model.common_level_std)
        return LearnerState(common, incumbent=self._perception.soft_threshold.incumbent)

    def _learn(self, row: LoggedFeedback) -> list[Alarm]:
        name, position = self.expert_name(row.expert), self._position(row)
        reason = self._reason_to_skip(row)
        if name is None or position is None or reason is not None:
            reason = reason or ("unknown expert" if name is None else "no position")
            self.state.skipped[reason] += 1
            return []
        best, kind = self._best(position), row.feedback.kind
        expected = self._expected_loss(name, position, best)
        alarms: list[Alarm] = []
        if self.model.is_one_sided(kind):
            expected = self._expected_loss(name, position, best, first=True)
        loss = self.model.measured_loss(row.feedback, expected.mean)
        if not self.model.is_one_sided(kind):
            if self._does_harm(row, loss, position, best):
                self._roll_back()
                return [Alarm("rollback", row.sequence, row.feedback.time)]
            alarms = self._watch(row, name, loss, expected)
        self._update_belief(name, position, loss, self.model.noise_factor(kind), best)
        return alarms + self._end_suspicion(row, name)

    def _reason_to_skip(self, row: LoggedFeedback) -> str | None:
        """Return why a row cannot teach anything, None if it can."""
        decision = row.decision
        if decision is None:
            return "decision is not in the log"
        if self.router is not None and decision.router != self.router:
            return "decision of another router"
        if not np.isfinite(row.feedback.score):
            return "score is not a number"
        return None

    def _position(self, row: LoggedFeedback) -> FloatArray | None:
        position = None if row.decision is None else row.decision.position
        if position is None:
            return None
        row_position = np.asarray(position, np.float64)
        fits = (
            row_position.shape == self.state.common.mean.shape and np.isfinite(row_position).all()
        )
        return row_position if fits else None

    def expert_name(self, name: str) -> str | None:
        """Return the name of an expert in the perception or the library, None if it is in none."""
        name = self.aliases.get(name, name)
        if name in self._library:
            column = int(self._columns[self._library.index(name)])
            own_name = self._library.names[self._library.index(name)]
            return own_name if column < 0 else self._perception.experts[column]
        return name if name in self._known else None

    def _belief(self, name: str) -> Belief:
        """Return the belief about an expert; without feedback it is what the router expects."""
        return self.state.beliefs.get(name) or first_belief(self.prior_ability(name))

    def ability(self, name: str) -> Gaussian:
        """Return the ability of an expert in this traffic."""
        return self._belief(name).ability(self.state.common)

    def prior_ability(self, name: str) -> Gaussian:
        """Return the belief about an expert before any feedback, with the doubt about its level."""
        model, is_known = self.model, name in self._known
        std = model.level_std_known if is_known else model.level_std_unknown
        return _widen_level(self.frozen_ability(name), std)

    def frozen_ability(self, name: str) -> Gaussian:
        """Return the belief of the frozen perception about an expert."""
        perception, column = self._perception, self._known.get(name)
        if column is not None:
            return perception.abilities.ability(column)
        observed = perception.observed_experts.index(name)
        if observed is not None:
            return perception.observed_experts.abilities.ability(observed)
        if self._library_perception is None:
            self._library_perception = perception.for_library(self._library)
        return self._library_perception.prior_ability(name)

    def _update_belief(
        self, name: str, position: FloatArray, loss: float, noise_factor: float, best: FloatArray
    ) -> None:
        """Learn from one loss of an expert."""
        belief, state, link = self._belief(name), self.state, self._perception.link
        if name in state.suspects:
            own = forget(belief.given_common, self._wide_covariance(), _SUSPECT_FORGETTING)
            belief = replace(belief, given_common=own)
        y, _ = belief.predict(state.common, position)
        noise = link.outcome_variance(np.array([[y]]), best, self._perception.abilities.noise)
        target = link.training_targets(np.array([[loss]]), best)
        given_common, loading, state.common = update_belief(
            belief,
            state.common,
            position,
            float(target[0, 0]),
            float(noise[0, 0]) * noise_factor,
        )
        state.beliefs[name] = replace(
            belief,
            given_common=given_common,
            loading=loading,
            position_sum=belief.position_sum + position,
            count=belief.count + 1,
            total_loss=belief.total_loss + loss,
        )
        self._judge_luck(name, state.beliefs[name], best)
        if name in self._known:
            self._update_incumbent()

    def _update_incumbent(self) -> None:
        """Choose the expert again that others have to beat: the best known one over all prompts."""
        abilities, common = self._perception.abilities, self.state.common
        means = abilities.means[:, 0] + common.mean[0]
        variances = abilities.covariances[:, 0, 0].astype(np.float64)
        for column, belief in self._known_beliefs():
            means[column] = belief.mean(common)[0]
            variances[column] = belief.given_common.covariance[0, 0]
        self._soft_threshold = self._soft_threshold.update_incumbent(means, variances)
        self.state.incumbent = self._soft_threshold.incumbent

    def _known_beliefs(self) -> list[tuple[int, Belief]]:
        """Return the beliefs about known experts with feedback, and their columns."""
        beliefs = self.state.beliefs.items()
        return [(self._known[name], one) for name, one in beliefs if name in self._known]

    def level(self, name: str, position: FloatArray | None = None) -> tuple[float, float]:
        """Return the predicted loss of an expert at a position, and its standard deviation.

        Without a position `(k,)` it is that of its feedback, in the mean.
        """
        belief = self._belief(name)
        if position is None:
            average = np.eye(1, len(self.state.common.mean))[0]
            position = belief.position_sum / belief.count if belief.count else average
        expected = self._expected_loss(name, position, self._best(position))
        return expected.mean, expected.std

    def _expected_loss(
        self, name: str, position: FloatArray, best: FloatArray, *, first: bool = False
    ) -> ExpectedLoss:
        """Return what is expected of an expert's loss now, or before any feedback."""
        belief, link = self._belief(name), self._perception.link
        if first:
            y, variance = float(position @ belief.prior.mean), 0.0
        else:
            y, variance = belief.predict(self.state.common, position)
        mean = link.losses(np.array([[y]]), best)
        std = link.std(np.array([[y]]), np.sqrt(np.array([[variance]])), best)
        lowest, highest = self.loss_range
        return ExpectedLoss(float(mean[0, 0]), float(std[0, 0]), lowest, highest)

    def _best(self, position: FloatArray) -> FloatArray:
        """Return the linear prediction of the best known expert, `(1, 1)`."""
        common = self.state.common
        # Not a matrix product, which may sum in another order with another number of threads.
        y = (self._perception.abilities.means * position).sum(axis=1) + position @ common.mean
        for column, belief in self._known_beliefs():
            y[column], _ = belief.predict(common, position)
        return self._soft_threshold.reference_predictions(y[None]).best

    # Changes

    def _watch(
        self, row: LoggedFeedback, name: str, loss: float, expected: ExpectedLoss
    ) -> list[Alarm]:
        """Test whether an expert has changed; if so, widen the belief about it."""
        kind = None if row.decision is None else row.decision.kind
        change = self.state.drift.update(name, kind, loss, expected)
        if change is None:
            return []
        direction, kind = change
        self._widen(name, direction)
        time = row.feedback.time
        return [Alarm("drift", row.sequence, time, name, direction, kind, expected.mean)]

    def _widen(self, name: str, direction: Direction) -> None:
        """Forget how well an expert was known, and remember that it became worse."""
        belief, state = self._belief(name), self.state
        if direction == "better":
            state.suspects.pop(name, None)
        elif name not in state.suspects:
            state.suspects[name] = Suspect(belief)
        own = belief.given_common
        wide = Gaussian(own.mean, own.covariance + self._wide_covariance())
        state.beliefs[name] = replace(belief, given_common=wide)

    def _wide_covariance(self) -> FloatArray:
        """Return the covariance of an ability of which nothing is known any more, `(k, k)`."""
        prior = self._perception.abilities.prior
        lowest, highest = self.loss_range
        return _widen_level(prior, _CHANGED_LEVEL_STD * (highest - lowest)).covariance

    def _end_suspicion(self, row: LoggedFeedback, name: str) -> list[Alarm]:
        """Trust an expert again that is about as good as it was before it became worse.

        What was known of it then is known again, with some doubt about its level.
        """
        state, suspect = self.state, self.state.suspects.get(name)
        if suspect is None:
            return []
        state.suspects[name] = replace(suspect, answers=suspect.answers + 1)
        belief, before = self._belief(name), suspect.before
        middle = belief.position_sum / belief.count
        lowest, highest = self.loss_range
        y, variance = belief.predict(state.common, middle)
        limit = before.predict(state.common, middle)[0] + REGAINED_MARGIN * (highest - lowest)
        is_well = y <= limit + variance**0.5
        if suspect.answers + 1 < MIN_REGAINED or not is_well:
            return []
        del state.suspects[name]
        state.drift.forget(name)
        own = _widen_level(before.given_common, REGAINED_LEVEL_STD)
        state.beliefs[name] = replace(belief, given_common=own, loading=before.loading)
        return [Alarm("drift", row.sequence, row.feedback.time, name, "recovered")]

    def _does_harm(
        self, row: LoggedFeedback, loss: float, position: FloatArray, best: FloatArray
    ) -> bool:
        decision = row.decision
        if decision is None or decision.frozen_choice is None or row.expert != decision.chosen:
            return False  # propensities say nothing of an expert that answered in place of another
        frozen_name = self.expert_name(decision.frozen_choice)
        if frozen_name is None:
            return False
        frozen_loss = self._expected_loss(frozen_name, position, best).mean
        return self.state.guard.update(decision, row.expert, loss, frozen_loss)

    def _roll_back(self) -> None:
        """Start again from the frozen router."""
        old, state = self.state, self._first_state()
        state.sequence, state.skipped = old.sequence, old.skipped
        state.n_rollbacks = old.n_rollbacks + 1
        self.restore(state)

    def probes(self, frozen_choice: str | None, choice: str) -> dict[str, float]:
        """Return which experts should get a share of decisions although they look worse.

        An expert that became worse is asked again and again: otherwise nobody would see that it is
        well. If there is none, one that failed surprisingly often in few answers gets a second
        chance, until it has enough of them. Where learning has led away from the `frozen_choice`,
        that one is asked now and then, so that the guard can judge. In all it is at most two
        shares.
        """
        # Copies, because another thread may learn meanwhile.
        in_doubt = list(self.state.suspects) or sorted(self.state.unlucky)
        names = [self._library_names.get(name, name) for name in in_doubt]
        names = [name for name in names if name != choice]
        shares = {name: PROBE_SHARE / len(names) for name in names}
        if frozen_choice is not None and frozen_choice not in (choice, *names):
            shares[frozen_choice] = PROBE_SHARE
        return shares

    def _judge_luck(self, name: str, belief: Belief, best: FloatArray) -> None:
        """Remember an expert that failed surprisingly often, until it has enough answers."""
        unlucky = self.state.unlucky
        if belief.count >= MIN_JUDGED:
            unlucky.discard(name)
            return
        position, link = belief.position_sum / belief.count, self.link
        y = np.array([[position @ (belief.prior.mean + self.state.common.mean)]])
        noise = link.outcome_variance(y, best, self._perception.abilities.noise)
        error = (float(noise[0, 0]) / belief.count) ** 0.5
        surprise = belief.total_loss / belief.count - float(link.losses(y, best)[0, 0])
        if surprise > UNLUCKY_STDS * error:
            unlucky.add(name)

    # What was learned

    @property
    def has_learned(self) -> bool:
        """Whether any belief differs from the frozen router's."""
        return any(belief.count for belief in list(self.state.beliefs.values()))

    def apply(self, perception: LearnedPerception) -> None:
        """Put the beliefs into a live perception, in place; other threads may predict meanwhile."""
        frozen = self._perception.beliefs
        abilities, observed = frozen.abilities, frozen.observed_experts
        if self.has_learned:
            means = (abilities.means + self.state.common.mean).astype(abilities.means.dtype)
            covariances = abilities.covariances.copy()
            for column, _ in self._known_beliefs():
                ability = self.ability(self._perception.experts[column])
                means[column], covariances[column] = ability.mean, ability.covariance
            abilities = replace(abilities, means=means, covariances=covariances)
            names = self._unmeasured_names()
            observed = ObservedExperts(names, self._joint_abilities(names, abilities))
        perception.replace_beliefs(Beliefs(abilities, self._soft_threshold, observed))

    def _joint_abilities(self, names: Sequence[str], known: Abilities) -> Abilities:
        """Return the abilities of some experts, in the precision of the `known` ones."""
        means, covariances = np.empty((len(names), *known.means.shape[1:])), []
        for i, name in enumerate(names):
            ability = self.ability(name)
            means[i] = ability.mean
            covariances.append(ability.covariance)
        shape = (len(names), *known.covariances.shape[1:])
        joined = np.array(covariances, known.covariances.dtype).reshape(shape)
        return replace(known, means=means.astype(known.means.dtype), covariances=joined)

    def _unmeasured_names(self) -> tuple[str, ...]:
        """Return the unmeasured experts whose abilities differ from what the perception predicts.

        The common difference is of all of them. Of very many, only those with feedback have it.
        """
        unmeasured = [name for name in self.state.beliefs if name not in self._known]
        others = self._library.names if len(self._library) <= _MAX_UNMEASURED else ()
        columns = self._columns
        unmeasured += [name for i, name in enumerate(others) if columns[i] < 0]
        return tuple(dict.fromkeys([*self._perception.observed_experts.names, *unmeasured]))


def _required(rewind: Callable[[int], LearnerState] | None) -> Callable[[int], LearnerState]:
    if rewind is None:
        raise InputError("an event 'undo' in the log needs what was known before: pass rewind")
    return rewind


def _undo_target(event: Event) -> int:
    """Return the number of the row to go back to, which comes before the event itself."""
    target = event.values.get("sequence")
    if not isinstance(target, int) or not target < event.sequence:
        raise TrafficError(
            f"The row of the event {event.id!r:.60} in the log of traffic is damaged: it undoes "
            "what follows it. Delete it from the table tryage_events."
        )
    return target


def _widen_level(ability: Gaussian, std: float) -> Gaussian:
    """Return an ability whose mean loss over all prompts is less certain by `std`."""
    mean = ability.mean.astype(np.float64)
    covariance = ability.covariance.astype(np.float64)
    covariance[0, 0] += std * std
    return Gaussian(mean, covariance)
