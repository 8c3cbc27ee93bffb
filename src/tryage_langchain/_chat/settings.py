"""What ChatTryage is given: its settings, read, checked, copied, and made into what chooses."""

# ruff: noqa: ANN401 - LangChain's keyword arguments are of any type.

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import ModelProfile  # noqa: TC002 - as below
from pydantic import ConfigDict, Field, PrivateAttr, field_validator, model_validator

from tryage.chat import Sticky  # noqa: TC001 - pydantic reads the annotations at run time
from tryage.chat.facts import named
from tryage.chat.pool import Choosers, Pool
from tryage.experts import Expert  # noqa: TC001 - as above
from tryage.preferences import Preferences
from tryage.router import Router  # noqa: TC001 - as above
from tryage_langchain._chat.chatting import ChatDesk
from tryage_langchain._chat.children import Children
from tryage_langchain._chat.facts import name_of, pool, shared_profile
from tryage_langchain._chat.generating import Generating

if TYPE_CHECKING:
    from typing_extensions import Self

AUTO = "tryage-auto"
# Of BaseChatModel: what ChatTryage was given reaches every child that has none of its own.
_OUTER = ("cache", "rate_limiter", "disable_streaming", "output_version", "streaming", "verbose")


class Settings(Generating):
    """A chat model made of others, and how it chooses among them."""

    models: dict[str, Any] = Field(exclude=True, repr=False)
    """Chat models, `init_chat_model` strings or functions that make one, by name or as a list."""

    router: Router | None = Field(default=None, exclude=True, repr=False)
    """Predicts and weighs; the models are recognised among its experts. None is the bundled one."""

    experts: tuple[Expert, ...] = Field(default=(), exclude=True, repr=False)
    """What you know of a model and nobody else does, such as a price, under the model's name."""

    preferences: Preferences | None = None
    """In force for every call."""

    sticky: Sticky = "turn"
    """For how long a conversation stays with its model: "turn", "thread" or "call"."""

    default: str | None = None
    """The model that answers if no choice is possible; None raises instead."""

    max_attempts: int | None = Field(default=None, ge=1)
    """How many models may be asked for one answer; None is all."""

    model: str = AUTO
    """The name of the one model to ask, whoever is better; "tryage-auto" leaves the choice."""

    streaming: bool = False
    """Whether `invoke` streams, for whoever is chosen; without it, each model's own setting."""

    settings: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)
    """For `init_chat_model`, beside a string: every argument that ChatTryage itself has not."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    _children: Children = PrivateAttr()
    _pool: Pool = PrivateAttr()
    _shared: ModelProfile = PrivateAttr()
    _choosers: Choosers = PrivateAttr(default_factory=Choosers)

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
        return named(models, name_of)

    @field_validator("preferences", mode="before")
    @classmethod
    def _read_preferences(cls, preferences: Any) -> Any:
        return Preferences.from_dict(preferences) if isinstance(preferences, dict) else preferences

    @field_validator("experts", mode="before")
    @classmethod
    def _read_experts(cls, experts: Any) -> Any:
        return tuple(experts)

    def model_post_init(self, context: Any, /) -> None:
        """Find out what the models are, before LangChain asks for their profile."""
        super().model_post_init(context)
        self._children = Children(self.models, self.settings)
        self._pool = pool(self._children, self.router, self.experts)
        self._shared = shared_profile(self._pool.library, self._children.values())
        for name in (self.default, self._always()):
            if name is not None:
                self._pool.library.index(name)

    # What chooses and who answers ----------------------------------------------------------

    @property
    def _desk(self) -> ChatDesk:
        parts = (self._pool, self.router, self.preferences, self.default, self.sticky)
        chat = self._choosers.get(*parts)
        return ChatDesk(chat, self._children, self._handed_down(), self.max_attempts)

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
