"""What an answer costs in USD: expected, billed, and what other models would have cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tryage.chat.plan import COST_KEY
from tryage.chat.savings import AnswerCosts
from tryage.core.constraints import REFERENCE_OUTPUT_TOKENS
from tryage.core.policy_change import Verdict
from tryage.core.usage import NO_TOKENS, TokenUsage
from tryage.errors import InvalidAnswerError
from tryage.perception.wrappers import AlignedPerception

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tryage.chat.plan import RoutingRecord
    from tryage.chat.savings import SavingsCounter
    from tryage.core.arrays import BoolArray, Float64Array
    from tryage.core.library import Library
    from tryage.router import Router

CACHE_WRITE_PRICE_KEY = "cache_write_price"
"""Where the metadata of an expert may hold its price of tokens written to the cache."""

# Times the price of input tokens, where an expert has no price of its own for them: what Anthropic
# and OpenAI ask.
_CACHE_WRITE_FACTOR, _LONG_CACHE_WRITE_FACTOR = 1.25, 2.0


class PoolPrices:
    """What tokens cost at every expert of a router, in USD.

    `best_single` names the expert that one would choose for all prompts: that with the lowest
    predicted loss on average over the perception's typical prompts, among those that meet the
    router's own requirements. None if the perception has no typical prompts, or cannot predict.

    `are_known` says whether any price is known.

    Cached tokens cost as much as others where an expert has no price for them. Tokens written to a
    cache cost 1.25 times the input, unless the expert's metadata has a `cache_write_price`, and
    twice the input if they stay for an hour.
    """

    def __init__(self, router: Router) -> None:
        self._library = router.library
        rates, is_allowed = _rates(router.library), _allowed_experts(router)
        self._rates = dict(zip(router.library.names, map(tuple, rates.tolist()), strict=True))
        self._typical_tokens = _typical_tokens(router.library)
        self.best_single = _best_single(router, is_allowed)
        self.are_known = not bool(np.isnan(rates).all())
        self._highest_rates = [tuple(row) for row in _undominated(rates[is_allowed]).tolist()]

    def expected_cost(self, name: str, prompt_tokens: float) -> float | None:
        """Return what an answer of the expert's typical length costs, None if it is unknown."""
        answer_tokens = self._typical_tokens.get(name, REFERENCE_OUTPUT_TOKENS)
        return self.cost(name, TokenUsage(prompt_tokens, answer_tokens))

    def cost(self, name: str | None, usage: TokenUsage | None) -> float | None:
        """Return what tokens cost at one expert, None if its prices or the tokens are unknown."""
        if usage is None or usage.has_other_rates or name is None:
            return None
        if usage == NO_TOKENS:
            return 0.0  # also where the prices are unknown
        rates = self._rates.get(name)
        if rates is None:
            if name not in self._library:
                return None
            rates = self._rates[self._library[name].name]  # the name was an alias
        usd = _cost_at(rates, usage.by_rate)
        return None if usd != usd else usd  # noqa: PLR0124 - NaN is an unknown price

    def compare(self, name: str | None, usage: TokenUsage | None) -> AnswerCosts:
        """Return what tokens cost at an expert, at the best single one and at the dearest.

        The dearest is the one among those whose prices are known and that meet the router's own
        requirements.
        """
        if usage is None or usage.has_other_rates:
            return AnswerCosts(None)
        tokens = usage.by_rate
        return AnswerCosts(
            self.cost(name, usage),
            self.cost(self.best_single, usage),
            max((_cost_at(rates, tokens) for rates in self._highest_rates), default=None),
        )


_Rates: TypeAlias = tuple[float, ...]
"""USD per token, in the order of `TokenUsage.by_rate`."""


def _cost_at(rates: _Rates, tokens: _Rates) -> float:
    """Return what tokens cost; NaN if a price is unknown."""
    # Written out: these are five products, and numpy would take ten times as long.
    return (
        rates[0] * tokens[0]
        + rates[1] * tokens[1]
        + rates[2] * tokens[2]
        + rates[3] * tokens[3]
        + rates[4] * tokens[4]
    )


def _rates(library: Library) -> Float64Array:
    """Return the USD per token of each expert in the order of `TokenUsage.by_rate`, `(n, 5)`."""
    inputs, outputs = library.column("input_price"), library.column("output_price")
    cached = library.column("cached_input_price")
    writes = np.array([_cache_write_price(metadata) for metadata in library.metadata])
    columns = [
        inputs,
        np.where(np.isnan(cached), inputs, cached),
        np.where(np.isnan(writes), _CACHE_WRITE_FACTOR * inputs, writes),
        _LONG_CACHE_WRITE_FACTOR * inputs,
        outputs,
    ]
    return np.column_stack(columns) / 1e6


