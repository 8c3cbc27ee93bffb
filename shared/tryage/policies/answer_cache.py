"""AnswerCache: an answer that is at hand is an expert of known quality that costs nothing."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tryage.core.choice import NO_EXPERT
from tryage.core.objective import ANSWER_VALUE, LATENCY_VALUE
from tryage.core.policy import Policy, PolicyChoice, PolicyStage
from tryage.core.policy_change import CachedAnswer, CallPlan
from tryage.core.request_batch import ALL
from tryage.core.request_key import RequestKey
from tryage.core.validation import check_bools, check_number
from tryage.errors import InputError
from tryage.locks import ForkSafeLock
from tryage.policies.answer_store import AnswerStore, expected_saving
from tryage.policies.composite import CompositeRouter
from tryage.policies.similar_requests import SimilarRequests, VectorIndex, may_be_same, unit_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tryage.core.arrays import Float64Array
    from tryage.core.decision import Decision
    from tryage.core.policy import PolicyBatch
    from tryage.core.request import RoutingRequest
    from tryage.core.simulated_answer import Ask, SimulatedAnswer
    from tryage.policies.answer_store import Priority
    from tryage.router import Router

_FREE_TERMS = frozenset({"cost", "latency", ANSWER_VALUE, LATENCY_VALUE})
"""The terms of the routing loss that an answer from the cache does not have."""

_OWNER_KEYS = ("user_id", "thread_id", "session_id")

_UNITS = ((86_400, "days"), (3_600, "hours"), (60, "minutes"), (1, "seconds"))


class CacheKey(NamedTuple):
    """Where the answers to a request are: `owner` sees them, "" is all callers."""

    owner: str
    request: RequestKey

    @property
    def group(self) -> tuple[str, str]:
        """Requests of a group differ in the words of the last message alone."""
        return self.owner, self.request.rest


class AnswerCache(Policy):
    """Keeps answers, and chooses the expert of one where asking another expert gains less.

    A cached answer has the predicted loss of the expert that gave it, and no cost and no latency.
    It is returned if no expert is better by more than it costs under the preferences. Otherwise the
    better expert is asked, and its answer is kept, too. (Zhu et al. 2023, "Towards Optimal Caching
    and Model Selection for Large Model Inference".)

    A request is the same only if everything is that a model gets: all messages, the tools, the
    schema, the settings. Answers are never shared by users unless `shared` says so: those of a
    request belong to its `user_id`, or else `thread_id` or `session_id`, and without any of them
    nothing is kept. Errors, refused answers and those that were cut off are not kept. What changes
    with time, such as the weather, needs a short `max_age`.

    The answers are in the memory of this process. A copy or a pickle is empty. `hits` is how many
    answers were used again, and `saved` the USD that these had cost, where that is known.

    Args:
        size: The number of requests whose answers are kept.
        max_age: Seconds after which an answer is no longer used.
        shared: Whether an answer may be given to other users. It can hold what they asked.
        priority: Which answers are kept if there is not enough room: `expected_saving`, `last_use`,
            `frequency`, or a function of yours.
        similar: Which requests count as the same although their words differ; None: only equal
            ones do.
        clock: Returns seconds that never go back.

    Raises:
        InputError: an argument is of another type, or out of range.
    """

    stage = PolicyStage.CACHE

    def __init__(  # noqa: PLR0913 - independent settings with defaults
        self,
        size: int = 1_000,
        *,
        max_age: float = 86_400.0,
        shared: bool = False,
        priority: Priority = expected_saving,
        similar: SimilarRequests | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_bools(shared=shared)
        if similar is not None and not isinstance(similar, SimilarRequests):
            raise InputError(
                f"similar is a {type(similar).__name__}; expected SimilarRequests, such as "
                "SimilarRequests.calibrate(encode, pairs, labels), or None."
            )
        self.size, self.max_age = size, check_number("max_age", max_age, 1e-3)
        self.shared, self.priority, self.similar, self._clock = shared, priority, similar, clock
        self._store = AnswerStore(size, priority)
        self._texts: dict[CacheKey, str] = {}
        self._vectors: dict[tuple[str, str], VectorIndex] = {}
        self._costs = _Mean()
        self._lock = ForkSafeLock()
        self.hits = 0
        self.saved = 0.0

    def __len__(self) -> int:
        """Return the number of requests that have answers."""
        return len(self._store)

    # Deciding ------------------------------------------------------------------------------

    def choose(self, batch: PolicyBatch) -> PolicyChoice | None:
        """Choose the expert of a cached answer where no other gains more than it costs."""
        found = [
            {} if chosen == NO_EXPERT else self._find(request)
            for request, chosen in zip(batch.requests, batch.choice.tolist(), strict=True)
        ]
        if not any(found):
            return None
        experts, n = batch.choice.copy(), len(found)
        reasons: list[str | None] = [None] * n
        calls: list[CallPlan | None] = [None] * n
        free, totals = free_totals(batch), batch.totals
        for i, answers in enumerate(found):
            answer = _best_answer(batch, i, answers, free)
            if answer is not None:
                expert = batch.library.index(answer.expert)
                if free[i, expert] <= totals[i, experts[i]]:
                    experts[i], reasons[i] = expert, self._reason(answer)
                    calls[i] = CallPlan(answer=answer)
        is_final = np.array([call is not None for call in calls])
        if not is_final.any():
            return None
        return PolicyChoice(experts, reasons, calls, is_final=is_final)

    def _find(self, request: RoutingRequest) -> dict[str, CachedAnswer]:
        """Return the answers at hand to a request, by their experts."""
        context = request.context
        keys = {} if context is None else context.keys
        key = self.key(request.text, keys, None if context is None else context.request_key)
        if key is None or not len(self):
            return {}
        with self._lock:
            answers = self._fresh(key)
        return answers or self._find_similar(key, request.text)

    def _find_similar(self, key: CacheKey, text: str) -> dict[str, CachedAnswer]:
        """Return the answers to the most similar request of the same group."""
        if self.similar is None or key.group not in self._vectors:
            return {}
        vector = self._vector(self.similar, text)
        with self._lock:
            index = self._vectors.get(key.group)
            near = [] if index is None else index.nearest(vector, self.similar.threshold)
            for other, cosine in near:
                answers = self._fresh(other)  # type: ignore[arg-type]  # the index has our keys
                if answers and may_be_same(text, self._texts.get(other, "")):  # type: ignore[call-overload]  # as above
                    return {name: replace(one, similarity=cosine) for name, one in answers.items()}
        return {}

    def _fresh(self, key: CacheKey) -> dict[str, CachedAnswer]:
        """Return the answers under a key that are not too old; remove the others."""
        oldest = self._clock() - self.max_age
        answers = self._store.get(key)
        fresh = {name: one for name, one in answers.items() if one.time >= oldest}
        if answers and not fresh:
            self._discard(key)
        return fresh

    def _reason(self, answer: CachedAnswer) -> str:
        what = "the same request"
        if answer.similarity < 1:
            what = f"a similar request (similarity {answer.similarity:.3f})"
        age = _duration(max(self._clock() - answer.time, 0.0))
        return f"{answer.expert} answered {what} {age} ago, and this answer costs nothing"

    # Keeping -------------------------------------------------------------------------------

    def key(
        self, text: str, keys: Mapping[str, str], request_key: RequestKey | None = None
    ) -> CacheKey | None:
        """Return where the answers to a request are; None if they are never kept.

        `text` is all that is sent if `request_key` is None. `keys` say whose request it is.
        """
        owner = "" if self.shared else _owner(keys)
        request = RequestKey.of_prompt(text) if request_key is None else request_key
        return None if owner is None or not request.whole else CacheKey(owner, request)

    def add(self, decision: Decision, answer: Any, *, cost: float | None = None) -> None:  # noqa: ANN401 - whatever the caller calls an answer
        """Keep the answer of the chosen expert to a prompt that was sent alone.

        `cost` are the USD that it took, by default what the decision expects. ChatTryage and
        TryageLLM do this themselves.
        """
        key = self.key(decision.prompt, decision.keys)
        if cost is None and decision.chosen is not None:
            cost = decision.chosen.cost
        if key is not None:
            self.put(key, decision.prompt, decision.expert.name, answer, cost=cost)

    def put(
        self,
        key: CacheKey,
        text: str,
        expert: str,
        answer: Any,  # noqa: ANN401 - whatever the caller calls an answer
        *,
        cost: float | None = None,
    ) -> None:
        """Keep the answer of an expert; `text` is the user's last message, `cost` in USD."""
        vector = None if self.similar is None else self._vector(self.similar, text)
        cached = CachedAnswer(expert, answer, cost, self._clock(), key=key)
        with self._lock:
            self._store.count(key)
            displaced = self._store.put(key, cached, self._costs.add(cost))
            for other in displaced or ():
                self._forget(other)  # type: ignore[arg-type]  # the store has our keys
            if displaced is not None and vector is not None:
                self._texts[key] = text
                self._vectors.setdefault(key.group, VectorIndex()).add(key, vector)

    def record(self, decision: Decision) -> None:
        """Count a hit."""
        answer = None if decision.calls is None else decision.calls.answer
        if answer is None or not isinstance(answer.key, CacheKey):
            return
        with self._lock:
            self.hits += 1
            self.saved += answer.cost or 0.0
            self._store.count(answer.key)

    def serve(self, decision: Decision, expert: str, ask: Ask) -> SimulatedAnswer:
        """Answer from the cache for nothing, or keep the measured answer."""
        cached = None if decision.calls is None else decision.calls.answer
        if cached is not None:
            simulated: SimulatedAnswer = cached.answer
            return replace(simulated, cost=0.0, latency=0.0, called=(), outcome="cached")
        answer = ask(expert)
        key = self.key(decision.prompt, decision.keys)
        if key is not None:
            self.put(key, decision.prompt, answer.expert, answer, cost=answer.cost)
        return answer

    def set_clock(self, clock: Callable[[], float]) -> None:
        """Read the age of answers by another clock."""
        self._clock = clock

    def discard(self, answer: CachedAnswer) -> None:
        """Remove an answer, such as one that a user did not like."""
        with self._lock:
            if isinstance(answer.key, CacheKey):
                self._discard(answer.key)

    def clear(self, key: str | None = None) -> None:
        """Remove all answers, or those that belong to one user or thread."""
        owners = None if key is None else {f"{name}={key}" for name in _OWNER_KEYS}
        with self._lock:
            for one in list(self._store):
                if owners is None or one.owner in owners:  # type: ignore[attr-defined]  # our keys
                    self._discard(one)  # type: ignore[arg-type]  # the store has our keys

    def _discard(self, key: CacheKey) -> None:
        self._store.discard(key)
        self._forget(key)

    def _forget(self, key: CacheKey) -> None:
        """Remove what is kept of a request beside its answers."""
        self._texts.pop(key, None)
        index = self._vectors.get(key.group)
        if index is not None:
            index.discard(key)
            if not len(index):
                del self._vectors[key.group]

    @staticmethod
    def _vector(similar: SimilarRequests, text: str) -> Any:  # noqa: ANN401 - a Float32Array
        return unit_rows(similar.encode([text]))[0]

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the settings without the answers."""
        settings = {
            "max_age": self.max_age,
            "shared": self.shared,
            "priority": self.priority,
            "similar": self.similar,
            "clock": self._clock,
        }
        return _make, (type(self), self.size, settings)

    def __repr__(self) -> str:
        """Show how full it is, and nothing of the answers."""
        return f"AnswerCache({len(self)} of {self.size} requests, {self.hits} hits)"


def answer_caches(router: Router) -> list[AnswerCache]:
    """Return the caches among the policies of a router, or of the routers that it is made of."""
    routers = router.routers.values() if isinstance(router, CompositeRouter) else ()
    policies = () if router.policy is None else router.policy.policies()
    own = [one for one in policies if isinstance(one, AnswerCache)]
    caches = [*own, *(cache for one in routers for cache in answer_caches(one))]
    return list({id(cache): cache for cache in caches}.values())


def free_totals(batch: PolicyBatch) -> Float64Array:
    """Return the totals `(batch, n_experts)` of answers that cost neither money nor time."""
    routing_loss = batch.scored.routing_loss
    totals = np.array(routing_loss.predicted_losses, np.float64)
    for name, term in routing_loss.terms.items():
        if name not in _FREE_TERMS:
            totals += term.weight * term.values(ALL)
    return totals


def _best_answer(
    batch: PolicyBatch, i: int, answers: Mapping[str, CachedAnswer], free: Float64Array
) -> CachedAnswer | None:
    """Return the answer of the lowest total for prompt `i` among those of eligible experts."""
    known = [one for one in answers.values() if one.expert in batch.library]
    positions = {one.expert: batch.library.index(one.expert) for one in known}
    allowed = [one for one in known if batch.eligible[i, positions[one.expert]]]
    return min(allowed, key=lambda one: free[i, positions[one.expert]], default=None)


def _owner(keys: Mapping[str, str]) -> str | None:
    """Return whose request it is, None if nothing says so."""
    name = next((name for name in _OWNER_KEYS if keys.get(name)), None)
    return None if name is None else f"{name}={keys[name]}"


def _duration(seconds: float) -> str:
    length, unit = next((pair for pair in _UNITS if seconds >= pair[0]), _UNITS[-1])
    return f"{seconds / length:.0f} {unit}"


def _make(kind: type[AnswerCache], size: int, settings: dict[str, Any]) -> AnswerCache:
    return kind(size, **settings)


class _Mean:
    """The mean of the known costs so far, which stands for those that are unknown."""

    def __init__(self) -> None:
        self._sum, self._n = 0.0, 0

    def add(self, cost: float | None) -> float:
        """Return a cost, if it is unknown the mean; 1 if none is known."""
        if cost is None:
            return self._sum / self._n if self._n else 1.0
        self._sum, self._n = self._sum + cost, self._n + 1
        return cost
