"""A saved ranker selects as before; format 1 is read; a damaged folder is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tryage import Preferences
from tryage.errors import PersistenceError
from tryage.tools import Tool, ToolRanker
from tryage.tools.matching import tool_fingerprints
from tryage.tools.persistence import BUNDLED_FOLDER, FORMAT

FORMAT_1 = Path(__file__).parents[1] / "fixtures" / "format_1" / "ranker"
WEATHER = "What is the weather like in Rome?"


@pytest.fixture
def saved(encoder, matcher, tools, tmp_path):
    """A folder with a ranker that has seen a tool and has learned from use."""
    seen = replace(matcher, seen_fingerprints=tool_fingerprints(tools[:1]), seen_penalty=3.0)
    ranker = ToolRanker(encoder, seen)
    ranker.observe(WEATHER, ["translate"], ["send_mail"])
    ranker.save_pretrained(tmp_path)
    return ranker, tmp_path


def test_a_saved_ranker_selects_as_before(saved, tools):
    ranker, folder = saved
    again = ToolRanker.from_pretrained(folder)
    for query in (WEATHER, "Mail Ann the weather, and translate it into Greek"):
        assert again.select(tools, query).to_dict() == ranker.select(tools, query).to_dict()
    assert again.matcher.seen_fingerprints.dtype == np.uint64
    assert again.toolbox(tools).seen_penalties.tolist() == [3, 0, 0, 0, 0]
    assert len(again.feedback) == 2


def test_a_saved_ranker_is_data_and_a_card(saved):
    _, folder = saved
    endings = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert endings == {".json", ".safetensors", ".md"}
    card = (folder / "README.md").read_text("utf-8")
    assert "StaticEncoder, 256 dimensions" in card
    assert "(`ToolRanker.observe`): 2 tools" in card


def test_a_saved_ranker_has_the_names_of_today(saved):
    _, folder = saved
    header = json.loads((folder / "ranker.json").read_text("utf-8"))
    assert (header["format"], header["fit"]["kind"]) == (FORMAT, "ToolMatcher")
    assert header["taught"] == ["send_mail", "translate"]
    arrays = load_file(folder / "ranker.safetensors")
    assert {"fit.query_map", "fit.lexical_weights", "taught.0", "taught.1"} <= set(arrays)


# Format 1 ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def expected():
    """What the version that wrote format 1 has selected; floats are in `float.hex`."""
    return json.loads((FORMAT_1 / "expected.json").read_text("utf-8"))


def check_selections(selections, expected):
    """Compare all but totals and their order, which have other scales of constraints today."""
    for selection, record in zip(selections, expected, strict=True):
        losses = {one.name: one.predicted_loss for one in selection.ranking}
        assert [one.name for one in selection.rejected] == record["rejected"]
        assert selection.needed == pytest.approx(float.fromhex(record["needed"]), abs=1e-6)
        saved = map(float.fromhex, record["losses"])
        assert losses == pytest.approx(dict(zip(record["ranking"], saved, strict=True)), abs=1e-6)


def test_a_ranker_of_format_1_selects_as_when_it_was_saved(expected):
    ranker = ToolRanker.from_pretrained(FORMAT_1)
    tools = [Tool(**one) for one in expected["tools"]]
    queries = [one["query"] for one in expected["plain"]]
    plain = [ranker.select(tools, query, 2) for query in queries]
    check_selections(plain, expected["plain"])
    assert [list(one.names) for one in plain] == [one["names"] for one in expected["plain"]]
    careful = Preferences.from_dict(expected["preferences"])
    check_selections(
        [ranker.select(tools, one, None, preferences=careful, granted=[]) for one in queries],
        expected["careful"],
    )
    assert len(ranker.feedback) == 2


def test_a_ranker_of_format_1_is_saved_as_today_with_the_same_arrays(tmp_path):
    ToolRanker.from_pretrained(FORMAT_1).save_pretrained(tmp_path)
    before, after = (load_file(one / "ranker.safetensors") for one in (FORMAT_1, tmp_path))
    assert sorted(a.tobytes() for a in after.values()) == sorted(
        b.tobytes() for b in before.values()
    )
    header = json.loads((tmp_path / "ranker.json").read_text("utf-8"))
    assert header["format"] == FORMAT


def test_the_first_rankers_of_format_1_have_no_seen_tools(tmp_path):
    header = json.loads((FORMAT_1 / "ranker.json").read_text("utf-8"))
    del header["fit"]["seen"], header["fit"]["handicap"]
    (tmp_path / "ranker.json").write_text(json.dumps(header), "utf-8")
    for name in ("ranker.safetensors", "encoder"):
        (tmp_path / name).symlink_to(FORMAT_1 / name)
    matcher = ToolRanker.from_pretrained(tmp_path).matcher
    assert (len(matcher.seen_fingerprints), matcher.seen_penalty) == (0, 0.0)


def test_a_ranker_without_seen_tools_has_no_penalty(saved, tools):
    _, folder = saved
    header = json.loads((folder / "ranker.json").read_text("utf-8"))
    del header["fit"]["seen_fingerprints"], header["fit"]["seen_penalty"]
    (folder / "ranker.json").write_text(json.dumps(header), "utf-8")
    assert not ToolRanker.from_pretrained(folder).toolbox(tools).seen_penalties.any()


# What is refused ---------------------------------------------------------------------------


def rewrite(folder, change):
    """Change the text of the header."""
    path = folder / "ranker.json"
    path.write_text(change(path.read_text("utf-8")), "utf-8")


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "",
        lambda _: "{}",
        lambda text: text.replace('"format": 2', '"format": 99'),
        lambda text: text[:-20],
        lambda text: text.replace('"ToolMatcher"', '"Fit"'),
        lambda text: text.replace('"fit.query_map"', '"fit.gone"'),
        lambda text: text.replace('"translate"', '"translate", "one more"'),
    ],
    ids=["empty", "no fields", "newer", "cut off", "other class", "no array", "no feedback"],
)
def test_a_damaged_header_is_refused(saved, change):
    _, folder = saved
    rewrite(folder, change)
    with pytest.raises(PersistenceError):
        ToolRanker.from_pretrained(folder)


def test_damaged_weights_are_refused(saved):
    _, folder = saved
    (folder / "ranker.safetensors").write_bytes(b"no weights")
    with pytest.raises(PersistenceError, match="does not belong to the other files"):
        ToolRanker.from_pretrained(folder)


def test_a_path_without_a_folder_is_refused():
    with pytest.raises(PersistenceError, match=r"not a folder.*ToolRanker.save_pretrained"):
        ToolRanker.from_pretrained("nowhere")


def test_the_bundled_ranker_has_an_encoder_of_its_own(bundled):
    assert (BUNDLED_FOLDER / "encoder").is_dir()
    header = json.loads((BUNDLED_FOLDER / "ranker.json").read_text("utf-8"))
    assert header["format"] == FORMAT
    assert bundled.encoder.dim == 256
