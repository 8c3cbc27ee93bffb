"""Maps that go part of the way: none leaves embeddings where they are, all is what was learned."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.tools import ToolRanker


def test_the_share_walks_from_the_identity_to_what_was_learned():
    fit = ToolRanker.from_pretrained().matcher
    one = np.eye(len(fit.query_map))
    for share, expected in ((0.0, one), (1.0, fit.query_map), (0.5, (one + fit.query_map) / 2)):
        assert fit.interpolate(share).query_map == pytest.approx(expected, abs=1e-6)
    assert fit.interpolate(0.0).tool_map == pytest.approx(one)
    assert fit.interpolate(0.5).cosine_scale == fit.cosine_scale
