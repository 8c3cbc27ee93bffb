"""TryageMiddleware is refused, with a sentence, where it could not work."""

from __future__ import annotations

import pytest

from tryage.errors import InputError, LibraryError, PerceptionError
from tryage_langchain import TryageMiddleware


def test_wrong_parts_are_refused(router, models):
    with pytest.raises(PerceptionError, match="huge"):
        TryageMiddleware({"huge": models["big"]}, router)
    with pytest.raises(InputError, match="no models"):
        TryageMiddleware({}, router)
    with pytest.raises(LibraryError, match="huge"):
        TryageMiddleware(models, router, default="huge")
    with pytest.raises(InputError, match=r"sticky is 'day'.*'turn', 'thread', 'call'"):
        TryageMiddleware(models, router, sticky="day")
    with pytest.raises(InputError, match=r"'big' is a .*Binding"):
        TryageMiddleware({"big": models["big"].bind(stop=["x"])}, router)


def test_the_default_must_have_a_model(router, models):
    with pytest.raises(LibraryError, match="big"):
        TryageMiddleware({"small": models["small"]}, router, default="big")
