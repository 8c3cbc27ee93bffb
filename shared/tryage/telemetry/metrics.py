"""The metrics: counters, histograms and gauges, and what is added to them."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import Observation

from tryage.telemetry import conventions as names
from tryage.telemetry.conventions import LabelValues, decision_reason, error_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from opentelemetry.metrics import CallbackOptions, Meter

    from tryage.core.decision import Decision
    from tryage.telemetry.observer import TokenCounts

# Of decisions: a bundled router takes about a millisecond, an encoder with layers some ten.
_DECISION_SECONDS = (
    *(0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128),
    *(0.256, 0.512, 1.024, 2.048),
)

# Both as in OpenTelemetry's conventions for generative AI.
_CALL_SECONDS = tuple(0.01 * 2**i for i in range(14))
_TOKENS = tuple(float(4**i) for i in range(14))
_CHUNK_SECONDS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0),
    *(2.5, 5.0, 7.5, 10.0),
)


class Metrics:
    """All instruments of one meter.

    Args:
        meter: Of the provider that exports.
        clock: Returns seconds that never go back.
    """

    def __init__(self, meter: Meter, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._model, self._error, self._provider = LabelValues(), LabelValues(), LabelValues()
        self._cool_down_ends: dict[str, float] = {}
        self._add_decision_instruments(meter)
        self._add_call_instruments(meter)
        self._add_cost_instruments(meter)
        self._add_failure_instruments(meter)

    def _add_decision_instruments(self, meter: Meter) -> None:
        self._decision_seconds = meter.create_histogram(
            "tryage.decision.duration",
            "s",
            "How long a decision takes, or one pass over several prompts.",
            explicit_bucket_boundaries_advisory=_DECISION_SECONDS,
        )
        self._decisions = meter.create_counter(
            "tryage.decisions", "{decision}", "Decisions by the model that is chosen, and why."
        )

    def _add_call_instruments(self, meter: Meter) -> None:
        self._calls = meter.create_counter(
            "tryage.calls", "{call}", "Calls by the model that answers, and how it was chosen."
        )
        self._attempt_seconds = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "How long one attempt of a model takes.",
            explicit_bucket_boundaries_advisory=_CALL_SECONDS,
        )
        self._first_chunk_seconds = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "How long the first content of a stream takes.",
            explicit_bucket_boundaries_advisory=_CHUNK_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "The tokens of an answer, as the provider counts them.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )

    def _add_cost_instruments(self, meter: Meter) -> None:
        self._costs = {
            "expected": meter.create_counter(
                "tryage.cost.expected", "USD", "What answers were predicted to cost."
            ),
            "billed": meter.create_counter(
                "tryage.cost.billed", "USD", "What calls cost by the tokens that were reported."
            ),
            "best_single": meter.create_counter(
                "tryage.cost.best_single",
                "USD",
                "What the best single model would have cost for the same tokens.",
            ),
        }
        self._unknown_costs = meter.create_counter(
            "tryage.cost.unknown", "{call}", "Calls whose bill is unknown; they are in no sum."
        )
        self._savings = meter.create_up_down_counter(
            "tryage.savings",
            "USD",
            "How much less was billed than by the best single model; below zero, it was more.",
        )

    def _add_failure_instruments(self, meter: Meter) -> None:
        self._fallbacks = meter.create_counter(
            "tryage.fallbacks", "{fallback}", "How often the next model is asked after a failure."
        )
        self._cool_downs = meter.create_counter(
            "tryage.cool_downs", "{cool_down}", "How often a model was left out after a failure."
        )
        meter.create_observable_gauge(
            "tryage.cool_downs.open",
            [self._open_cool_downs],
            "{model}",
            "1 for each model that is left out now, 0 for one that was.",
        )
        self._alarms = meter.create_counter(
            "tryage.drift.alarms", "{alarm}", "Alarms of feedback: a model has changed."
        )

    # Decisions

    def add_decisions(self, decisions: Sequence[Decision], seconds: float) -> None:
        """Count the decisions of one pass, which took some seconds."""
        self._decision_seconds.record(seconds)
        keys = Counter((one.expert.name, _reason(one)) for one in decisions)
        for (name, reason), count in keys.items():
            self._decisions.add(
                count, {names.REQUEST_MODEL: self._model(name), names.REASON: reason}
            )

    def add_failed_decision(self, error: BaseException, seconds: float) -> None:
        """Count a pass without a decision."""
        self._decision_seconds.record(seconds, {names.ERROR: self._error(error_type(error))})

    # Calls

    def add_call(self, record: Mapping[str, Any], error: BaseException | None) -> None:
        """Count a call that has ended with an answer, and its dollars."""
        model = self._model(record["model"])
        attributes = {names.RESPONSE_MODEL: model, names.CHOICE: record.get("how", "routed")}
        if error is not None:
            attributes[names.ERROR] = self._error(error_type(error))
        self._calls.add(1, attributes)
        costs = record.get("cost", {})
        for kind, counter in self._costs.items():
            if (usd := costs.get(kind)) is not None:
                counter.add(usd, {names.RESPONSE_MODEL: model})
        billed, best_single = costs.get("billed"), costs.get("best_single")
        if billed is None:
            self._unknown_costs.add(1, {names.RESPONSE_MODEL: model})
        elif best_single is not None:
            self._savings.add(best_single - billed)

    def add_failed_call(
        self, first: str, choice: str, error: BaseException, usd: float | None
    ) -> None:
        """Count a call without an answer, and what its attempts cost."""
        model = self._model(first)
        attributes = {
            names.REQUEST_MODEL: model,
            names.CHOICE: choice,
            names.ERROR: self._error(error_type(error)),
        }
        self._calls.add(1, attributes)
        if usd:
            self._costs["billed"].add(usd, {names.RESPONSE_MODEL: model})
            self._savings.add(-usd)

    def add_attempt(  # noqa: PLR0913 - what is known of an attempt
        self,
        expert: str,
        provider: str | None,
        seconds: float,
        *,
        seconds_to_first_chunk: float | None,
        usage: TokenCounts | None,
        error: BaseException | None,
    ) -> None:
        """Add the time and the tokens of one attempt."""
        attributes = {names.OPERATION: names.CHAT, names.REQUEST_MODEL: self._model(expert)}
        if provider is not None:
            attributes[names.PROVIDER] = self._provider(provider)
        failure = {} if error is None else {names.ERROR: self._error(error_type(error))}
        self._attempt_seconds.record(seconds, attributes | failure)
        if seconds_to_first_chunk is not None:
            self._first_chunk_seconds.record(seconds_to_first_chunk, attributes)
        if usage is not None:
            for kind in ("input", "output"):
                tokens = round(getattr(usage, kind))
                self._tokens.record(tokens, attributes | {names.TOKEN_TYPE: kind})

    # Failures and changes

    def add_fallback(self, expert: str, error: str) -> None:
        """Count that the next model is asked; `error` is the type of the failure of `expert`."""
        attributes = {names.REQUEST_MODEL: self._model(expert), names.ERROR: self._error(error)}
        self._fallbacks.add(1, attributes)

    def add_cool_down(self, expert: str, seconds: float) -> None:
        """Count that a model is left out for some seconds from now."""
        model = self._model(expert)
        self._cool_downs.add(1, {names.REQUEST_MODEL: model})
        self._cool_down_ends[model] = self._clock() + seconds

    def end_cool_down(self, expert: str) -> None:
        """Note that a model answers again."""
        model = self._model(expert)
        if model in self._cool_down_ends:
            self._cool_down_ends[model] = self._clock()

    def add_alarm(self, kind: str, expert: str | None, direction: str | None) -> None:
        """Count an alarm; one about learning as a whole has no expert."""
        attributes = {names.DIRECTION: direction or kind}
        if expert is not None:
            attributes[names.REQUEST_MODEL] = self._model(expert)
        self._alarms.add(1, attributes)

    def _open_cool_downs(self, _: CallbackOptions) -> Iterable[Observation]:
        now = self._clock()
        return [
            Observation(int(now < end), {names.REQUEST_MODEL: model})
            for model, end in list(self._cool_down_ends.items())
        ]


def _reason(decision: Decision) -> str:
    return decision_reason(
        default_used=decision.default_used,
        explored=decision.explored,
        has_changes=bool(decision.changes),
    )
