"""A router that is made of routers, so that it can stand wherever one router can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from tryage.core.library import Library
from tryage.errors import InputError, PersistenceError
from tryage.router import Router

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from typing_extensions import Self

    from tryage.core.decision import Decision
    from tryage.core.expert import Expert
    from tryage.core.perception import Perception
    from tryage.core.policy import Policy
    from tryage.core.preferences import Preferences
    from tryage.hub.settings import HubSettings


class CompositeRouter(Router):
    """The base of routers that are made of others.

    What is asked of the whole, such as its perception, preferences and log, is that of the first
    router. A subclass defines `decide_batch`, `tell_policy`, `write` and `with_routers`.

    Args:
        routers: The routers by their names, the first one stands for all.
        library: The experts that the whole chooses among; by default those of the first router.

    Raises:
        InputError: there is no router, or something is none.
        PerceptionError: the first router cannot predict the losses of an expert.
    """

    def __init__(self, routers: Mapping[str, Router], library: Library | None = None) -> None:
        self.routers = check_routers(routers)
        parts = self._first._parts()  # noqa: SLF001 - another router
        super().__init__(**parts | ({} if library is None else {"library": library}))
        self.log = self._first.log

    @property
    def _first(self) -> Router:
        return next(iter(self.routers.values()))

    def with_routers(self, routers: Mapping[str, Router]) -> Self:
        """Return the same policy for other routers, by the same names."""
        raise NotImplementedError

    def map_routers(self, build: Callable[[Router], Router]) -> Self:
        """Return this policy for what `build` makes of each router that is not made of others."""
        return self.with_routers(
            {name: router.map_routers(build) for name, router in self.routers.items()}
        )

    def subset(self, names: Iterable[str] | Mapping[str, object]) -> Self:
        """Return this policy for some of its experts, each router with those that it knows.

        Raises:
            LibraryError: an unknown name, or no name, or a router has none of them.
        """
        chosen = self.library.subset(list(names)).names

        def build(router: Router) -> Router:
            return router.subset([name for name in chosen if name in router.library])

        return self.map_routers(build)

    among = subset  # the former name

    def with_preferences(self, preferences: Preferences | str | None) -> Self:
        """Return this policy with the preferences of all its routers replaced."""
        return self.map_routers(lambda router: router.with_preferences(preferences))

    def onboard(self, expert: Expert, losses: Mapping[str, float]) -> Self:
        """Return this policy with routers that also know `expert`, as `Router.onboard` does."""
        return self.map_routers(lambda router: router.onboard(expert, losses))

    def onboard_models(self, *_: Any, **__: Any) -> NoReturn:  # noqa: ANN401 - those of Router.onboard_models
        """Raise before any model is asked: each router is given new models by itself.

        Raises:
            InputError: always.
        """
        raise self._has_several()

    def refresh(self, settings: HubSettings | None = None) -> Self:
        """Return this policy with up-to-date libraries, as `Router.refresh` does."""
        return self.map_routers(lambda router: router.refresh(settings))

    def with_policy(self, policy: Policy | None) -> Self:
        """Return these routers, each with its policy replaced."""
        return self.map_routers(lambda router: router.with_policy(policy))

    def policies(self) -> tuple[Policy, ...]:
        """Return the single policies of all routers, those of the first one first."""
        return tuple(policy for router in self.routers.values() for policy in router.policies())

    @property
    def records(self) -> bool:
        """Whether any of the routers has a log or a policy."""
        return any(router.records for router in self.routers.values())

    def settle(self, decision_id: str, expert: str | None, **amounts: float | None) -> None:
        """Report what an answer cost to all routers; a policy knows which decisions are its own."""
        for router in self.routers.values():
            router.settle(decision_id, expert, **amounts)

    def observe(self, decision: Decision, loss: float) -> None:
        """Report the measured loss of the chosen expert to the first router."""
        self._first.observe(decision, loss)

    def record_kept(self, decision_id: str, chosen: str, **details: Any) -> None:  # noqa: ANN401 - those of Router.record_kept
        """Write an answer that needed no decision as the first router does."""
        self._first.record_kept(decision_id, chosen, **details)

    def _with_parts(self, perception: Perception, library: Library) -> NoReturn:  # noqa: ARG002 - the signature of the base class
        """Raise: it is not clear which router the parts are of.

        Raises:
            InputError: always.
        """
        raise self._has_several()

    def _has_several(self) -> InputError:
        names = ", ".join(self.routers)
        return InputError(
            f"A {type(self).__name__} has several routers ({names}): change each of them, and make "
            "it again."
        )

    def _rebuilt(self, perception: Perception, library: Library) -> NoReturn:
        """Raise, as `_with_parts` does: each router is simulated by itself."""
        self._with_parts(perception, library)

    def save_pretrained(self, folder: str | Path, **_: Any) -> NoReturn:  # noqa: ANN401 - the options of a push
        """Raise: each router is saved by itself, and a policy is a line of code.

        Raises:
            PersistenceError: always.
        """
        raise self._not_saved(folder)

    def push_to_hub(self, repo_id: str, **_: Any) -> NoReturn:  # noqa: ANN401 - the options of a push
        """Raise, as `save_pretrained` does.

        Raises:
            PersistenceError: always.
        """
        raise self._not_saved(repo_id)

    def _not_saved(self, target: object) -> PersistenceError:
        names = ", ".join(self.routers)
        return PersistenceError(
            f"{target}: a {type(self).__name__} is not saved. Save its routers ({names}) each by "
            "itself, and make it again from what `Router.from_pretrained` loads."
        )

    @classmethod
    def from_pretrained(cls, *_: Any, **__: Any) -> NoReturn:  # noqa: ANN401 - the arguments of Router.from_pretrained
        """Raise, for the reason that `save_pretrained` gives.

        Raises:
            PersistenceError: always.
        """
        raise PersistenceError(
            f"A {cls.__name__} is not loaded: load its routers with `Router.from_pretrained` and "
            "make it from them."
        )

    from_hub = from_pretrained

    def __repr__(self) -> str:
        """Show the routers."""
        return f"{type(self).__name__}({self.routers!r})"


def check_routers(routers: object) -> dict[str, Router]:
    """Return the routers by their names.

    Raises:
        InputError: it is no such dict.
    """
    if not isinstance(routers, Mapping) or not routers:
        raise InputError(
            f"routers are {routers!r:.80}; expected a dict of at least one router by its name, "
            "such as {'a': router_a, 'b': router_b}."
        )
    for name, router in routers.items():
        if not isinstance(name, str) or not name or not isinstance(router, Router):
            raise InputError(
                f"routers have {name!r:.40}: {type(router).__name__}; expected the name of a "
                "router and a Router."
            )
    return dict(routers)


def joint_library(routers: Mapping[str, Router]) -> Library:
    """Return the experts of all routers; the facts are those of the first that has an expert."""
    first, *others = (router.library for router in routers.values())
    missing = [library[name] for library in others for name in library.names if name not in first]
    if not missing:
        return first
    unique = {expert.name: expert for expert in reversed(missing)}
    return Library([*first, *reversed(unique.values())])
