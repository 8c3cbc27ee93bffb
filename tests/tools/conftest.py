"""A few tools of an agent, the bundled encoder, and a ranker that has learned nothing yet."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.perception.persistence import load_encoder
from tryage.tools import Tool, ToolRanker
from tryage.tools.matching import N_NEEDED_FEATURES, ToolMatcher
from tryage.tools.persistence import BUNDLED_FOLDER


@pytest.fixture(scope="session")
def encoder():
    return load_encoder(BUNDLED_FOLDER / "encoder")


@pytest.fixture
def matcher(encoder):
    """Plain similarity plus shared words."""
    identity = np.eye(encoder.dim, dtype=np.float32)
    return ToolMatcher(
        query_map=identity,
        tool_map=identity,
        argument_weight=0.3,
        cosine_scale=20.0,
        lexical_weights=np.array([4.0, 1.0, 1.0], np.float32),
        clause_weight=1.0,
        usefulness_coef=np.array([-2.0, 0.1, 0.3], np.float32),
        needed_coef=np.array([-3.0, 10.0, *np.zeros(N_NEEDED_FEATURES - 1)], np.float32),
    )


@pytest.fixture
def ranker(encoder, matcher):
    return ToolRanker(encoder, matcher)


@pytest.fixture(scope="session")
def bundled():
    return ToolRanker.from_pretrained()


@pytest.fixture(scope="session")
def tools():
    return (
        Tool("getWeather", "Current weather of a city", {"city": "Name of the city"}, latency=0.2),
        Tool("send_mail", "Send an e-mail", {"to": "Address"}, risk=0.8, permissions={"write"}),
        Tool("stock.price", "Price of a share on the stock exchange", cost=0.01),
        Tool("translate", "Translate text into another language", cost=0.001, latency=1.5),
        Tool("delete_file", "Delete a file from the disk", risk=1.0, permissions={"write", "disk"}),
    )
