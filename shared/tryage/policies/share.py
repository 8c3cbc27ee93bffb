"""Keep a share of a stream of requests above a threshold that follows their scores."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from typing import TYPE_CHECKING, Any

from tryage.core.validation import check_integer, check_number
from tryage.locks import ForkSafeLock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import Self

SHARE_ERROR = 0.02
"""How far the share over a window is from its target at most, whatever the scores are."""

MAX_DEBT = 0.1
"""How many calls too many or too few are made up for later, as a share of the window."""

MIN_WINDOW = 200  # requests; in 100 no step keeps the error


class ShareTracker:
    """A threshold on scores that a given share of a stream is above, also if the stream changes.

    A score counts as its rank among the last `window` scores, in (0, 1); equal scores have equal
    ranks. Each request moves the threshold: up by `step * (1 - share)` if it is above, else down by
    `step * share`. In any `window` requests in a row the share is wrong by two points at most, in
    any order of any scores: the number of those above, less its target, is the way of the threshold
    divided by `step = 1 / (0.02 window - 2)`, and the threshold stays in `[-step, 1 + step]` while
    each request is decided after the update of the one before. Where several are decided at once,
    the share is wrong by their number more, and later requests make up for it. This is the quantile
    tracker of Angelopoulos, Candès and Tibshirani (2023, "Conformal PID Control for
    Time Series Prediction", proposition 1) on ranks. Several threads may use it.

    Args:
        share: The share that is above the threshold, in [0, 1].
        scores: Scores of earlier requests; without any the first requests are above it in turns.
        window: Requests over which the share is kept. A longer one follows the scores more slowly,
            and chooses better while they do not change.

    Raises:
        InputError: a share outside [0, 1], or a window of fewer than 200 requests.
    """

    def __init__(self, share: float, scores: Iterable[float] = (), window: int = 1000) -> None:
        self.share = check_number("share", share, 0.0, 1.0)
        self.window = check_integer("window", window, MIN_WINDOW)
        self.step = 1 / (SHARE_ERROR * self.window - 2)
        self.level = 1.0 - self.share
        self._recent = deque([float(one) for one in scores], maxlen=self.window)
        self._sorted = sorted(self._recent)
        self._lock = ForkSafeLock()

    def preview(self, scores: Sequence[float]) -> list[bool]:
        """Return which of the next requests are above the threshold, and remember nothing.

        The threshold moves from each to the next one, as if all of them were updates.
        """
        trial = self.copy()
        above = []
        for score in scores:
            above.append(trial.is_above(score))
            trial.update(score, above[-1])
        return above

    def is_above(self, score: float) -> bool:
        """Tell whether a score is above the threshold now."""
        return self.rank(score) > self.level

    def rank(self, score: float) -> float:
        """Return the rank of a score among the last ones, in (0, 1)."""
        below, up_to = bisect_left(self._sorted, score), bisect_right(self._sorted, score)
        return (below + up_to + 1) / 2 / (len(self._sorted) + 1)

    def update(self, score: float | None, is_above: bool) -> None:
        """Take note of a request; `score` is None if it had none, but counts for the share."""
        with self._lock:
            self.level += self.step * (is_above - self.share)
            # Many requests that are decided at once may go too far, and all that is made up for. A
            # long time in which something else decides is not.
            limit = max(MAX_DEBT * self.window, 1) * self.step
            self.level = min(max(self.level, -limit), 1 + limit)
            if score is not None:
                self._remember(float(score))

    def _remember(self, score: float) -> None:
        if len(self._recent) == self.window:
            del self._sorted[bisect_left(self._sorted, self._recent[0])]
        self._recent.append(score)
        insort(self._sorted, score)

    @property
    def threshold(self) -> float | None:
        """The lowest of the last scores that is above the threshold, None if none is."""
        with self._lock:
            return next((one for one in self._sorted if self.is_above(one)), None)

    def copy(self) -> Self:
        """Return a tracker in the same state, which goes on by itself."""
        with self._lock:
            return self._copied()

    def _copied(self) -> Self:
        other = type(self).__new__(type(self))
        other.__setstate__(self._state())
        return other

    def _state(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name != "_lock"}
        return {**state, "_recent": self._recent.copy(), "_sorted": self._sorted.copy()}

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the lock, which cannot be pickled."""
        with self._lock:
            return self._state()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state, with a lock of its own."""
        vars(self).update(state, _lock=ForkSafeLock())
