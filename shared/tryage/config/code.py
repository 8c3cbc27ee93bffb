"""Objects that a file or a command names as "module:name": code of the user, which runs."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from tryage.core.redaction import describe_error
from tryage.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def import_object(location: str, folder: Path) -> object:
    """Import "module:name", also a module of a folder.

    Raises:
        InputError: there is no such module or name, or importing it fails.
    """
    module, colon, name = location.partition(":")
    if not colon or not module or not name:
        raise InputError(f'{location!r:.80} is no "module:name", such as "my_models:small".')
    path = str(folder)
    sys.path.insert(0, path)  # `python -m` adds the working folder, a console script does not
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{location} cannot be imported: {describe_error(error)}") from error
    finally:
        sys.path.remove(path)
