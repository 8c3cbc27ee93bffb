"""Split: divide traffic between routers, each thread or user always to the same one."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tryage.core.request import check_prompts
from tryage.core.validation import check_number
from tryage.errors import InputError
from tryage.policies.composite import CompositeRouter, check_routers, joint_library

if TYPE_CHECKING:
    from typing_extensions import Self

    from tryage.core.decision import Decision
    from tryage.core.request import ConversationContext, PreferencesLike
    from tryage.router import Router

_N_HASHES = 2.0**64


class Split(CompositeRouter):
    """Lets several routers decide, each about a share of the traffic: an experiment, or a roll-out.

    It is used as a router. All requests of one key, such as a thread, go to one router: in every
    process, on every machine, as long as names, order, shares and salt stay. A larger share of the
    last router keeps all the keys that it has. A request without the key goes to a router by
    chance. The log names the router of each decision (its `arm`), and `tryage report` compares
    them.

    Args:
        routers: The routers by their names. The first one stands for all where one is needed.
            They may know different experts.
        shares: The share of each router by its name; equal ones if None. They are divided by their
            sum.
        by: The key of a conversation that decides: "thread_id", "user_id" or one of your own.
        salt: Another text divides the keys anew, so that two experiments do not depend on each
            other.

    Raises:
        InputError: fewer than two routers, shares that do not fit them, or only some have a log.
        PerceptionError: as for `CompositeRouter`.
    """

    def __init__(
        self,
        routers: Mapping[str, Router],
        shares: Mapping[str, float] | None = None,
        *,
        by: str = "thread_id",
        salt: str = "",
    ) -> None:
        checked = check_routers(routers)
        super().__init__(checked, joint_library(checked))
        if len(self.routers) < 2:
            raise InputError(f"A split needs at least two routers, got {[*self.routers]}.")
        if not isinstance(by, str) or not by or not isinstance(salt, str):
            raise InputError(
                f"by is {by!r:.40} and salt {salt!r:.40}; expected the name of a key, such as "
                '"thread_id", and a text.'
            )
        without = [name for name, router in self.routers.items() if router.log is None]
        if 0 < len(without) < len(self.routers):
            raise InputError(
                f"These routers have no log: {', '.join(without)}. Give all the same `traffic`."
            )
        self.shares, self.by, self.salt = _check_shares(shares, [*self.routers]), by, salt

    def with_routers(self, routers: Mapping[str, Router]) -> Self:
        """Return the same split between other routers of the same names."""
        return type(self)(routers, self.shares, by=self.by, salt=self.salt)

    def arm_of(self, key: str) -> str:
        """Return the name of the router that decides about all requests of a key."""
        digest = hashlib.sha256(f"{self.salt}\0{key}".encode("utf-8", "surrogatepass")).digest()
        return self._arm_at(int.from_bytes(digest[:8], "big") / _N_HASHES)

    def decide_batch(
        self,
        prompts: Sequence[str],
        preferences: PreferencesLike = None,
        *,
        contexts: Sequence[ConversationContext] | None = None,
    ) -> list[Decision]:
        """Let the router of each prompt's key decide, with one encoder pass for each router.

        Raises:
            InputError, FlagError, NoExpertError, PerceptionError: as in `Router.route_batch`.
        """
        check_prompts(prompts)
        if not all(_is_for_each(one, len(prompts)) for one in (preferences, contexts)):
            # A router says what is wrong.
            return self._first.decide_batch(prompts, preferences, contexts=contexts)
        arms = self._arms(len(prompts), contexts)
        decisions: list[Decision | None] = [None] * len(prompts)
        for arm, router in self.routers.items():
            rows = [row for row, name in enumerate(arms) if name == arm]
            if rows:
                decided = router.decide_batch(
                    _take(prompts, rows), _take(preferences, rows), contexts=_take(contexts, rows)
                )
                for row, decision in zip(rows, decided, strict=True):
                    decisions[row] = replace(decision, arm=arm, arms=(arm, *decision.arms))
        return [decision for decision in decisions if decision is not None]

    def tell_policy(self, decision: Decision, **details: Any) -> None:  # noqa: ANN401 - those of Router.tell_policy
        """Tell the policy of the router that made a decision."""
        self._router_of(decision).tell_policy(_without_arm(decision), **details)

    def write(self, decision: Decision, **details: Any) -> None:  # noqa: ANN401 - those of Router.write
        """Write a decision as the router does that made it, with the key that decided."""
        key = details.pop("key", None) or decision.keys.get(self.by)
        self._router_of(decision).write(_without_arm(decision), key=key, **details)

    def record_kept(
        self,
        decision_id: str,
        chosen: str,
        *,
        keys: Mapping[str, str] | None = None,
        **details: Any,  # noqa: ANN401 - those of Router.record_kept
    ) -> None:
        """Write an answer without a decision as the router of its key does."""
        key = (keys or {}).get(self.by)
        arm = None if key is None else self.arm_of(key)
        router = self._first if arm is None else self.routers[arm]
        # Of a split within a split the log has the key and the arm of the outer one.
        router.record_kept(decision_id, chosen, keys=keys, **{"key": key, "arm": arm} | details)

    def observe(self, decision: Decision, loss: float) -> None:
        """Report the measured loss of the chosen expert to the router that chose it."""
        self._router_of(decision).observe(_without_arm(decision), loss)

    def _router_of(self, decision: Decision) -> Router:
        arm = decision.arms[0] if decision.arms else decision.arm
        return self.routers.get(arm or "", self._first)

    def _arms(self, n: int, contexts: Sequence[ConversationContext] | None) -> list[str]:
        """Return the name of the router of each request."""
        keys = [context.keys.get(self.by) for context in contexts] if contexts else [None] * n
        return [self._arm_at(random.random()) if key is None else self.arm_of(key) for key in keys]  # noqa: S311 - guards no secret

    def _arm_at(self, place: float) -> str:
        """Return the router in whose share a place between 0 and 1 lies."""
        end = 0.0
        for name, share in self.shares.items():
            end += share
            if place < end:
                return name
        return next(reversed([*self.shares]))  # the shares add up to 1 but for rounding errors

    def __repr__(self) -> str:
        """Show the shares."""
        shares = ", ".join(f"{name}: {share:.3g}" for name, share in self.shares.items())
        return f"Split({shares}; by {self.by})"


def _without_arm(decision: Decision) -> Decision:
    """Return a decision for a router of a split; its `arm` stays that of the outermost split."""
    return replace(decision, arms=decision.arms[1:])


def _is_one_for_all(values: object) -> bool:
    return isinstance(values, str) or not isinstance(values, Sequence)


def _is_for_each(values: Any, n: int) -> bool:  # noqa: ANN401 - preferences or contexts
    """Tell whether there is one value for all prompts, or one for each."""
    return _is_one_for_all(values) or len(values) in (0, n)


def _take(values: Any, rows: Sequence[int]) -> Any:  # noqa: ANN401 - prompts, preferences or contexts
    """Return some of the values of a batch; one value for all stays."""
    return values if _is_one_for_all(values) or not values else [values[row] for row in rows]


def _check_shares(shares: object, names: Sequence[str]) -> dict[str, float]:
    """Return the share of each router, divided by their sum, in the order of the routers.

    Raises:
        InputError: a router has no share, a share is of no router, or it is below zero.
    """
    if shares is None:
        return dict.fromkeys(names, 1 / len(names))
    if not isinstance(shares, Mapping) or set(shares) != set(names):
        raise InputError(
            f"shares are {shares!r:.120}; expected one number for each router: {', '.join(names)}."
        )
    checked = {name: check_number(f"share of {name}", shares[name], 0.0) for name in names}
    total = math.fsum(checked.values())
    if not (0 < total < math.inf):
        raise InputError(f"shares are {shares!r:.120}; expected at least one above 0.")
    return {name: share / total for name, share in checked.items()}
