"""What `tryage.toml` may say: one class for each table, with the words of the classes it makes.

The values are as in the file: variables of the environment are not filled in, and paths are
relative to the file. Ranges are checked by the classes of the library (`values.py`).
"""

from __future__ import annotations

from datetime import date  # noqa: TC003 - pydantic reads the annotations of a model
from typing import Any, Literal, TypeAlias

from pydantic import Field

from tryage.config.policy_schema import (
    AnyPolicyTable,  # noqa: TC001 - pydantic reads the annotations of a model
)
from tryage.config.table import Table

Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max", "thinking"]


class ModelTable(Table):
    """One model of the pool: which model is called and how, and facts about it.

    Facts that are not given come from public tables. Prices are in USD per million tokens.
    """

    model: str | None = Field(default=None, examples=["openai:gpt-5.6"])
    """The model, as a string for LangChain's `init_chat_model`."""

    client: str | None = Field(default=None, examples=["my_models:small"])
    """In place of `model`: "module:name" of a client, or of a function that makes one. It is code
    that runs."""

    name: str | None = None
    """What the model is called in decisions; by default what `model` says."""

    efforts: list[Effort] = Field(default_factory=list, examples=[["low", "high"]])
    """Reasoning efforts: the model is one model for each of them."""

    api_key_env: str | None = Field(default=None, examples=["OPENAI_API_KEY"])
    """The variable of the environment that holds the key; by default that of the provider."""

    base_url: str | None = Field(default=None, examples=["http://127.0.0.1:8000/v1"])
    """The address of the server; it may hold variables of the environment as ${NAME}."""

    settings: dict[str, Any] = Field(default_factory=dict)
    """Other arguments of the client, such as temperature = 0.2."""

    aliases: list[str] = Field(default_factory=list)
    """Other names of the model."""

    parameters: float | None = None
    """How many parameters the model has, such as 7e9."""

    active_parameters: float | None = None
    """How many of them are used for a token."""

    released: date | str | None = None
    """When the model was released."""

    license: str | None = None
    """The licence, such as "apache-2.0"."""

    security: float | None = None
    """From 0 to 1: every scan passed."""

    input_price: float | None = None
    """USD per million tokens of a prompt."""

    output_price: float | None = None
    """USD per million tokens of an answer."""

    cached_input_price: float | None = None
    """USD per million tokens of a prompt that are in the cache of the provider."""

    latency: float | None = None
    """Seconds to a typical answer."""

    output_tokens: float | None = None
    """Tokens of a typical answer, reasoning included."""

    readability: float | None = None
    """The Flesch reading ease of the answers."""

    downloads: float | None = None
    """Downloads from the Hugging Face Hub."""

    context_length: int | None = None
    """Tokens that the model reads at most."""

    capabilities: list[str] | None = None
    """What the model can do, such as "tools" or "vision"."""

    metadata: dict[str, Any] = Field(default_factory=dict)
    """Facts of your own, for rules."""

    effort: str | None = None
    """The one reasoning effort with which the model is asked."""

    about_as_good_as: str | None = None
    """A known model that answers about as well, for one that is not measured."""


class RequirementTable(Table):
    """A requirement that no short form says."""

    field: str
    """A field of `Expert`, or "cost"."""

    op: str
    """One of <, <=, >, >=, ==, in, not in, has."""

    value: float | date | str | list[str]
    """What the field is compared with."""

    unknown_passes: bool = False
    """Whether a model passes of which the field is unknown."""


class PreferencesTable(Table):
    """What counts beside a right answer, and what every model must meet: as `Preferences`."""

    preset: Literal["best", "balanced", "thrifty"] | None = None
    """What a right answer is worth, by name; other words replace what it says."""

    answer_value: float | None = None
    """USD that a right answer is worth."""

    latency_value: float | None = None
    """USD that a second of waiting costs."""

    tolerance: float | None = None
    """The cheapest model is chosen of those within this much predicted loss of the best."""

    quality: Literal["adequate", "preferred"] | None = None
    """Good enough, or what people prefer in a blind comparison."""

    weights: dict[str, float] | None = None
    """How much constraints count, such as {size = 0.2}."""

    requirements: list[RequirementTable] | None = None
    """Requirements that no short form says."""

    max_parameters: float | None = None
    """The largest number of parameters, such as 7e9."""

    max_cost: float | None = None
    """USD of a request at most."""

    max_latency: float | None = None
    """Seconds to a typical answer at most."""

    min_context: float | None = None
    """Tokens that a model must be able to read."""

    min_security: float | None = None
    """From 0 to 1."""

    min_downloads: float | None = None
    """Downloads from the Hugging Face Hub at least."""

    released_since: date | None = None
    """The earliest date of release."""

    licenses: list[str] | None = None
    """Any of these licences."""

    capabilities: list[str] | None = None
    """All of these capabilities."""

    only: list[str] | None = None
    """Only these models."""

    ban: list[str] | None = None
    """None of these models."""


class RouterTable(Table):
    """What predicts, and what happens where no choice is possible: as `Router`."""

    path: str | None = None
    """A folder with a saved router, or its id on the Hugging Face Hub; by default the bundled."""

    default: str | None = None
    """The model that answers if no choice is possible."""

    default_exempt: bool = False
    """Whether the default may answer without meeting the requirements."""

    strict: bool | None = None
    """Whether an error is raised instead of using the default."""

    prompt_flags: bool | None = None
    """Whether flags in prompts are read."""

    min_typicality: float | None = None
    """The default answers prompts that are less typical than this, such as 0.01."""


