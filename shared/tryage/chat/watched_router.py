"""A router that is made anew when its file of settings changes, while calls go on."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from tryage.chat.configured import ConfiguredRouter, configure
from tryage.config.watch import ConfigWatch
from tryage.router import Router

if TYPE_CHECKING:
    from pathlib import Path

    from tryage.config.document import Overrides

_OWN = frozenset({"watch", "close", "reload", "__class__", "__dict__", "__reduce_ex__"})


class WatchedRouter(Router):
    """A router over the newest valid settings of a file.

    Whatever is asked of it is asked of the router of these settings: each call is decided by one
    router, from its first step to the last. A copy or a pickle is the router of now.

    Args:
        path: The file, as for `Router.from_config`.
        overrides: The same.

    Raises:
        ConfigError, MissingExtraError: as in `Router.from_config`.
    """

    watch: ConfigWatch[ConfiguredRouter]

    def __init__(self, path: str | Path | None = None, overrides: Overrides | None = None) -> None:
        object.__setattr__(self, "watch", ConfigWatch(path, configure, overrides))

    def reload(self) -> bool:
        """Read the file now; return whether it is valid, and in force."""
        return self.watch.reload()

    def close(self) -> None:
        """Stop waiting for changes; the settings stay as they are."""
        self.watch.close()

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401 - an attribute of a router
        """Return an attribute of the router of now."""
        if name in _OWN:
            return super().__getattribute__(name)
        return getattr(super().__getattribute__("watch").current.router, name)

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute of the router of now."""
        setattr(self.watch.current.router, name, value)

    def __reduce_ex__(self, _: Any) -> Any:  # noqa: ANN401 - as object has it
        """Copy and pickle the router of now."""
        return copy.copy, (self.watch.current.router,)

    def __repr__(self) -> str:
        """Show the file and the router of now."""
        return f"<{self.watch.path}: {self.watch.current.router!r}>"
