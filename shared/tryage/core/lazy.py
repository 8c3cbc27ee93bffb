"""Lazy exports: a package imports its public names when they are first used (PEP 562)."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def lazy_exports(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package that exports names of its modules.

    Args:
        package: The package's `__name__`.
        modules: Name -> full name of the module that defines it, or "module:attribute" if the
            attribute has another name there.
    """

    def get_attribute(name: str) -> Any:  # noqa: ANN401 - an exported object may have any type
        if name not in modules:
            raise AttributeError(
                f"module {package!r} has no attribute {name!r}; it has {sorted(modules)}"
            )
        module, _, attribute = modules[name].partition(":")
        value = getattr(import_module(module), attribute or name)
        setattr(sys.modules[package], name, value)
        return value

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return get_attribute, list_names
