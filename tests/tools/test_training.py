"""Training learns what descriptions do not tell, and what a score means."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from tryage.cli import app
from tryage.errors import InputError, PersistenceError
from tryage.learning.training.optimizer import Schedule
from tryage.tools import Tool, ToolRanker
from tryage.tools.measures import auroc, recall, set_f1
from tryage.tools.training import Episode, ToolRankerConfig, fit_ranker, group_by_toolset

pytest.importorskip("torch")

POOL = [Tool("alpha", "internal service"), Tool("beta", "internal tool"), Tool("gamma", "helper")]
TOPICS = {
    "alpha": ("invoice", "tax", "ledger", "salary", "budget"),
    "beta": ("goat", "sheep", "horse", "chicken", "cattle"),
    "gamma": ("guitar", "violin", "drum", "piano", "flute"),
}
RECIPE = ToolRankerConfig(
    schedule=Schedule(epochs=40, learning_rate=2e-3, batch_size=32, dropout=0.1)
)


def lessons(verbs=("show", "count", "list", "sort", "print", "open")):
    return [
        Episode(f"{verb} every {thing} of number {i}", POOL, frozenset({name}))
        for name, things in TOPICS.items()
        for thing in things
        for i, verb in enumerate(verbs)
    ]


@pytest.fixture(scope="module")
def taught(encoder):
    nothing = [Episode(f"hello {i}, how are you", POOL, frozenset()) for i in range(30)]
    return fit_ranker([*lessons(), *nothing], encoder, config=RECIPE, progress=False)


def test_what_descriptions_do_not_tell_is_learned_from_use(encoder, fit, taught):
    unseen = lessons(verbs=("remove", "describe"))
    for ranker, least, most in ((taught, 0.9, 1.0), (ToolRanker(encoder, fit), 0.0, 0.7)):
        chosen = [ranker.select(POOL, one.query, 1).names for one in unseen]
        found = np.mean([recall(c, one.useful, 1) for c, one in zip(chosen, unseen, strict=True)])
        assert least <= found <= most


def test_small_talk_is_told_from_requests(taught):
    needed = [taught.select(POOL, one.query).needed for one in lessons(verbs=("remove",))]
    chat = [taught.select(POOL, f"hello {i}, how are you").needed for i in range(40, 50)]
    assert auroc(np.array(needed), np.array(chat)) > 0.9


def test_training_twice_gives_the_same_ranker(encoder, taught):
    nothing = [Episode(f"hello {i}, how are you", POOL, frozenset()) for i in range(30)]
    again = fit_ranker([*lessons(), *nothing], encoder, config=RECIPE, progress=False)
    assert np.array_equal(again.matcher.query_map, taught.matcher.query_map)
    assert np.array_equal(again.matcher.needed_coef, taught.matcher.needed_coef)


def test_maps_go_as_far_as_they_are_trusted(encoder):
    one = np.eye(encoder.dim, dtype=np.float32)
    quick = replace(RECIPE, schedule=replace(RECIPE.schedule, epochs=2))
    none, half, whole = (
        fit_ranker(
            lessons(), encoder, config=replace(quick, interpolation=trust), progress=False
        ).matcher
        for trust in (0.0, 0.5, 1.0)
    )
    assert np.array_equal(none.query_map, one)
    assert not np.array_equal(whole.query_map, one)
    assert np.allclose(half.tool_map, (one + whole.tool_map) / 2, atol=1e-6)


def test_too_few_episodes_are_refused(encoder):
    with pytest.raises(InputError, match="at least 50"):
        fit_ranker(lessons()[:20], encoder, progress=False)


@pytest.mark.parametrize(("tools", "useful"), [([], set()), (POOL, {"delta"})])
def test_an_episode_needs_its_tools(tools, useful):
    with pytest.raises(InputError, match="among them"):
        Episode("query", tools, useful)


def test_episodes_with_the_same_tools_are_learned_among_themselves():
    own = [Episode(f"q{i}", [Tool(f"t{i}"), Tool("u")], {"u"}) for i in range(3)]
    many, rest = group_by_toolset([*lessons(), *own])
    assert many.tools == tuple(POOL)
    assert [tool.name for tool in rest.tools] == ["t0", "u", "t1", "t2"]


def test_measures_are_as_worked_by_hand():
    assert recall(["a", "b", "c"], {"a", "c"}, 2) == 0.5
    assert set_f1({"a", "b"}, {"a"}) == pytest.approx(2 / 3)
    assert set_f1(set(), set()) == 1
    assert auroc(np.array([2.0, 1.0]), np.array([1.0, 0.0])) == pytest.approx(3.5 / 4)


def test_the_command_trains_and_selects(tmp_path):
    rows = [{"query": one.query, "useful": sorted(one.useful)} for one in lessons()]
    (tmp_path / "used.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    pool = [{"name": tool.name, "description": tool.description, "cost": 0.1} for tool in POOL]
    (tmp_path / "tools.json").write_text(json.dumps(pool), "utf-8")
    run = CliRunner().invoke
    files = [str(tmp_path / name) for name in ("used.jsonl", "mine", "tools.json")]
    done = run(app, ["train-tools", files[0], "--output", files[1], "--tools", files[2]])
    assert done.exit_code == 0, done.output
    asked = ["tools", files[2], "sort every guitar", "--ranker", files[1], "--json", "--k", "1"]
    assert json.loads(run(app, asked).output)["tools"] == ["gamma"]


@pytest.mark.parametrize("text", ["{", "{}", '["name"]', '[{"description": "nameless"}]'])
def test_the_command_refuses_files_that_hold_no_tools(tmp_path, text):
    (tmp_path / "tools.json").write_text(text, "utf-8")
    done = CliRunner().invoke(app, ["tools", str(tmp_path / "tools.json"), "query"])
    assert done.exit_code == 2
    assert "Traceback" not in done.output


def test_a_damaged_ranker_is_refused_in_a_sentence(taught, tmp_path):
    taught.save_pretrained(tmp_path)
    header = tmp_path / "ranker.json"
    whole = header.read_text("utf-8")
    for broken in ("", "{}", whole.replace('"format": 2', '"format": 99'), whole[:-20]):
        header.write_text(broken, "utf-8")
        with pytest.raises(PersistenceError):
            ToolRanker.from_pretrained(tmp_path)
    header.write_text(whole, "utf-8")
    (tmp_path / "ranker.safetensors").write_bytes(b"no weights")
    with pytest.raises(PersistenceError, match="no readable tool ranker"):
        ToolRanker.from_pretrained(tmp_path)


def test_nothing_is_at_a_wrong_address():
    with pytest.raises(PersistenceError, match="not a folder"):
        ToolRanker.from_pretrained("nowhere")


def test_a_ranker_whose_episodes_all_need_a_tool_never_abstains(encoder):
    recipe = replace(RECIPE, schedule=replace(RECIPE.schedule, epochs=1))
    ranker = fit_ranker(lessons(), encoder, config=recipe, progress=False)
    assert ranker.select(POOL, "hello").needed == pytest.approx(1.0)