class RuleTable(Table):
    """A rule, which allows or bans models where all its conditions hold: as `Rule`."""

    only: str | list[str] | dict[str, Any] | None = None
    """The models that are allowed, by name, or by what they have: {license = ["mit"]}."""

    ban: str | list[str] | dict[str, Any] | None = None
    """The models that are not."""

    require: dict[str, Any] | None = None
    """What the models must meet, in the words of [preferences]: {max_cost = 0.01}."""

    name: str | None = None
    """What records call the rule."""

    pattern: str | None = None
    """A regular expression that is found in the prompt."""

    language: str | list[str] | None = None
    """The language of the prompt, or several: "de"."""

    tag: str | list[str] | None = None
    """A tag of the request, or several of which it has one."""

    key: dict[str, str | list[str]] | None = None
    """Values of keys of the request: {user_id = ["ann"]}."""

    tool: str | list[str] | None = None
    """The name of a tool that a model may call, or several."""

    min_tokens: float | None = None
    """The conversation has at least so many tokens."""

    max_tokens: float | None = None
    """The conversation has at most so many tokens."""

    time: str | None = None
    """A time of day, such as "22:00-06:00"."""

    weekday: str | list[str] | None = None
    """A day, or several: "sat"."""

    since: date | str | None = None
    """The first date."""

    until: date | str | None = None
    """The last date."""

    timezone: str = "UTC"
    """Where the times and dates are, such as "Europe/Berlin"."""


class ExplorationTable(Table):
    """How often another good model answers, so that feedback can tell: as `Exploration`."""

    tolerance: float | None = None
    """In loss: how far from the best a model may be."""

    optimism: float | None = None
    """How many standard deviations an uncertain model counts as better."""

    max_extra_cost: float | None = None
    """USD that a request may cost more than at the best model."""

    budget: float | None = None
    """The share of spending that exploring may add: 0.02 is 2%."""

    min_propensity: float | None = None
    """The lowest probability of a model within all limits."""

    excluded_tags: list[str] | None = None
    """Requests with any of these tags are never explored."""


class TrafficTable(Table):
    """The log of decisions and feedback: as `Traffic`."""

    url: str = Field(examples=["sqlite:///tryage.db", "${TRYAGE_DATABASE}"])
    """The database; it may hold variables of the environment as ${NAME}. The file of SQLite is
    relative to this file."""

    keep_prompts: bool | None = None
    """Whether the texts of prompts are kept."""

    queue_size: int | None = None
    """How many records may wait to be written."""

    flush_interval: float | None = None
    """Seconds for which records are gathered before they are written."""

    timeout: float | None = None
    """Seconds to wait for another process, and for a server."""

    create: bool | None = None
    """Whether the log is made if there is none yet."""


class ChatTable(Table):
    """How conversations are answered: as `ChatTryage` and `TryageLLM`."""

    sticky: Literal["turn", "thread", "call"] | None = None
    """For how long a conversation stays with its model."""

    max_attempts: int | None = Field(default=None, ge=1)
    """How many models may fail before a call fails."""

    deadline: float | None = Field(default=None, gt=0)
    """Seconds for a whole call, over all models that are asked."""

    attempt_timeout: float | None = Field(default=None, gt=0)
    """Seconds for the answer of one model."""

    retry_on: list[Literal["empty", "length"]] | None = None
    """Which answers are refused, so that the next model is asked."""

    signals: list[Literal["error", "parse", "retry"]] | None = None
    """What counts as feedback without being given."""

    judge: str | None = Field(default=None, examples=["my_judges:judge"])
    """"module:name" of what rates some answers. It is code that runs."""

    judge_share: float | None = Field(default=None, ge=0, le=1)
    """The share of the answers that are rated."""

    judge_budget: float | None = Field(default=None, ge=0)
    """USD for all ratings of a process."""

    judge_cost: float | None = Field(default=None, ge=0)
    """USD of one rating."""


class ServerTable(Table):
    """What `tryage serve` needs: where it listens, and its limits."""

    host: str = "127.0.0.1"
    """Where it listens."""

    port: int = Field(default=8_000, ge=0, le=65_535)
    """The port; 0 is any free one."""

    deadline: float = Field(default=600.0, ge=0.001)
    """Seconds for an answer, over all models that are asked."""

    max_requests: int = Field(default=200, ge=1)
    """How many requests are answered at the same time."""

    max_delay: float = Field(default=0.3, ge=0.001)
    """Seconds by which the process may be late before it refuses requests."""

    max_body: int = Field(default=10_000_000, ge=1)
    """Bytes of a request at most."""

    metrics: bool = False
    """Whether metrics for Prometheus are shown at /metrics."""

    stop_seconds: float = Field(default=30.0, ge=0)
    """Seconds that answers have to end when the server stops."""


class IncludedFile(Table):
    """What a file that is included may say."""

    models: list[ModelTable] = Field(default_factory=list)
    rules: list[RuleTable] = Field(default_factory=list)


class Config(IncludedFile):
    """The whole file. Every table may be left out."""

    include: list[str] = Field(default_factory=list, examples=[["models.toml", "rules.toml"]])
    """Files whose [[models]] and [[rules]] are added, relative to this file."""

    models: list[ModelTable] = Field(default_factory=list)
    """The pool: the models to choose among; without any, those of the router."""

    preferences: PreferencesTable = PreferencesTable()
    """What counts beside a right answer."""

    router: RouterTable = RouterTable()
    """What predicts."""

    rules: list[RuleTable] = Field(default_factory=list)
    """They come before all policies."""

    policies: list[AnyPolicyTable] = Field(default_factory=list)
    """What changes choices, in the order in which it does."""

    exploration: ExplorationTable | None = None
    """Without it, nothing is explored."""

    traffic: TrafficTable | None = None
    """Without it, nothing is logged."""

    chat: ChatTable = ChatTable()
    """How conversations are answered."""

    server: ServerTable = ServerTable()
    """What `tryage serve` needs."""
