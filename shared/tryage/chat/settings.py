"""Settings of routed chat models that are the same in every framework.

The fields are for pydantic, which the frameworks build their models with. Tryage itself does not
need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_serializer,
    field_validator,
)

from tryage.chat.candidates import CandidatePool, RouterCache, RouterSettings
from tryage.chat.efforts import check_efforts
from tryage.chat.judging import AnswerJudge, Judge, check_judge_has_log
from tryage.chat.like import read_experts
from tryage.chat.model_names import find_model
from tryage.chat.outcomes import (
    SIGNALS,
    Signal,
    check_signals,
)
from tryage.chat.pickles import dump_without_keys, load_state
from tryage.chat.router import (
    ChatRouter,  # noqa: TC001 - pydantic reads the annotations of a model
    Sticky,  # noqa: TC001 - pydantic reads the annotations of a model
)
from tryage.chat.savings import SavingsCounter
from tryage.core.expert import Expert  # noqa: TC001 - pydantic reads the annotations of a model
from tryage.core.exploration import (
    Exploration,  # noqa: TC001 - pydantic reads the annotations of a model
)
from tryage.core.policy import check_policy
from tryage.core.preferences import Preferences  # noqa: TC001 - pydantic reads it, too
from tryage.core.request import read_preferences
from tryage.core.token_estimate import estimate_tokens
from tryage.core.validation import did_you_mean
from tryage.errors import InputError
from tryage.router import Router
from tryage.traffic.traffic import open_traffic

PREFERENCES_KEY = "tryage_preferences"
"""The setting of one call that holds `Preferences` or their dict."""

MODEL_KEY = "tryage_model"
"""The setting of one call that names the one expert to ask."""

QUERY_KEY = "tryage_query"
"""The setting of one call that holds the text to route on, instead of the last user message."""

STICKY_KEY = "tryage_sticky"
"""The setting of one call that says for how long the conversation stays with its model."""

DEADLINE_KEY = "tryage_deadline"
"""The setting of one call that holds the seconds which all its attempts may take together."""

SETTING_PREFIX = "tryage_"
"""How the names of all settings of one call begin."""

_MAX_TOKENS_KEYS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens")

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from datetime import datetime

    from pydantic_core import InitErrorDetails
    from typing_extensions import Self

    from tryage.chat.conversation import TokenCounter
    from tryage.traffic.learning_report import LearningReport

C = TypeVar("C")

RefusedAnswer: TypeAlias = Literal["empty", "length"]
"""An answer without any content, or one that its limit of tokens has cut off."""


class RoutingFields(BaseModel):
    """The part of a model that says how it chooses."""

    router: Router | None = Field(default=None, exclude=True, repr=False)
    """Predicts and weighs; models are recognised among its experts. None is the bundled one."""

    experts: tuple[Expert, ...] = Field(default=(), repr=False)
    """Facts that only you know, such as a price, under the names of the models: a list, or a dict.
    """

    efforts: bool | tuple[str, ...] = ()
    """Each model is also one for each of these reasoning efforts; True is low, medium and high."""

    preferences: Preferences | None = None
    """What counts in every call, and requirements; or the name of a preset, such as "thrifty"."""

    sticky: Sticky = "turn"
    """For how long a conversation stays with its model: "turn", "thread" or "call"."""

    default: str | None = None
    """The model that answers if no choice is possible; None raises instead."""

    default_exempt: bool = False
    """Whether the default may answer without meeting the requirements."""

    max_attempts: int | None = Field(default=None, ge=1)
    """How many models may fail before a call fails; None is all. An answer that a cascade does not
    keep is no failure."""

    deadline: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Seconds for a whole call, over all models that are asked; None is no limit."""

    attempt_timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Seconds for one model's answer, or for the beginning of its stream; None is no limit."""

    retry_on: frozenset[RefusedAnswer] = frozenset()
    """Which answers are refused, so that the next model is asked: "empty", "length" or both."""

    traffic: Any = Field(default=None, exclude=True, repr=False)
    """The log of decisions, outcomes and feedback, or its URL, such as "sqlite:///tryage.db"."""

    exploration: Exploration | None = Field(default=None, exclude=True)
    """How often another good model answers than the best one, so that feedback can tell."""

    policy: Any = Field(default=None, exclude=True, repr=False)
    """Changes which model is chosen, such as `tryage.policies.Budget`; several as `a | b`."""

    signals: frozenset[Signal] = SIGNALS
    """What counts as feedback without being given: "error", "parse" and "retry"."""

    judge: Any = Field(default=None, exclude=True, repr=False)
    """Rates some answers: a function of the question and the answer, or an evaluator."""

    judge_share: float = Field(default=0.02, ge=0, le=1)
    """The share of the answers that `judge` rates, in the background."""

    judge_budget: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """USD for all judgments of this process; None is no limit."""

    judge_cost: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """USD of one judgment, where the judge does not say it."""

    # What pydantic shows of a wrong value may be a key, or the password of a log.
    model_config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True)
    _pool: CandidatePool = PrivateAttr()
    _router_cache: RouterCache = PrivateAttr(default_factory=RouterCache)
    _savings_counter: SavingsCounter = PrivateAttr(default_factory=SavingsCounter)
    _answer_judge: AnswerJudge | None = PrivateAttr(default=None)
    _configured: Any = PrivateAttr(default=None)  # a ConfiguredRouter of a file of settings
    _sources: dict[str, Any] = PrivateAttr(default_factory=dict)  # clients of that file by name
    _watch: Any = PrivateAttr(default=None)  # a ConfigWatch of objects of this class

    def __init__(self, *args: Any, **values: Any) -> None:  # noqa: ANN401 - of any type
        try:
            super().__init__(*args, **values)
        except ValidationError as error:
            failure = _without_input(error).with_traceback(error.__traceback__)
        else:
            return
        raise failure  # outside of `except`, where Python would add the error with all values

    @field_validator("traffic", mode="before")
    @classmethod
    def _open_traffic(cls, traffic: Any) -> Any:  # noqa: ANN401 - pydantic validates any value
        return open_traffic(traffic)

    @field_validator("policy", mode="before")
    @classmethod
    def _check_policy(cls, policy: Any) -> Any:  # noqa: ANN401 - pydantic validates any value
        return None if policy is None else check_policy(policy)

    @field_validator("signals", mode="before")
    @classmethod
    def _read_signals(cls, signals: Any) -> Any:  # noqa: ANN401 - pydantic validates any value
        return check_signals(signals)

    @field_validator("preferences", mode="before")
    @classmethod
    def _read_preferences(cls, preferences: Any) -> Any:  # noqa: ANN401 - pydantic validates any value
        return None if preferences is None else read_preferences(preferences)

    @field_validator("experts", mode="before")
    @classmethod
    def _read_experts(cls, experts: Any) -> Any:  # noqa: ANN401 - pydantic validates any value
        return read_experts(experts)

    @field_validator("efforts", mode="before")
    @classmethod
    def _read_efforts(cls, efforts: Any) -> Any:  # noqa: ANN401 - pydantic validates any value
        return check_efforts(efforts)

    @field_validator("retry_on", mode="before")
    @classmethod
    def _read_retry_on(cls, retry_on: Any) -> Any:  # noqa: ANN401 - pydantic validates any value
        return {retry_on} if isinstance(retry_on, str) else retry_on

    @field_serializer("preferences")
    def _write_preferences(self, preferences: Preferences | None) -> dict[str, Any] | None:
        return None if preferences is None else preferences.to_dict()

    @field_serializer("experts")
    def _write_experts(self, experts: tuple[Expert, ...]) -> list[dict[str, Any]]:
        return [expert.to_dict() for expert in experts]

    @field_serializer("efforts")
    def _write_efforts(self, efforts: bool | tuple[str, ...]) -> list[str]:
        return list(check_efforts(efforts))

    @field_serializer("signals")
    def _write_signals(self, signals: frozenset[Signal]) -> list[str]:
        return sorted(signals)

    @field_serializer("retry_on")
    def _write_retry_on(self, retry_on: frozenset[RefusedAnswer]) -> list[str]:
        return sorted(retry_on)

    def _set_pool(self, pool: CandidatePool, *names: str | None) -> None:
        """Set the experts of the models; `names` must be among them.

        Raises:
            LibraryError: a name is not one of the models.
        """
        for name in names:
            if name is not None:
                find_model(pool.library, name)
        self._pool = pool

    @property
    def _live(self) -> Self:
        """The object of the newest settings of the file that is watched, else this one."""
        live: Self = self if self._watch is None else self._watch.current
        return live

    def reload(self) -> bool:
        """Read the file of settings that is watched now; return whether it is valid, and in force.

        What is wrong with it is logged, and the settings stay as they were.

        Raises:
            InputError: no file is watched.
        """
        if self._watch is None:
            raise InputError("No file is watched; make this with from_config(watch=True).")
        return bool(self._watch.reload())

    def close(self) -> None:
        """Stop waiting for changes of the file of settings, if this object does."""
        if self._watch is not None:
            self._watch.close()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy; one with other fields is of the settings of now, and stays so."""
        if update and self._watch is not None:
            return self._live.model_copy(update=update, deep=deep)
        return super().model_copy(update=update, deep=deep)

    def __getstate__(self) -> dict[Any, Any]:
        """Leave out the file of settings: a pickle is of the settings of now."""
        if self._watch is not None:
            return self._live.__getstate__()
        state = super().__getstate__()
        forgotten: dict[str, Any] = {"_configured": None, "_sources": {}}
        private = {**(state["__pydantic_private__"] or {}), **forgotten}
        return {**state, "__pydantic_private__": private}

    def __reduce_ex__(self, _: Any) -> tuple[Any, ...]:  # noqa: ANN401 - as object has it
        """Pickle without the keys that clients, judges and checks hold, at any depth."""
        return load_state, (type(self), *dump_without_keys(self.__getstate__()))

    @property
    def _chat_router(self) -> ChatRouter:
        """The router of conversations, made when first used; copies that choose alike share it."""
        if self._watch is not None:
            return self._live._chat_router  # noqa: SLF001 - of its own class
        settings = RouterSettings(
            *(self.router, self.preferences, self.default, self.default_exempt, self.sticky),
            traffic=self.traffic,
            exploration=self.exploration,
            policy=self.policy,
        )
        return self._router_cache.get(self._pool, settings, self._token_counter())

    def feedback(self, id: str, score: float, **details: Any) -> bool:  # noqa: A002, ANN401 - as `Router.feedback`
        """Report how good an answer was; `id` is in its record.

        The other arguments are those of `Router.feedback`: `kind`, `comment`, `feedback_id` and
        `expert`.

        Raises:
            InputError: there is no log, or a value is out of range.
            LibraryError: no such model.
            TrafficError: the store fails; nothing is written.
        """
        return self._chat_router.router.feedback(id, score, **details)

    def learned_since(self, since: float | datetime) -> LearningReport:
        """Return what was learned from feedback since a time, as `Router.learned_since` does."""
        return self._chat_router.router.learned_since(since)

    def _set_judge(self, read_judge: Callable[[Any], Judge]) -> None:
        """Set what rates answers; `read_judge` reads the framework's own evaluators.

        Raises:
            InputError: the judge is neither an evaluator nor a function, or there is no log.
        """
        if self.judge is not None:
            check_judge_has_log(self.traffic, self.router)
            self._answer_judge = AnswerJudge(
                read_judge(self.judge),
                share=self.judge_share,
                budget=self.judge_budget,
                cost=self.judge_cost,
            )

    def _token_counter(self) -> TokenCounter:
        """Return what counts the tokens of a text; a framework with a tokenizer overrides it."""
        return estimate_tokens


def _without_input(error: ValidationError) -> ValidationError:
    """Return an error without the values that were given: a pickle and `errors()` have them all."""
    details: list[InitErrorDetails] = [
        {"type": one["type"], "loc": one["loc"], "input": None, "ctx": one.get("ctx", {})}
        for one in error.errors(include_url=False, include_input=False)
    ]
    return ValidationError.from_exception_data(error.title, details, hide_input=True)


def check_settings(names: Iterable[str], *classes: type[BaseModel]) -> None:
    """Raise unless each name is a field, or the alias of a field, of at least one of the classes.

    Raises:
        InputError: a name is none; the message has the nearest field.
    """
    known_names = {name for cls in classes for name in _setting_names(cls)}
    for name in names:
        if name not in known_names:
            owners = " or ".join(cls.__name__ for cls in classes)
            raise InputError(
                f"{name!r} is not a setting of {owners}.{did_you_mean(name, known_names)}"
            )


def _setting_names(cls: type[BaseModel]) -> set[str]:
    """Return the names of a model's fields, with their aliases."""
    fields = cls.model_fields
    return {*fields, *(field.alias for field in fields.values() if field.alias is not None)}


