"""Checks of what policies are given: a router, a table of measured losses, names of experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.validation import did_you_mean
from tryage.errors import InputError
from tryage.policies.composite import CompositeRouter
from tryage.router import Router
from tryage.scoring.qtable import QTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.library import Library

_MAX_NAMES = 10  # of a library, in a message


def check_router(router: object) -> Router:
    """Return a router that is not made of others.

    Raises:
        InputError: it is none.
    """
    if isinstance(router, Router) and not isinstance(router, CompositeRouter):
        return router
    hint = ": give one of its `routers`" if isinstance(router, CompositeRouter) else ""
    raise InputError(f"router is a {type(router).__name__}; expected one tryage.Router{hint}.")


def check_table(table: object) -> QTable:
    """Return a table of measured losses.

    Raises:
        InputError: it is none.
    """
    if isinstance(table, QTable):
        return table
    hint = f" Read it: QTable.read({table!r:.80})." if isinstance(table, str) else ""
    raise InputError(
        f"table is a {type(table).__name__}; expected a tryage.scoring.QTable of measured "
        f"losses.{hint}"
    )


def expected_names(unknown: Sequence[str], library: Library) -> str:
    """Return for a message which names would do in place of unknown ones."""
    near = did_you_mean(unknown[0], library.names)
    more = ", ..." if len(library) > _MAX_NAMES else ""
    return near or f" Expected some of {', '.join(library.names[:_MAX_NAMES])}{more}."
