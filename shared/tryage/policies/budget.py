"""Budget: an average, or a purse for a day, a week or a month, kept by a price that is learned."""

from __future__ import annotations

import copy
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.choice import NO_EXPERT
from tryage.core.policy import Policy, PolicyChoice, PolicyStage
from tryage.core.validation import check_bools, check_integer, check_number
from tryage.errors import BudgetExceededError, InputError, TrafficError
from tryage.locks import ForkSafeLock
from tryage.perception.typical_prompts import TYPICAL_PROMPTS
from tryage.policies.budget_settings import check_hard, check_limit, check_names
from tryage.policies.inputs import check_router
from tryage.policies.pacing import (
    PRICES,
    CostForecast,
    Pace,
    costs_at_prices,
    forecast_costs,
    remaining_limit,
)
from tryage.policies.periods import ENDLESS, Period, parse_zone, period_at
from tryage.traffic.rows import stored_key
from tryage.traffic.spending import Bill, Charge, Purse, Spending, SpendingLedger, charged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import Self

    from tryage.core.arrays import Float64Array
    from tryage.core.decision import Decision
    from tryage.core.library import Library
    from tryage.core.policy import PolicyBatch
    from tryage.core.request import RoutingRequest
    from tryage.policies.periods import PeriodName
    from tryage.router import Router
    from tryage.traffic.traffic import Traffic

_MAX_PENDING = 10_000  # decisions that are not yet acted on, of which the costs are remembered
_PERIOD_WORDS: Mapping[PeriodName, str] = {
    "day": "today's",
    "week": "this week's",
    "month": "this month's",
}
_MAX_HISTORY = 300.0  # requests of the period before that count in the forecast


@dataclass(frozen=True)
class BudgetStatus:
    """How a budget stands.

    `spent` is in USD, with the requests in flight, which `reserved` alone counts. `limit` is the
    USD of the period, or those of one request where an average is kept. `price` is what a dollar
    counts now, in loss. `resets` is when the next period starts (UTC), None if none does.
    """

    spent: float
    reserved: float
    requests: int
    limit: float
    price: float
    resets: datetime | None


