"""Tryage as it is installed, with the router that ships: measured for time and size alone.

The bundled router has seen prompts of the sets, so its quality is not measured here; what Tryage
learns from a set is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from peer import Peer, Training, main

from tryage import Router

if TYPE_CHECKING:
    from collections.abc import Sequence


class BundledRouter(Peer):
    """`Router.from_pretrained()`."""

    def fit(self, training: Training) -> None:
        """Learn nothing; the router is loaded at the first decision."""
        del training
        self.router: Router | None = None

    def decide(self, prompt: str) -> object:
        """Decide about one prompt."""
        if self.router is None:
            self.router = Router.from_pretrained()
            self.n_experts = len(self.router.library.names)
        return self.router.route(prompt)

    def decide_many(self, prompts: Sequence[str]) -> None:
        """Decide in one batch."""
        assert self.router is not None  # noqa: S101 - the first decision came before
        self.router.route_batch(prompts)


if __name__ == "__main__":
    main({"bundled": BundledRouter})
