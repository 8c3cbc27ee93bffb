"""Tools that training has seen do not push out those that came later: they carry a handicap."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tryage.learning.training.optimizer import Schedule
from tryage.tools import Tool, ToolRanker
from tryage.tools.matching import tool_fingerprints
from tryage.tools.training import Episode, ToolRankerConfig, fit_ranker

OLD = Tool("weather_forecast", "Weather of the coming days")
LATER = Tool("weather_report", "Weather of the coming days")
ASKED = "weather forecast of the coming days"


@pytest.fixture
def seen(encoder, fit):
    """A ranker that was trained on one of two tools."""
    return ToolRanker(
        encoder, replace(fit, seen_fingerprints=tool_fingerprints([OLD]), seen_penalty=30.0)
    )


def ranked(ranker, *tools):
    return [one.name for one in ranker.select(tools, ASKED).ranking]


def test_only_a_seen_tool_carries_the_handicap(seen):
    assert seen.toolbox([LATER, OLD]).seen_penalties.tolist() == [0, 30]


def test_a_tool_that_came_later_wins_where_the_handicap_outweighs_the_lead(ranker, seen):
    assert ranked(ranker, OLD, LATER) == [OLD.name, LATER.name]
    assert ranked(seen, OLD, LATER) == [LATER.name, OLD.name]


def test_among_tools_that_are_all_seen_or_all_new_nothing_changes(ranker, seen):
    both = ToolRanker(
        seen.encoder, replace(seen.matcher, seen_fingerprints=tool_fingerprints([OLD, LATER]))
    )
    none = ToolRanker(seen.encoder, replace(seen.matcher, seen_fingerprints=tool_fingerprints([])))
    for one in (both, none, ranker):
        assert ranked(one, OLD, LATER) == ranked(one, LATER, OLD) == [OLD.name, LATER.name]


def test_a_tool_is_known_again_by_its_name_and_description():
    told = replace(OLD, arguments={"city": "Name"}, cost=0.1, permissions=frozenset({"read"}))
    assert told.fingerprint == OLD.fingerprint
    assert (
        len({OLD.fingerprint, LATER.fingerprint, replace(OLD, description="Weather").fingerprint})
        == 3
    )
    assert Tool("\ud800").fingerprint < 2**64


def test_what_permissions_leave_keeps_its_handicap(seen):
    guarded = Tool("delete_file", "Delete a file", permissions=frozenset({"disk"}))
    box, refused = seen.toolbox([guarded, LATER, OLD]).with_permissions([])
    assert [one.name for one in refused] == ["delete_file"]
    assert box.seen_penalties.tolist() == [0, 30]


def test_a_saved_ranker_knows_what_it_has_seen(seen, tmp_path):
    seen.save_pretrained(tmp_path)
    again = ToolRanker.from_pretrained(tmp_path)
    assert again.matcher.seen_fingerprints.dtype == np.uint64
    assert ranked(again, OLD, LATER) == ranked(seen, OLD, LATER)


def test_a_ranker_saved_before_there_were_handicaps_opens_without(seen, tmp_path):
    seen.save_pretrained(tmp_path)
    header = json.loads((tmp_path / "ranker.json").read_text("utf-8"))
    del header["fit"]["seen_fingerprints"], header["fit"]["seen_penalty"]
    (tmp_path / "ranker.json").write_text(json.dumps(header), "utf-8")
    assert ToolRanker.from_pretrained(tmp_path).toolbox([OLD]).seen_penalties.tolist() == [0]


def test_training_remembers_its_tools_and_one_descent_serves_whatever_they_are_charged(
    encoder, tmp_path
):
    pytest.importorskip("torch")
    idle = Tool("idle", "Of no use to anyone")
    pool = [OLD, idle]
    episodes = [Episode(f"forecast {i} of the days", pool, {OLD.name}) for i in range(90)]
    recipe = ToolRankerConfig(schedule=Schedule(epochs=1, learning_rate=2e-3, batch_size=32))
    for handicap, trust in ((0.0, 1.0), (1.5, 0.5)):
        wanted = replace(recipe, seen_penalty=handicap, interpolation=trust)
        ranker = fit_ranker(episodes, encoder, config=wanted, checkpoint=tmp_path, progress=False)
        assert ranker.toolbox([LATER, OLD, idle]).seen_penalties.tolist() == [0, handicap, handicap]
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
