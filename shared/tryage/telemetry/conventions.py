"""Names of spans, attributes and metrics: OpenTelemetry's for generative AI, and our own.

Those that begin with `gen_ai.` and `error.` are of OpenTelemetry's semantic conventions for
generative AI (development status), https://opentelemetry.io/docs/specs/semconv/gen-ai/.
"""

from __future__ import annotations

from tryage.locks import ForkSafeLock

SCOPE = "tryage"
"""The name of the tracer and of the meter."""

# Spans -----------------------------------------------------------------------------------------

ROUTER = "tryage"
"""What spans call the router."""

ROUTE, CHAT, WORKFLOW = "route", "chat", "invoke_workflow"
"""Operations: a decision, one attempt of a model, a whole call with all its attempts."""

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
WORKFLOW_NAME = "gen_ai.workflow.name"
STREAM = "gen_ai.request.stream"
TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 - no secret
ERROR = "error.type"

DECISION_ID = "tryage.decision.id"
DECISION_SECONDS = "tryage.decision.duration"
CANDIDATES = "tryage.decision.candidates"
ELIGIBLE = "tryage.decision.eligible"
PROMPTS = "tryage.decision.prompts"
REASON = "tryage.decision.reason"
PREDICTED_LOSS = "tryage.decision.predicted_loss"
CONFIDENCE = "tryage.decision.confidence"
TYPICALITY = "tryage.decision.typicality"
POLICIES = "tryage.decision.policies"
REQUIREMENTS = "tryage.decision.requirements"
ANSWER_VALUE = "tryage.decision.answer_value"
CHOICE = "tryage.choice"
OUTCOME = "tryage.attempt.outcome"
FAILED = "tryage.failed"
EXPECTED_COST = "tryage.cost.expected"
BILLED_COST = "tryage.cost.billed"
BEST_SINGLE_COST = "tryage.cost.best_single"
SAVINGS = "tryage.savings"

COOL_DOWN = "tryage.cool_down"
"""The event of a span: a model is left out after a failure."""

COOL_DOWN_SECONDS = "tryage.cool_down.seconds"
DIRECTION = "tryage.drift.direction"

# Labels ----------------------------------------------------------------------------------------

OTHER = "_OTHER"
"""The value of a label that has too many values, as in OpenTelemetry's conventions for HTTP."""

MAX_VALUES = 200


class LabelValues:
    """The values of one label: of more than `size`, the later ones are all called `_OTHER`.

    A metric keeps a series for each value as long as the process lives.
    """

    def __init__(self, size: int = MAX_VALUES) -> None:
        self._size, self._values, self._lock = size, set[str](), ForkSafeLock()

    def __call__(self, value: str) -> str:
        """Return the value, or `_OTHER`."""
        if value in self._values:
            return value
        with self._lock:
            if len(self._values) >= self._size:
                return OTHER
            self._values.add(value)
            return value


def error_type(error: BaseException) -> str:
    """Return the class of an error with its module: its message may quote the prompt."""
    kind = type(error)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def decision_reason(*, default_used: bool, explored: bool, has_changes: bool) -> str:
    """Return why an expert was chosen, in one of four words."""
    if default_used:
        return "default"
    if explored:
        return "exploration"
    return "policy" if has_changes else "best"