def to_preferences(value: object) -> Preferences:
    """Return the preferences of one call: `Preferences`, their dict, or the name of a preset.

    Raises:
        InputError: they are none of these.
    """
    return read_preferences(value, PREFERENCES_KEY)


def check_setting_names(names: Iterable[str], known: Collection[str]) -> None:
    """Raise unless every name that begins as a setting of one call is one.

    Raises:
        InputError: one is not; the message names the nearest.
    """
    for name in names:
        if name.startswith(SETTING_PREFIX) and name not in known:
            raise InputError(f"{name!r} is no setting of a call.{did_you_mean(name, known)}")


def check_bare_names(arguments: Iterable[str], how: str, *more: str) -> None:
    """Raise if an argument for the chosen model has the name of a setting without its prefix.

    No chat model has an argument `preferences`, so it would be ignored, or refused by each.

    Args:
        arguments: The names of the arguments.
        how: Says how the setting is given: "Give it as {}." has its name.
        more: Names that are refused, too.

    Raises:
        InputError: one has; the message has the name of the setting.
    """
    for name in arguments:
        if name in (*_BARE_NAMES, *more):
            raise InputError(
                f"{name!r} is no argument of a model. {how.format(SETTING_PREFIX + name)}"
            )


_BARE_NAMES = ("preferences", "sticky", "deadline")