class Budget(Policy):
    """Keeps what requests cost within a limit, and spends it where it gains most.

    A dollar gets a price, in loss: a request goes to the expert with the lowest total plus price
    times USD, if that is cheaper than the one chosen before. The price follows what is spent, what
    is billed, and what is forecast of later requests (`tryage.policies.pacing`). The budget is a
    limit: it never makes a request dearer.

    With a log (`Router(traffic=)`) all processes share a budget, and a restart changes nothing.
    Each process knows its own requests at once and those of others after about a second; a hard
    purse reads the log before each decision. Without a log each process has a budget of its own,
    and a pickle starts anew. A request is paid from the period in which it is decided. Until
    `Router.settle` reports the bill, which chat models do by themselves, it counts as expected, and
    so does one that is never billed.

    Args:
        usd_per_request: The average of all requests.
        usd_per_day: The limit of each day; likewise a week, from Monday, and a month.
        usd_per_week: The limit of each week.
        usd_per_month: The limit of each month.
        by: Whose limit it is: each value of this key of the request has its own, such as "user"
            (`user` or `user_id`), "team" or "thread". Requests without the key share one.
        hard: Whether a spent purse ends it. If not, the cheapest expert answers then.
        fallback: The expert that answers where a hard purse cannot pay any; it is not refused.
        requests: About how many requests come in a period, or in all where an average is kept. By
            default as many as in the period before; in the first one, the clock tells. Where they
            are sorted, such as the easy ones first, this number decides how well the limit is used.
        timezone: Where days begin, such as "Europe/Berlin".
        label: What the budget is called in records and in the log. A budget with the same label
            and log is the same, also with another limit; by default it is made of `by` and the
            period.

    Raises:
        InputError: not exactly one limit, or a value out of its range.
    """

    stage = PolicyStage.LIMIT

    def __init__(  # noqa: PLR0913 - settings with defaults
        self,
        *,
        usd_per_request: float | None = None,
        usd_per_day: float | None = None,
        usd_per_week: float | None = None,
        usd_per_month: float | None = None,
        by: str | None = None,
        hard: bool = False,
        fallback: str | None = None,
        requests: int | None = None,
        timezone: str = "UTC",
        label: str | None = None,
    ) -> None:
        limits: dict[PeriodName, float | None] = {
            "day": usd_per_day,
            "week": usd_per_week,
            "month": usd_per_month,
        }
        self.limit, self._period = check_limit(usd_per_request, limits)
        check_bools(hard=hard)
        check_names(by=by, fallback=fallback, label=label)
        check_hard(self._period, fallback, hard=hard)
        self.by, self.hard, self.fallback = by, hard, fallback
        self.requests = None if requests is None else check_integer("requests", requests, 1)
        self._zone, self._label = parse_zone(timezone), label
        self._clock: Callable[[], float] = time.time
        self._traffic: Traffic | None = None
        self._memory = SpendingLedger()
        self._calibration = _Calibration()
        self._pending = _PendingCharges()

    @property
    def name(self) -> str:
        """The label, or the name of the class."""
        return self._label or type(self).__name__

    def bind(self, library: Library, traffic: Any) -> Self:  # noqa: ANN401 - as in the base class
        """Return the budget with its state in a log, if there is one.

        Raises:
            LibraryError: the fallback is not an expert of the library.
        """
        if self.fallback is not None:
            library.index(self.fallback)
        return self._with_traffic(traffic)

    def _with_traffic(self, traffic: Traffic | None) -> Self:
        bound = copy.copy(self)
        vars(bound)["_traffic"] = traffic
        if traffic is not None and self.by is None:
            traffic.spending.view(self._purse(""))  # so that it is read before the first decision
        return bound

    def continue_from(self, earlier: Policy) -> bool:
        """Take over what is spent, from a budget of the same label and period, whatever its limit.

        With a log that is there anyway.
        """
        if not isinstance(earlier, Budget):
            return False
        mine, theirs = vars(self), vars(earlier)
        if any(mine[name] != theirs[name] for name in ("_label", "_period", "by", "_zone")):
            return False
        mine |= {name: theirs[name] for name in ("_memory", "_pending", "_calibration")}
        return True

    def calibrate(
        self,
        router: Router,
        prompts: Sequence[str] = TYPICAL_PROMPTS,
        *,
        requests: int | None = None,
    ) -> Self:
        """Learn from prompts what requests cost at each price, and return this budget.

        Some hundred prompts of your own traffic are best. `requests` is that of the constructor.
        Without calibration the budget learns from the requests themselves.

        Raises:
            InputError: there is no prompt.
            NoExpertError, PerceptionError: as in `Router.route`.
        """
        if requests is not None:
            self.requests = check_integer("requests", requests, 1)
        collected = _CollectedCosts()
        check_router(router).with_policy(collected).decide_batch(prompts)
        if not collected.costs:
            raise InputError("A budget needs at least one prompt to calibrate with, got none.")
        self._calibration.forecast = forecast_costs(np.concatenate(collected.costs))
        return self

    def set_clock(self, clock: Callable[[], float]) -> None:
        """Read the time (seconds since 1970) from a function."""
        self._clock = clock

    def status(self, key: str | None = None) -> BudgetStatus:
        """Return how the budget of a key stands, or that which all share, after reading the log.

        Raises:
            TrafficError: the log fails.
        """
        purse = self._purse(stored_key(key or ""))
        spending = self._ledger.read(purse)
        return BudgetStatus(
            spent=spending.spent,
            reserved=max(spending.reserved, 0.0),  # bills leave the error of rounding
            requests=spending.requests,
            limit=self.limit,
            price=self._pace(purse, spending).price().middle,
            resets=_date(purse.end),
        )

    def choose(self, batch: PolicyBatch) -> PolicyChoice:
        """Choose cheaper experts where the price says so.

        Raises:
            BudgetExceededError: a hard purse can pay no expert, and there is no fallback.
            TrafficError: a hard purse cannot be read.
        """
        experts = batch.choice.copy()
        reasons: list[str | None] = [None] * len(experts)
        curves = _costs_of(batch)
        spent_here: dict[Purse, Spending] = {}
        for i in np.flatnonzero(batch.choice != NO_EXPERT).tolist():
            purse = self._purse(self._key(_keys_of(batch.requests[i])))
            here = spent_here.get(purse, Spending())
            pace = self._pace(purse, self._known(purse).plus(here))
            experts[i], reasons[i] = self._choose_one(batch, i, purse, pace, curves[i])
            usd = float(batch.counted_costs[i, experts[i]])
            charge = Charge(purse, "", 0.0, usd * pace.ratio, usd, tuple(curves[i].tolist()))
            spent_here[purse] = here.plus(charged(charge))
            if batch.ids:
                self._pending.add(batch.ids[i], charge)
        return PolicyChoice(experts, reasons)

    def record(self, decision: Decision) -> None:
        """Reserve what the decision is expected to cost."""
        charge = self._pending.take(decision.id)
        cost = None if decision.chosen is None else decision.chosen.cost
        if charge is None:
            charge = self._unplanned(self._purse(self._key(decision.keys)), cost)
        elif cost is not None and cost != charge.expected:  # a later policy chose another expert
            ratio = charge.reserved / charge.expected if charge.expected else 1.0
            charge = replace(charge, reserved=cost * ratio, expected=cost)
        self._charge(charge, decision.id)

    def record_kept(self, decision_id: str, expert: str, keys: Mapping[str, str]) -> None:  # noqa: ARG002 - the signature of the base class
        """Reserve what a call usually costs."""
        self._charge(self._unplanned(self._purse(self._key(keys))), decision_id)

    def _charge(self, charge: Charge, decision_id: str) -> None:
        self._ledger.charge(replace(charge, decision_id=decision_id, time=self._clock()))
        self._store_hard()

    def settle(
        self,
        decision_id: str,
        expert: str | None,  # noqa: ARG002 - all calls of a decision are billed together
        *,
        cost: float | None = None,
        latency: float | None = None,  # noqa: ARG002 - the budget is in USD
    ) -> None:
        """Replace what is reserved by the bill; where it is unknown, what is reserved stays."""
        if cost is not None:
            self._ledger.bill(Bill(decision_id, check_number("cost", cost), self._clock()))
            self._store_hard()

    def __repr__(self) -> str:
        """Show the limit and whose it is."""
        per = "request" if self._period is None else self._period
        by = "" if self.by is None else f", by={self.by!r}"
        return f"Budget(usd_per_{per}={self.limit:g}{by}{', hard=True' if self.hard else ''})"

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without decisions that were not yet acted on."""
        return vars(self) | {"_pending": _PendingCharges(), "_memory": SpendingLedger()}

    def __copy__(self) -> Self:
        """Return a budget that shares the state of this one."""
        copied = type(self).__new__(type(self))
        vars(copied).update(vars(self))
        return copied

    # Purses

    @property
    def _ledger(self) -> SpendingLedger:
        return self._memory if self._traffic is None else self._traffic.spending

    def _key(self, keys: Mapping[str, str]) -> str:
        """Return whose purse a request is paid from, "" for that which all share."""
        if self.by is None:
            return ""
        key = keys.get(self.by) or keys.get(f"{self.by}_id") or ""
        return stored_key(key)  # as in the log: no name of a user makes that fail

    def _purse(self, key: str) -> Purse:
        period = self._period_at(self._clock())
        return Purse(self._budget_id, key, period.start, period.end)

    def _period_at(self, now: float) -> Period:
        return ENDLESS if self._period is None else period_at(self._period, now, self._zone)

    @property
    def _budget_id(self) -> str:
        if self._label is not None:
            return self._label
        return f"{self._period or 'request'}{'' if self.by is None else f' by {self.by}'}"

    def _known(self, purse: Purse) -> Spending:
        return self._ledger.read(purse) if self.hard else self._ledger.view(purse)

    def _store_hard(self) -> None:
        """Store what a hard purse has spent now; if that fails, the log tries it again."""
        if self.hard:
            try:
                self._ledger.sync()
            except TrafficError:
                return  # the next decision reads the log first, and says what is wrong

    # Prices

    def _pace(self, purse: Purse, spending: Spending) -> Pace:
        earlier = self._earlier(purse)
        requests = self.requests or earlier.requests or None
        period = Period(purse.start, purse.end)
        elapsed = None if self._period is None else period.elapsed(self._clock())
        left = remaining_limit(self.limit, spending, requests, elapsed)
        return Pace(spending, left, self._calibration.forecast or _forecast_of(earlier))

    def _earlier(self, purse: Purse) -> Spending:
        """Return what is known of the period before."""
        if self._period is None:
            return Spending()
        before = self._period_at(purse.start - 1)
        return self._ledger.view(Purse(purse.budget, purse.key, before.start, before.end))

    def _choose_one(
        self, batch: PolicyBatch, i: int, purse: Purse, pace: Pace, curve: Float64Array
    ) -> tuple[int, str | None]:
        """Return the expert for prompt `i`, and why it is another one."""
        before, costs = int(batch.choice[i]), batch.counted_costs[i]
        allowed = batch.eligible[i] & (costs <= costs[before])
        if self.hard:
            allowed &= costs * max(pace.ratio, 1.0) <= max(self.limit - pace.spending.spent, 0.0)
            if not allowed.any():
                return self._fallback(batch, i, purse, pace)
        price = pace.price(curve).at(pace.spending.requests)
        if allowed[before] and not price:
            return before, None
        ranks = np.where(allowed, batch.totals[i] + price * np.where(allowed, costs, 0.0), np.inf)
        best = int(np.argmin(ranks))
        if allowed[before] and costs[best] >= costs[before]:
            return before, None
        worth = _answer_value(batch.requests[i].preferences.answer_value, price)
        return best, f"{self._words(purse, pace.spending)}: {worth}"

    def _fallback(
        self, batch: PolicyBatch, i: int, purse: Purse, pace: Pace
    ) -> tuple[int, str | None]:
        """Return the fallback for a spent purse.

        Raises:
            BudgetExceededError: there is none, or it does not meet the requirements.
        """
        words = self._words(purse, pace.spending)
        advice = "name an expert that answers then: Budget(fallback=...)"
        if self.fallback is not None:
            expert = batch.library.index(self.fallback)
            if batch.eligible[i, expert]:
                return expert, f"{words}: the rest pays no other expert"
            advice = f"loosen the requirements, which the fallback {self.fallback} does not meet"
        resets = _date(purse.end)
        in_flight = ", with requests in flight" if pace.spending.reserved > 0 else ""
        raise BudgetExceededError(
            f"The budget does not pay any expert for this request: {words}{in_flight}. It resets "
            f"at {resets:%Y-%m-%d %H:%M} UTC. Raise usd_per_{self._period}, or {advice}.",
            budget=self._budget_id,
            spent=pace.spending.spent,
            limit=self.limit,
            key=purse.key or None,
            resets=resets,
        )

    def _words(self, purse: Purse, spending: Spending) -> str:
        """Return in words what is spent."""
        whose = f" of this {self.by}" if purse.key else ""
        if self._period is None:
            mean = spending.spent / max(spending.requests, 1)
            return f"a request has cost {mean:.3g} USD{whose}, and {self.limit:.3g} are allowed"
        share = spending.spent / self.limit if self.limit else 1.0
        return f"{share:.0%} of {_PERIOD_WORDS[self._period]} {self.limit:g} USD{whose} are spent"

    def _unplanned(self, purse: Purse, cost: float | None = None) -> Charge:
        """Return the charge of a call that this budget did not choose, such as of a default.

        It counts as a usual request, which costs `cost` USD if that is known.
        """
        spending = self._ledger.view(purse)
        n = max(spending.requests, 1)
        usd = spending.spent / n if cost is None else cost
        return Charge(purse, "", 0.0, usd, usd, tuple(one / n for one in spending.costs))


class _Calibration:
    """The forecast that a budget and its copies share."""

    def __init__(self) -> None:
        self.forecast: CostForecast | None = None


class _CollectedCosts(Policy):
    """Collects what prompts cost at each price."""

    def __init__(self) -> None:
        self.costs: list[Float64Array] = []

    def choose(self, batch: PolicyBatch) -> None:
        self.costs.append(_costs_of(batch)[batch.choice != NO_EXPERT])


class _PendingCharges:
    """The charges of decisions until they are acted on, by their ids; the newest ones.

    Many decisions are never acted on, so their costs at all prices wait in arrays, which take a
    quarter of the memory of tuples.
    """

    def __init__(self) -> None:
        self._charges: OrderedDict[str, tuple[Charge, Float64Array]] = OrderedDict()
        self._lock = ForkSafeLock()

    def add(self, decision_id: str, charge: Charge) -> None:
        with self._lock:
            costs = np.array(charge.costs, np.float64)
            self._charges[decision_id] = replace(charge, costs=()), costs
            if len(self._charges) > _MAX_PENDING:
                self._charges.popitem(last=False)

    def take(self, decision_id: str) -> Charge | None:
        with self._lock:
            found = self._charges.pop(decision_id, None)
        return None if found is None else replace(found[0], costs=tuple(found[1].tolist()))


def _keys_of(request: RoutingRequest) -> Mapping[str, str]:
    return {} if request.context is None else request.context.keys


def _costs_of(batch: PolicyBatch) -> Float64Array:
    """Return the USD of each prompt at each price, `(batch, p)`; at most as before the budget."""
    curves = costs_at_prices(batch.totals, batch.counted_costs, batch.eligible)
    chosen = batch.counted_costs[np.arange(len(curves)), np.maximum(batch.choice, 0)]
    return np.minimum(curves, chosen[:, None])


def _answer_value(value: float | None, price: float) -> str:
    """Return in words what a right answer is worth at a price, beside what the preferences say."""
    if price >= PRICES[-1]:  # at which only dollars count
        return "the rest pays the cheapest expert alone"
    per_usd = price + (0.0 if value is None else 1 / value)
    return f"a right answer is worth {1 / per_usd:.2g} USD" if per_usd else "the rest pays no more"


def _forecast_of(earlier: Spending) -> CostForecast | None:
    """Return the forecast from the requests of an earlier period."""
    if not earlier.requests or not earlier.costs:
        return None
    n = min(float(earlier.requests), _MAX_HISTORY)
    return CostForecast(n, np.array(earlier.costs) / earlier.requests)


def _date(time: float | None) -> datetime | None:
    return None if time is None else datetime.fromtimestamp(time, timezone.utc)
