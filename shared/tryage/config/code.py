"""Objects that a file or a command names as "module:name": code of the user, which runs."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from tryage.core.redaction import describe_error
from tryage.errors import InputError


def import_object(location: str, folder: Path) -> object:
    """Import "module:name", also a module of a folder or of the one in which the program runs.

    Raises:
        InputError: there is no such module or name, or importing it fails.
    """
    module, colon, name = location.partition(":")
    if not colon or not module or not name:
        raise InputError(f'{location!r:.80} is no "module:name", such as "my_models:small".')
    # `python -m` adds the working folder, a console script does not
    added = list(dict.fromkeys((str(folder), str(Path.cwd()))))
    sys.path[:0] = added
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{location} cannot be imported: {describe_error(error)}") from error
    finally:
        for path in added:
            sys.path.remove(path)
