"""How a model chooses among others: the settings that are the same in every framework.

Of pydantic, which the frameworks make their models with and Tryage itself does not need.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_serializer, field_validator

from tryage.chat.candidates import CandidatePool, RouterCache
from tryage.chat.router import (
    ChatRouter,  # noqa: TC001 - pydantic reads annotations
    Sticky,  # noqa: TC001 - pydantic reads annotations
)
from tryage.core.expert import Expert
from tryage.core.preferences import Preferences
from tryage.router import Router  # noqa: TC001 - as above


class RoutingFields(BaseModel):
    """The part of a model that says how it chooses."""

    router: Router | None = Field(default=None, exclude=True, repr=False)
    """Predicts and weighs; models are recognised among its experts. None is the bundled one."""

    experts: tuple[Expert, ...] = Field(default=(), repr=False)
    """What you know of a model and nobody else does, such as a price, under the model's name."""

    preferences: Preferences | None = None
    """In force for every call."""

    sticky: Sticky = "turn"
    """For how long a conversation stays with its model: "turn", "thread" or "call"."""

    default: str | None = None
    """The model that answers if no choice is possible; None raises instead."""

    max_attempts: int | None = Field(default=None, ge=1)
    """How many models may be asked for one answer; None is all."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    _pool: CandidatePool = PrivateAttr()
    _router_cache: RouterCache = PrivateAttr(default_factory=RouterCache)

    @field_validator("preferences", mode="before")
    @classmethod
    def _read_preferences(cls, preferences: Any) -> Any:  # noqa: ANN401 - settings come as anything
        return Preferences.from_dict(preferences) if isinstance(preferences, dict) else preferences

    @field_validator("experts", mode="before")
    @classmethod
    def _read_experts(cls, experts: Any) -> Any:  # noqa: ANN401 - as above
        return tuple(Expert.from_dict(one) if isinstance(one, dict) else one for one in experts)

    @field_serializer("preferences")
    def _write_preferences(self, preferences: Preferences | None) -> dict[str, Any] | None:
        return None if preferences is None else preferences.to_dict()

    @field_serializer("experts")
    def _write_experts(self, experts: tuple[Expert, ...]) -> list[dict[str, Any]]:
        return [expert.to_dict() for expert in experts]

    def _set_pool(self, pool: CandidatePool, *names: str | None) -> None:
        """Take over what is known of the models.

        Raises:
            LibraryError: one that is named is none of them.
        """
        for name in names:
            if name is not None:
                pool.library.index(name)
        self._pool = pool

    @property
    def _chat_router(self) -> ChatRouter:
        """What chooses; made when first used, and shared with copies that choose alike."""
        parts = (self._pool, self.router, self.preferences, self.default, self.sticky)
        return self._router_cache.get(*parts)
