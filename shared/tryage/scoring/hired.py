"""A worker on Ray, as the process that hired it sees it: its actor, and the chunk it measures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from tryage.scoring.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.scoring.chunks import Chunk
    from tryage.scoring.measurement import Prompt

ASIDE = "aside"  # the thread of a worker that hears `stop`
PART = 64 << 10  # bytes; Ray sends arguments of up to 100 KiB straight to the worker


@dataclass(slots=True, eq=False)
class Hired:
    """A worker for the expert of a task; `left` are the places in its chunk still to be measured.

    What it is asked is answered later, with `News`: the methods return what to wait for.
    """

    actor: Any
    task: int
    chunk: Chunk | None = None
    left: set[int] = field(default_factory=set)
    up: bool = False
    asked: tuple[str, int] | None = None

    @classmethod
    def start(
        cls, task: int, packed: bytes, limit: float | None, needs: Mapping[str, float]
    ) -> Self:
        """Start a worker, and send it the pickled measurer; `needs` is what Ray reserves for it."""
        import ray

        # A thread of its own for `stop`, which is heard while `news` waits.
        actor: Any = ray.remote(concurrency_groups={ASIDE: 1}, **needs)(Worker)
        hired = cls(actor.remote(limit), task)
        # As arguments of methods, in small parts: so they pass from process to process, and
        # neither the object store, which may spill to disk, nor the head's tables hold secrets.
        for start in range(0, len(packed), PART):
            hired.actor.receive.remote(packed[start : start + PART])
        return hired

    def ready(self) -> Any:  # noqa: ANN401 - Ray's own
        """Let it unpack the measurer."""
        return self.actor.unpack.remote()

    def begin(self, chunk: Chunk, prompts: Sequence[Prompt]) -> Any:  # noqa: ANN401 - Ray's own
        """Let it begin with a chunk."""
        self.chunk, self.left = chunk, set(range(len(chunk.positions)))
        return self.actor.begin.remote(prompts)

    def news(self, granted: bool | None = None) -> Any:  # noqa: ANN401 - Ray's own
        """Ask for what comes next, with the answer to what it asked, if anything."""
        return self.actor.news.remote(granted)

    def stop(self) -> None:
        """Let it start nothing any more."""
        self.actor.stop.options(concurrency_group=ASIDE).remote()

    def kill(self) -> None:
        """End its process."""
        import ray

        ray.kill(self.actor)