def _typical_tokens(library: Library) -> dict[str, float]:
    """Return the length of a typical answer by the names of the experts that have one."""
    tokens = library.column("output_tokens")
    return {library.names[i]: float(tokens[i]) for i in np.flatnonzero(~np.isnan(tokens)).tolist()}


def _cache_write_price(metadata: Any) -> float:  # noqa: ANN401 - a mapping, or None without metadata
    price = (metadata or {}).get(CACHE_WRITE_PRICE_KEY)
    return float(price) if isinstance(price, (int, float)) else float("nan")


def _undominated(rates: Float64Array) -> Float64Array:
    """Return the rows that may be the dearest for some tokens: no other row is as high in all."""
    rates = rates[~np.isnan(rates).any(axis=1)]
    highest = []
    while len(rates):
        row = rates[rates.sum(axis=1).argmax()]
        highest.append(row)
        rates = rates[(rates > row).any(axis=1)]
    return np.array(highest).reshape(-1, rates.shape[1])


def _allowed_experts(router: Router) -> BoolArray:
    """Return which experts meet the router's own requirements, `(n,)`; not that on the cost."""
    allowed: BoolArray = np.ones(len(router.library), np.bool_)
    for requirement in router.preferences.requirements:
        if requirement.field != "cost":
            allowed &= requirement.satisfied(router.library)
    return allowed


def _best_single(router: Router, allowed: BoolArray) -> str | None:
    """Return the expert that predicts best on average over typical prompts, None if unknown."""
    prompts = router.perception.typical_prompts()
    if not prompts or not allowed.any():
        return None
    try:
        losses = AlignedPerception(router.perception, router.library).predict(prompts).losses
    except (RuntimeError, ArithmeticError, MemoryError):
        return None  # what a router calls a failure of its perception, too
    means = np.where(allowed, losses.mean(axis=0), np.nan)
    return None if np.isnan(means).all() else router.library.names[int(np.nanargmin(means))]


# One call --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StepCosts:
    """What one step of a cascade cost, and what became of its answer.

    `usage` are the tokens of the answer, `answer` what they cost in USD, and `others` what further
    samples and the check of the answer cost; None where unknown.
    """

    usage: TokenUsage | None
    answer: float | None
    others: float | None
    seconds: float
    verdict: Verdict

    @property
    def billed(self) -> float | None:
        """All that the step cost in USD."""
        return total_cost([self.answer, self.others])

    def describe(self, name: str) -> dict[str, Any]:
        """Return the step of an expert for a record."""
        return {
            "model": name,
            "billed": self.billed,
            "seconds": round(self.seconds, 3),
            "kept": self.verdict.is_kept,
            "reason": self.verdict.reason,
        }


