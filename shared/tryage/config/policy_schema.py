"""What `[[policies]]` of `tryage.toml` may say: a class for each kind, with the policy's words.

The policies are in a room above this one, so they are named here and found when they are made
(`policies.py`). A test compares the words with those of the classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import ConfigDict, Discriminator, Field, Tag

from tryage.config.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping


class BudgetTable(Table):
    """Keeps what requests cost within a limit: as `tryage.policies.Budget`."""

    kind: Literal["Budget"]

    usd_per_request: float | None = None
    """The average of all requests."""

    usd_per_day: float | None = None
    """The limit of each day."""

    usd_per_week: float | None = None
    """The limit of each week, from Monday."""

    usd_per_month: float | None = None
    """The limit of each month."""

    by: str | None = None
    """Whose limit it is, such as "user" or "team"; without it, all share one."""

    hard: bool = False
    """Whether a spent budget ends calls; if not, the cheapest model answers then."""

    fallback: str | None = None
    """The model that answers where a hard budget pays no other."""

    requests: int | None = None
    """About how many requests come in a period."""

    timezone: str = "UTC"
    """Where days begin, such as "Europe/Berlin"."""

    label: str | None = None
    """What the budget is called in records and in the log."""


class ThresholdTable(Table):
    """Calls the strong model for the prompts with the highest gain: `tryage.policies.Threshold`."""

    kind: Literal["Threshold"]

    strong: str | list[str]
    """The strong model, or several."""

    weak: str | list[str]
    """The weak model, or several."""

    share: float | None = None
    """The share of calls that the strong side gets, from 0 to 1."""

    threshold: float | None = None
    """A fixed gain above which the strong side is called, in place of a share."""

    window: int = 1000
    """Calls over which the share is kept."""


class QualityGapTable(Table):
    """Chooses the cheapest model that is nearly as good: as `tryage.policies.QualityGap`."""

    kind: Literal["QualityGap"]

    gap: float = 0.02
    """By how much worse than the best an answer may be: 0.02 is two points."""

    gaps: dict[str, float] | None = None
    """Other gaps for some models, by name."""

    large: str | list[str] | None = None
    """The models that the others are compared with; by default the best of all."""

    probability: float = 0.5
    """How sure it must be that the gap is not larger."""


class EraseAndCheckTable(Table):
    """Withstands words that steer a decision: as `tryage.policies.EraseAndCheck`."""

    kind: Literal["EraseAndCheck"]

    words: int = 12
    """How many words an attacker may add at one end of a prompt."""

    fallback: str | None = None
    """The model that answers where parts of the prompt lead to dearer and to cheaper ones; without
    it, the cheapest of them."""

    middle: bool = False
    """Whether the words may also stand in the middle, or half of them at each end."""


class GuaranteeTable(Table):
    """Chooses cheaper models where answers stay as good: as `tryage.policies.Guarantee`."""

    kind: Literal["Guarantee"]

    reference: str
    """The model that would answer everything."""

    at_least: float = 0.95
    """The share of its mean score that all answers keep together."""

    confidence: float = 0.95
    """The probability that the guarantee holds."""

    metric: Literal["score", "agreement"] = "score"
    """What is guaranteed."""

    judged_share: float = 0.02
    """The share of the answers that are judged."""

    feedback_kind: str = "judge"
    """The kind of feedback that measures answers."""

    name: str = "Guarantee"
    """What the log calls it."""

    table: str | None = None
    """A file of measured losses that the guarantee is calibrated with, relative to this file;
    without one the reference answers everything."""


class VerifierTable(Table):
    """What reads from an answer whether it is right."""

    kind: str = Field(examples=["Agreement", "FormatCheck", "LogProbability", "my_checks:Verifier"])
    """A verifier of `tryage.policies`, or "module:name" of your own. Other keys are its words."""

    model_config = ConfigDict(extra="allow")


class CascadeTable(Table):
    """Asks cheap models first and keeps an answer that holds: as `tryage.policies.Cascade`."""

    kind: Literal["Cascade"]

    steps: list[str | list[str]]
    """Models in the order in which they may be asked; a list in the list asks several at once."""

    verify: VerifierTable
    """What reads from an answer whether it is right: {kind = "Agreement", samples = 2}."""

    answer_value: float | None = None
    """USD that a right answer is worth; by default that of the preferences."""

    odds_ratios: float | None = None
    """How strongly two steps are right on the same prompts."""

    max_calls: int | None = None
    """How many steps are asked at most for one prompt."""

    min_gain: float | None = None
    """How much more steps have to be worth than one call, in right answers."""


class AnswerCacheTable(Table):
    """Gives an answer again to the same request: as `tryage.policies.AnswerCache`."""

    kind: Literal["AnswerCache"]

    size: int = 1_000
    """The number of requests whose answers are kept."""

    max_age: float = 86_400.0
    """Seconds after which an answer is no longer used."""

    shared: bool = False
    """Whether an answer may be given to other users. It can hold what they asked."""


class HedgeTable(Table):
    """Asks a second model if the first is late: as `tryage.policies.Hedge`."""

    kind: Literal["Hedge"]

    quantile: float = 0.95
    """A model is late when it takes longer than in this share of its answers."""

    seconds: float | None = None
    """When any model is late, in place of the quantile."""

    max_share: float = 0.05
    """The highest share of calls in which a second model is asked."""


class RulesTable(Table):
    """Rules from a file of their own: as `tryage.policies.Rules.from_file`."""

    kind: Literal["Rules"]

    file: str
    """A TOML file with [[rules]], relative to this file."""


class OwnPolicyTable(Table):
    """A policy of your own: the other keys are the arguments of the class. It is code that runs."""

    kind: str = Field(pattern=r"^[\w.]+:\w+$", examples=["my_policies:Quota"])
    """"module:Class"."""

    model_config = ConfigDict(extra="allow")


OWN = "module:Class"


def policy_kind(value: Any) -> str | None:  # noqa: ANN401 - what the file has, or a table
    """Return which kind of policy a table is; None if it does not say."""
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    if not isinstance(kind, str):
        return None
    return OWN if ":" in kind else kind


AnyPolicyTable: TypeAlias = Annotated[
    Annotated[BudgetTable, Tag("Budget")]
    | Annotated[ThresholdTable, Tag("Threshold")]
    | Annotated[QualityGapTable, Tag("QualityGap")]
    | Annotated[EraseAndCheckTable, Tag("EraseAndCheck")]
    | Annotated[GuaranteeTable, Tag("Guarantee")]
    | Annotated[CascadeTable, Tag("Cascade")]
    | Annotated[AnswerCacheTable, Tag("AnswerCache")]
    | Annotated[HedgeTable, Tag("Hedge")]
    | Annotated[RulesTable, Tag("Rules")]
    | Annotated[OwnPolicyTable, Tag(OWN)],
    Discriminator(policy_kind),
]
"""One of `[[policies]]`."""

POLICY_TABLES: Mapping[str, type[Table]] = {
    "Budget": BudgetTable,
    "Threshold": ThresholdTable,
    "QualityGap": QualityGapTable,
    "EraseAndCheck": EraseAndCheckTable,
    "Guarantee": GuaranteeTable,
    "Cascade": CascadeTable,
    "AnswerCache": AnswerCacheTable,
    "Hedge": HedgeTable,
    "Rules": RulesTable,
    OWN: OwnPolicyTable,
}
"""The class of each kind."""

KINDS = tuple(kind for kind in POLICY_TABLES if kind != OWN)
"""The policies that a file may name."""
