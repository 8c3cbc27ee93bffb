"""Property tests draw the same examples on every run and never judge by the clock."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("tryage", derandomize=True, deadline=None)
settings.load_profile("tryage")
