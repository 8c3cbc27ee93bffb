"""What ChatTryage is given: its settings, read, checked, copied, and made into what chooses."""

# ruff: noqa: ANN401 - LangChain's keyword arguments are of any type.

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.language_models import ModelProfile  # noqa: TC002 - pydantic reads it
from pydantic import Field, PrivateAttr, SkipValidation, field_validator, model_validator

from tryage.chat.facts import named
from tryage.chat.pool import Choosers, Pool
from tryage.chat.settings import Choosing
from tryage_langchain._chat.chatting import ChatDesk
from tryage_langchain._chat.children import Children
from tryage_langchain._chat.facts import name_of, pool, shared_profile
from tryage_langchain._chat.generating import Generating

if TYPE_CHECKING:
    from typing_extensions import Self

AUTO = "tryage-auto"
# Of BaseChatModel: what ChatTryage was given reaches every child that has none of its own.
_OUTER = ("cache", "rate_limiter", "disable_streaming", "output_version", "streaming", "verbose")


class Made(NamedTuple):
    """What was made of chat models, and of what else."""

    of: tuple[Any, ...]
    children: Children
    pool: Pool
    shared: ModelProfile
    choosers: Choosers


class Models(dict[str, Any]):
    """Chat models by name, with what was made of them.

    LangChain makes a ChatTryage anew for each call of `configurable_fields()`: of the same models,
    which so stay the same clients, and in the same conversations.
    """

    made: Made | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the models alone."""
        return type(self), (dict(self),)


class Settings(Generating, Choosing):
    """A chat model made of others, and how it chooses among them."""

    models: SkipValidation[dict[str, Any]] = Field(exclude=True, repr=False)
    """Chat models, `init_chat_model` strings or functions that make one, by name or as a list."""

    model: str = AUTO
    """The name of the one model to ask, whoever is better; "tryage-auto" leaves the choice."""

    streaming: bool = False
    """Whether `invoke` streams, for whoever is chosen; without it, each model's own setting."""

    settings: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)
    """For `init_chat_model`, beside a string: every argument that ChatTryage itself has not."""

    _children: Children = PrivateAttr()
    _shared: ModelProfile = PrivateAttr()

    # Reading the arguments -----------------------------------------------------------------

    @model_validator(mode="before")
    @classmethod
    def _sort_out_settings(cls, given: Any) -> Any:
        """Move what only `init_chat_model` understands to `settings`."""
        if not isinstance(given, dict):
            return given
        fields = {name: field.alias or name for name, field in cls.model_fields.items()}
        own = {*fields, *fields.values()}
        others = {key: value for key, value in given.items() if key not in own}
        kept = {key: value for key, value in given.items() if key in own}
        return {**kept, "settings": {**others, **given.get("settings", {})}}

    @field_validator("models", mode="before")
    @classmethod
    def _name_models(cls, models: Any) -> Any:
        return models if isinstance(models, Models) else Models(named(models, name_of))

    def model_post_init(self, context: Any, /) -> None:
        """Find out what the models are, before LangChain asks for their profile."""
        super().model_post_init(context)
        made = self._make()
        self._children, self._shared, self._choosers = made.children, made.shared, made.choosers
        self._takes(made.pool, self.default, self._always())

    def _make(self) -> Made:
        """Return what is made of the models, if it was not made before."""
        models, parts = self.models, (self.router, self.experts, self.settings)
        made = models.made if isinstance(models, Models) else None
        if made is None or made.of[0] is not self.router or made.of[1:] != parts[1:]:
            children = Children(models, self.settings)
            found = pool(children, self.router, self.experts)
            shared = shared_profile(found.library, children.values())
            made = Made(parts, children, found, shared, Choosers())
            if isinstance(models, Models):
                models.made = made
        return made

    # What chooses and who answers ----------------------------------------------------------

    @property
    def _desk(self) -> ChatDesk:
        return ChatDesk(self._chooser, self._children, self.max_attempts, self._handed_down())

    def _handed_down(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in _OUTER if name in self.model_fields_set}
        return {name: value for name, value in given.items() if value is not None}

    def _always(self) -> str | None:
        return None if self.model == AUTO else self.model

    # Copies --------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Share the clients and the router; what is remembered of conversations is not copied."""
        own = {"tags": deepcopy(self.tags, memo), "metadata": deepcopy(self.metadata, memo)}
        clone = self.model_copy(update=own)
        clone._choosers = Choosers()  # noqa: SLF001 - our own class
        return clone

    def __getstate__(self) -> dict[Any, Any]:
        """Leave out secrets, clients made from strings, and what is remembered."""
        state = super().__getstate__()
        fields = {**state["__dict__"], "settings": self._children.plain_settings}
        return {**state, "__dict__": fields}