class CallCosts:
    """The costs of one call: of the attempts that have failed, of the steps, and of the answer.

    Args:
        prices: The prices of the experts.
        counter: Adds up the costs of all calls.
        read_usage: Returns the tokens of an answer, None if they are unknown.
        on_settled: Is told the record and the tokens of an answer when its costs are in the record.
        seconds: Returns how long the expert is asked that was asked last.
        has_steps: Whether the call is a cascade, whose steps are in the record.
    """

    def __init__(  # noqa: PLR0913 - independent parts with defaults
        self,
        prices: PoolPrices,
        counter: SavingsCounter,
        read_usage: Callable[[Any], TokenUsage | None],
        on_settled: Callable[[RoutingRecord, TokenUsage | None], object] | None = None,
        *,
        seconds: Callable[[], float] = float,
        has_steps: bool = False,
    ) -> None:
        self._prices, self._counter, self._read_usage = prices, counter, read_usage
        self._on_settled = on_settled
        self._seconds, self._has_steps = seconds, has_steps
        self._steps: dict[str, StepCosts] = {}
        self._failed: dict[str, float | None] = {}
        self._unused: dict[str, Any] | None = None
        self._is_counted = False

    def add_failure(self, name: str, error: Exception) -> None:
        """Note what an attempt cost that has failed.

        An answer that was refused is billed. Of an attempt that took too long it is unknown
        whether it is. Any other error stands for an answer that was not given, and not billed.
        """
        if isinstance(error, InvalidAnswerError):
            self._failed[name] = self._prices.cost(name, self._read_usage(error.answer))
        elif _took_too_long(error):
            self._failed[name] = None

    def add_unused(self, name: str, usage: TokenUsage | None, expected: float | None) -> None:
        """Note what a call costs whose answer came second, and is not used.

        It is billed by its tokens, or by what it was expected to cost if they are unknown.
        """
        usd = self._prices.cost(name, usage)
        is_estimate = usd is None
        self._unused = {
            "model": name,
            "usd": expected if is_estimate else usd,
            "is_estimate": is_estimate,
        }

    def answer_cost(self, name: str, answer: object) -> float | None:
        """Return what a whole answer of an expert cost."""
        return self._prices.cost(name, self._read_usage(answer))

    def add_step(
        self, name: str, answer: object, others: Sequence[float | None], verdict: Verdict
    ) -> None:
        """Note what became of the answer of a step; `others` is what was billed beside it."""
        # The tokens of a stream that is kept come with its end.
        usage = None if verdict.is_kept else self._read_usage(answer)
        cost, other_costs = self._prices.cost(name, usage), total_cost(others)
        self._steps[name] = StepCosts(usage, cost, other_costs, self._seconds(), verdict)

    def write_steps(self, record: RoutingRecord) -> None:
        """Write into a record what the steps so far cost."""
        if self._steps:
            record[COST_KEY]["steps"] = [one.describe(name) for name, one in self._steps.items()]

    def settle(self, record: RoutingRecord, answer: object) -> None:
        """Write into the record what a whole answer cost, and count it."""
        self.settle_usage(record, self._read_usage(answer))

    def settle_usage(self, record: RoutingRecord, usage: TokenUsage | None) -> None:
        """Write into the record what an answer of so many tokens cost, and count it.

        Only the first time: a stream that has reported its tokens may end again.
        """
        if self._is_counted:
            return
        self._is_counted = True
        name = record["model"]
        earlier = self._steps.get(name)
        if earlier is not None and not earlier.verdict.is_kept:  # no later step has answered
            usage = earlier.usage
        costs = self._prices.compare(name, usage)
        entry = record.setdefault(COST_KEY, {"expected": None})
        self._failed.pop(name, None)  # its refused answer is returned all the same
        spent = [costs.billed, *self._failed.values()]
        if self._has_steps:
            self._steps[name] = self._last_step(earlier, usage, costs.billed)
            spent = [*(one.billed for one in self._steps.values()), *self._failed.values()]
            self.write_steps(record)
        costs = costs._replace(billed=total_cost(spent))
        if self._failed:
            entry["failed"] = self._failed
        if self._unused is not None:
            costs = costs._replace(billed=total_cost([costs.billed, self._unused["usd"]]))
            entry["unused"] = self._unused
        entry["billed"], entry["best_single"], entry["dearest"] = costs
        self._counter.add(costs)
        if self._on_settled is not None:
            self._on_settled(record, usage)

    def _last_step(
        self, earlier: StepCosts | None, usage: TokenUsage | None, cost: float | None
    ) -> StepCosts:
        """Return the step whose answer is returned; `earlier` is what is known of it."""
        if earlier is None:
            return StepCosts(usage, cost, 0.0, self._seconds(), Verdict(True, "the last step"))
        if earlier.verdict.is_kept:
            return replace(earlier, usage=usage, answer=cost, seconds=self._seconds())
        reason = f"{earlier.verdict.reason}; no later step has answered"
        return replace(earlier, verdict=Verdict(True, reason, earlier.verdict.cost))

    def give_up(self) -> float | None:
        """Count what the attempts cost of a call without any answer, and return that in USD."""
        steps = [one.billed for one in self._steps.values()]
        usd = total_cost([*self._failed.values(), *steps])
        if (self._failed or steps) and not self._is_counted:
            self._is_counted = True
            self._counter.add(AnswerCosts(usd, 0.0, 0.0), is_answer=False)
        return usd


def _took_too_long(error: Exception) -> bool:
    """Tell whether a client or Tryage itself has stopped waiting for an answer."""
    names = [kind.__name__ for kind in type(error).__mro__]
    return any("Timeout" in name and "Connect" not in name for name in names)


def total_cost(costs: Iterable[float | None]) -> float | None:
    """Return the sum, None if a part is unknown."""
    total = 0.0
    for usd in costs:
        if usd is None:
            return None
        total += usd
    return total
