"""Optional dependencies: one sentence that names the command, instead of a traceback."""

from __future__ import annotations

from importlib.util import find_spec

from tryage.errors import MissingExtraError


def require(module: str, extra: str) -> None:
    """Raise unless `module` can be found; it is looked for, not imported.

    Raises:
        MissingExtraError: names the command that installs the extra.
    """
    try:
        found = find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package is absent
        found = False
    if not found:
        raise MissingExtraError(
            f"{module} is not installed. Install it with: pip install 'tryage[{extra}]'"
        )
