"""Shadow: another router decides beside the one that answers, and the log keeps both choices."""

from __future__ import annotations

import copy
import logging
import math
import time
import weakref
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tryage.core.redaction import redacted_error
from tryage.core.request import ConversationContext
from tryage.errors import InputError
from tryage.locks import ForkSafeLock
from tryage.policies.composite import CompositeRouter
from tryage.router import Router
from tryage.traffic.writer import WARNING_INTERVAL, Writer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from tryage.core.decision import Decision
    from tryage.core.policy import Policy
    from tryage.core.preferences import Preferences
    from tryage.core.request import PreferencesLike

_LOGGER = logging.getLogger(__name__)

_BESIDE = "the router that answers"
_BATCH_SIZE = 8  # prompts of one encoder pass, for which Python's lock is held: under two ms
_PAUSE = 0.002  # seconds between two passes, for calls that wait for that lock
_INTERVAL = 0.5  # seconds for which decisions are gathered: one pass for many costs much less
_CLOSING_TIME = 5.0  # seconds at the end of the process


class Shadow(CompositeRouter):
    """Lets a router decide beside another one that answers, to see what it would have chosen.

    It is used as a router, and decides as `beside` does. The shadow decides later in a thread of
    its own, and only about what is logged: a call does not wait for it, and does not fail with it.
    If it falls behind by more than `queue_size` decisions, some are logged without its choice. It
    never explores. `tryage report` says how often it chooses otherwise, what that would cost, and
    how much better the answers would have been, as far as the log can tell.

    Args:
        router: The router that only decides.
        beside: The router that answers; the bundled one if None.
        name: The shadow's name in the log.
        queue_size: How many decisions may wait for the shadow.

    Raises:
        InputError: something is no router, or the name is empty.
        PerceptionError: as for `CompositeRouter`.
    """

    def __init__(
        self,
        router: Router,
        *,
        beside: Router | None = None,
        name: str = "shadow",
        queue_size: int = 1_000,
    ) -> None:
        if not isinstance(name, str) or not name or name == _BESIDE:
            raise InputError(f"name is {name!r:.40}; expected the name of a shadow for the log.")
        if not isinstance(router, Router):
            raise InputError(f"router is a {type(router).__name__}; expected a Router.")
        answering = Router.from_pretrained() if beside is None else beside
        if not isinstance(answering, Router):
            raise InputError(f"beside is a {type(beside).__name__}; expected a Router.")
        super().__init__({_BESIDE: answering, name: router})
        self.name, self.queue_size = name, queue_size
        self._requests: OrderedDict[str, _Request] = OrderedDict()
        self._lock = ForkSafeLock()
        self._recorder = _Recorder(answering, router.map_routers(_without_exploration), name)
        self._writer = Writer(
            self._recorder.record_all, _name_of_job, queue_size=queue_size, interval=_INTERVAL
        )
        self._finalizer = weakref.finalize(self, self._writer.close, _CLOSING_TIME)

    @property
    def missed(self) -> dict[str, int]:
        """How many decisions the log has without the shadow's choice, by the reason."""
        return dict(self._recorder.missed)

    def with_routers(self, routers: Mapping[str, Router]) -> Self:
        """Return a shadow of the same name for other routers."""
        return type(self)(
            routers[self.name], beside=routers[_BESIDE], name=self.name, queue_size=self.queue_size
        )

    def policies(self) -> tuple[Policy, ...]:
        """Return the single policies of the router that answers: the shadow changes nothing."""
        return self._first.policies()

    def decide_batch(
        self,
        prompts: Sequence[str],
        preferences: PreferencesLike = None,
        *,
        contexts: Sequence[ConversationContext] | None = None,
    ) -> list[Decision]:
        """Let the router decide that answers, and remember what the shadow has to know.

        Raises:
            InputError, FlagError, NoExpertError, PerceptionError: as in `Router.route_batch`.
        """
        decisions = self._first.decide_batch(prompts, preferences, contexts=contexts)
        if self.log is not None:
            with self._lock:
                for row, decision in enumerate(decisions):
                    self._requests[decision.id] = _Request(
                        prompts[row], _row(preferences, row), contexts[row] if contexts else None
                    )
                while len(self._requests) > self.queue_size:
                    self._requests.popitem(last=False)
        return decisions

    def tell_policy(self, decision: Decision, **details: Any) -> None:  # noqa: ANN401 - those of Router.tell_policy
        """Tell the policy of the router that answers, at once: it counts the calls of now."""
        self._first.tell_policy(decision, **details)

    def write(self, decision: Decision, **details: Any) -> None:  # noqa: ANN401 - those of Router.write
        """Have the decision written, later, with the choice of the shadow.

        An expert that a conversation stays with was not chosen now, so the shadow has no say.
        """
        with self._lock:
            request = self._requests.pop(decision.id, None)
        if details.get("time") is None:
            details["time"] = time.time()
        is_kept = details.get("chosen") not in (None, decision.expert.name)
        if self.log is None or is_kept or decision.default_used:
            self._first.write(decision, **details)
        elif request is None or self._writer.waiting >= self.queue_size:
            self._recorder.miss("busy")
            self._first.write(decision, **details)
        else:
            self._writer.put(_Job(request, decision, details))

    def flush(self, timeout: float | None = 10.0) -> bool:
        """Wait until the shadow has decided about all that was recorded; False if it has not."""
        return self._writer.flush(timeout)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the routers; what waits for the shadow stays here."""
        return _make_shadow, (*reversed(self.routers.values()), self.name, self.queue_size)

    def __repr__(self) -> str:
        """Show both routers."""
        return f"Shadow({self.routers[self.name]!r}, beside={self._first!r}, name={self.name!r})"


@dataclass(frozen=True, slots=True)
class _Request:
    """What was asked of the router."""

    prompt: str
    preferences: Preferences | str | None
    context: ConversationContext | None


@dataclass(frozen=True, slots=True)
class _Job:
    """A decision that waits for the shadow; `details` are the arguments of `Router.write`."""

    request: _Request
    decision: Decision
    details: Mapping[str, Any]


class _Recorder:
    """Adds the shadow's choices to decisions and has them written; whatever fails, they are."""

    def __init__(self, beside: Router, shadow: Router, name: str) -> None:
        self._beside, self._shadow, self._name = beside, shadow, name
        self._warned_at = -math.inf
        self.missed: Counter[str] = Counter()

    def record_all(self, jobs: Sequence[_Job]) -> Sequence[_Job]:
        """Write decisions with the choices of the shadow."""
        for start in range(0, len(jobs), _BATCH_SIZE):
            batch = jobs[start : start + _BATCH_SIZE]
            for job, choice in zip(batch, self._choices(batch), strict=True):
                decision = job.decision
                if choice is not None:
                    choices = {**decision.shadow_choices, self._name: choice}
                    decision = replace(decision, shadow_choices=choices)
                self._beside.write(decision, **job.details)
            time.sleep(_PAUSE)
        return ()

    def _choices(self, jobs: Sequence[_Job]) -> list[str | None]:
        """Return the shadow's choices, None where it fails; one failure harms no other."""
        try:
            decisions = self._shadow.decide_batch(
                [job.request.prompt for job in jobs],
                [job.request.preferences for job in jobs],
                contexts=[job.request.context or ConversationContext() for job in jobs],
            )
        except Exception as error:  # noqa: BLE001 - a router that only decides must harm nothing
            if len(jobs) > 1:
                return [choice for job in jobs for choice in self._choices([job])]
            self._warn(error)
            return [None]
        return [decision.expert.name for decision in decisions]

    def miss(self, reason: str) -> None:
        """Count a decision without a choice of the shadow."""
        self.missed[reason] += 1

    def _warn(self, error: Exception) -> None:
        """Count a failure, and log one warning a minute."""
        self.miss("failed")
        now = time.monotonic()
        if now - self._warned_at >= WARNING_INTERVAL:
            self._warned_at = now
            _LOGGER.warning(
                "The shadow %s cannot decide (%s). Answers are not affected.",
                self._name,
                type(error).__name__,
            )
            if _LOGGER.isEnabledFor(logging.DEBUG):  # the message may quote a prompt
                _LOGGER.debug("The failure of the shadow", exc_info=redacted_error(error))


def _without_exploration(router: Router) -> Router:
    """Return the router without its exploration: a choice by chance says nothing about it."""
    plain = copy.copy(router)
    plain._explorer = None  # noqa: SLF001 - of another router
    return plain


def _row(preferences: PreferencesLike, row: int) -> Preferences | str | None:
    """Return the preferences of one prompt of a batch."""
    if isinstance(preferences, Sequence) and not isinstance(preferences, str):
        return preferences[row]
    return preferences


def _name_of_job(_: object) -> str:
    return "decisions"


def _make_shadow(router: Router, beside: Router, name: str, queue_size: int) -> Shadow:
    return Shadow(router, beside=beside, name=name, queue_size=queue_size)
