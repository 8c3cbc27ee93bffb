"""From chat models to a router over them: the facts of each, and what is predicted of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tryage.chat import ChatRouter
from tryage.experts import Expert, Library
from tryage.preferences import Preferences
from tryage.reading import merged
from tryage.router import Router
from tryage.twins import Twins
from tryage_langchain._facts import bundled_library, expert_of, profile_of, shared_profile, twins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.language_models import ModelProfile

    from tryage.chat import Sticky
    from tryage_langchain._children import Children


@dataclass(frozen=True)
class Pool:
    """The experts that the chat models are, in their order.

    `twins` says which of them are one model at two providers.
    """

    library: Library
    twins: dict[str, str]
    profile: ModelProfile

    def router(self, base: Router, preferences: Preferences | None, default: str | None) -> Router:
        """Return a router over the pool that decides as another does.

        Raises:
            PerceptionError: a model is new to the router's perception, which has no guess at it.
        """
        perception = base.perception
        if self.twins:
            alone = [name for name in self.library.names if name not in self.twins]
            perception = Twins(perception, self.library.subset(alone), self.twins)
        inherited = base.default if base.default in self.library else None
        return Router(
            perception,
            self.library,
            preferences=merged(base.preferences, preferences or Preferences()),
            constraints=base.constraints,
            default=default or inherited,
            strict=base.strict,
            prompt_flags=base.prompt_flags,
        )


def pool(children: Children, router: Router | None, told: Sequence[Expert]) -> Pool:
    """Return what is known of the chat models; `told` is what the user says of them.

    Raises:
        LibraryError: two names clash.
    """
    known = bundled_library() if router is None else router.library
    own = {expert.name.casefold(): expert for expert in told}
    found = [
        expert_of(name, model, known, own.get(name.casefold())) for name, model in children.items()
    ]
    experts, equal = twins(found)
    profiles = [profile_of(model) for model in children.values()]
    library = Library(experts)
    library.origin = known.origin  # facts are as old as where they come from
    return Pool(library, equal, shared_profile(experts, profiles))


def chat_router(
    found: Pool,
    router: Router | None,
    preferences: Preferences | None,
    default: str | None,
    sticky: Sticky,
) -> ChatRouter:
    """Return what chooses; without a router of one's own, the bundled one is read now."""
    base = Router.from_pretrained() if router is None else router
    return ChatRouter(found.router(base, preferences, default), sticky=sticky)
