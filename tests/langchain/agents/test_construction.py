"""TryageMiddleware is refused, with a sentence, where it could not work."""

from __future__ import annotations

import pytest

from tryage.errors import InputError, LibraryError
from tryage_langchain import TryageMiddleware


def test_wrong_parts_are_refused(router, models):
    with pytest.raises(LibraryError, match="huge"):
        TryageMiddleware(router, {"huge": models["big"]})
    with pytest.raises(InputError, match="empty"):
        TryageMiddleware(router, {})
    with pytest.raises(LibraryError, match="huge"):
        TryageMiddleware(router, models, default="huge")
    with pytest.raises(InputError, match=r"sticky is 'day'.*'turn', 'thread', 'call'"):
        TryageMiddleware(router, models, sticky="day")
    with pytest.raises(InputError, match=r"'big' is a .*Binding"):
        TryageMiddleware(router, {"big": models["big"].bind(stop=["x"])})


def test_the_default_must_have_a_model(router, models):
    with pytest.raises(LibraryError, match="big"):
        TryageMiddleware(router, {"small": models["small"]}, default="big")