def check_text(name: str, value: object) -> str | None:
    """Return a setting of one call that is a text, or None.

    Raises:
        InputError: it is of another type; the message has the `name` of the setting.
    """
    if value is None or isinstance(value, str):
        return value
    raise InputError(f"{name} is a {type(value).__name__}. Expected a string.")


def max_answer_tokens(arguments: Mapping[str, Any]) -> int | None:
    """Return how long the answer to one call may be, None if its arguments set no limit."""
    limits = (arguments.get(key) for key in _MAX_TOKENS_KEYS)
    return next((limit for limit in limits if isinstance(limit, int)), None)


def find_hub_models(
    make_clients: Callable[[Iterable[str]], dict[str, C]],
    task: str | None,
    query: Mapping[str, Any],
    *,
    local: bool,
) -> tuple[dict[str, C], Router]:
    """Return the clients of the Hub's models that a query finds, and the router over them.

    Args:
        make_clients: Returns a client, or what makes one, for each model id. It raises an error if
            the package of the clients is missing.
        task: The Hub's pipeline tag.
        query: Arguments of `Router.from_hub`.
        local: The weights run here. Otherwise only models that a provider serves are found, unless
            the query sets `served` to another value.

    Raises:
        LibraryError, HubError, CatalogueError: as in `Router.from_hub`.
    """
    make_clients(())  # a missing package is reported before the Hub is asked
    router = Router.from_hub(task, **(query if local else {"served": True, **query}))
    return make_clients(router.library.names), router
