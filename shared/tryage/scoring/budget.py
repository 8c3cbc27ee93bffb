"""What a run may still spend, in USD, and whether it is to stop."""

from __future__ import annotations

import threading

from tryage.errors import MeasurementError
from tryage.experts.values import number


class Budget:
    """A limit in USD that is kept before the money is spent; None is no limit.

    The first request to an expert goes alone: it shows what requests cost. Then as many run at once
    as would fit if each cost as much as the dearest so far, so the limit is passed only by a
    request that is dearer than all before it. Threads may share it.

    Raises:
        InputError: not a number, or negative.
    """

    def __init__(self, usd: float | None = None) -> None:
        self.limit = None if usd is None else number("The budget in USD", usd)
        self.spent = 0.0
        self.exhausted = False
        self._stop = threading.Event()
        self._dearest: dict[str, float] = {}
        self._lock = threading.Lock()

    def allows(self, expert: str, running: int = 0) -> bool:
        """Tell whether one more request may start while `running` others of the expert run."""
        if self.stopped:
            return False
        if self.limit is None:
            return True
        with self._lock:
            dearest = self._dearest.get(expert)
            if dearest is None:
                fits = self.spent < self.limit
            else:
                fits = self.spent + (running + 1) * dearest <= self.limit
            self.exhausted = self.exhausted or not (fits or running)
        return fits and (dearest is not None or running == 0)

    def charge(self, expert: str, usd: float | None) -> None:
        """Note what a request has cost.

        Raises:
            MeasurementError: unknown, and there is a limit to keep.
        """
        if usd is None:
            if self.limit is not None:
                raise MeasurementError(
                    f"What an answer of {expert} costs is unknown, so no budget can be kept. Give "
                    "the expert its input_price and output_price (0 if it is free) and a model "
                    "that reports its tokens, or go without a budget."
                )
            return
        with self._lock:
            self.spent += usd
            self._dearest[expert] = max(usd, self._dearest.get(expert, 0.0))

    def dearest(self, expert: str) -> float | None:
        """Return what the dearest request to an expert has cost in this run; None before any."""
        return self._dearest.get(expert)

    def spent_before(self, usd: float) -> None:
        """Count what earlier runs of the same table have cost."""
        self.spent += usd

    def stop(self) -> None:
        """Start nothing any more; what runs may finish."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether nothing more is to be started."""
        return self._stop.is_set()

    def pause(self, seconds: float) -> bool:
        """Wait, unless and until the run is stopped; tell whether it goes on."""
        return not self._stop.wait(seconds)
