"""A damaged or hostile folder of a router or ranker is one PersistenceError, never a wrong answer.

Files are damaged at random with a fixed seed. The digests in the header are then made right again,
as someone would who means harm.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from tryage import Router
from tryage.errors import NoExpertError, PersistenceError
from tryage.tools import Tool, ToolRanker

FORMAT_1 = Path(__file__).parent / "fixtures" / "format_1"
ROUTERS = ("router_scored", "router_losses", "router_learning")
FORMAT_1_FOLDERS = [FORMAT_1 / name for name in (*ROUTERS, "ranker")]
PROMPTS = [
    "word1 word2",
    "",
    "Which?\nA. word1\nB. word2",
    '\n[{"name": "f", "type": 1}]',
    "\u4e16",
]
TOOLS = [Tool("weather", "Weather of a city", {"city": "name"}), Tool("mail", "Send a mail")]

DEEP = "DEEP"  # stands for many levels of brackets
LEVELS = (100, 300, 900, 5_000)
VALUES = [
    *(None, True, -1, 0, 1e308, 10**30, float("nan"), float("inf"), "x", "", [], {}, [[]], [1] * 5),
    *(
        {"kind": "Head"},
        {"kind": ["Head"]},
        {"array": "x"},
        {"array": {}},
        "a" * 100_000,
        "\0",
        DEEP,
    ),
    *(["same", "same"], {"kind": "LogitLink", "slope": "1"}, [{}], "\ud800", DEEP, DEEP),
]


def save_today(folder):
    """Save the routers and the ranker of format 1 as they are saved today; return their folders."""
    for name in ROUTERS:
        Router.from_pretrained(FORMAT_1 / name).save_pretrained(folder / name)
    ToolRanker.from_pretrained(FORMAT_1 / "ranker").save_pretrained(folder / "ranker")
    return [folder / name for name in (*ROUTERS, "ranker")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Routers and a ranker as format 1 has them, and as they are saved today."""
    today = tmp_path_factory.mktemp("today")
    save_today(today)
    return {"format 1": FORMAT_1, "today": today}


# Damage ------------------------------------------------------------------------------------


def damage_json(path, rng):
    """Remove or replace a value somewhere in a JSON file."""
    data = json.loads(path.read_text("utf-8"))
    parent, key, value = None, None, data
    for _ in range(rng.randrange(1, 8)):
        if not isinstance(value, dict | list) or not value:
            break
        parent, key = (
            value,
            rng.choice(list(value) if isinstance(value, dict) else range(len(value))),
        )
        value = parent[key]
    if rng.random() < 0.3:
        del parent[key]
    else:
        parent[key] = rng.choice(VALUES)
    levels = rng.choice(LEVELS)
    text = json.dumps(data).replace(f'"{DEEP}"', "[" * levels + "]" * levels)
    path.write_text(text, "utf-8")


def damage_array(array, rng):
    """Change the numbers, the shape or the type of an array."""
    is_float = array.dtype.kind == "f"
    changes = [
        lambda: array[: max(0, len(array) - 1)] if array.ndim else array.reshape(1),
        lambda: array.reshape(-1),
        lambda: array[None],
        lambda: array.T,
        lambda: array.astype(np.int64 if is_float else np.float32),
        lambda: array.astype(np.complex64),
        lambda: np.zeros((0,), array.dtype),
        lambda: np.zeros((0, *array.shape[1:]), array.dtype),
        lambda: np.concatenate([array, array]) if array.ndim else array,
    ]
    if is_float and array.size:
        changes += [
            lambda: (
                np.where(np.arange(array.size) == rng.randrange(array.size), np.nan, array.flat)
                .reshape(array.shape)
                .astype(array.dtype)
            ),
            lambda: np.full_like(array, np.nan),
            lambda: np.full_like(array, np.inf),
            lambda: (array + 1) * np.asarray(1e30, np.float64),
            lambda: ((array + 1) * 1e11).astype(np.float64),
        ]
    return rng.choice(changes)()


def damage_arrays(path, rng):
    arrays = load_file(path)
    name = rng.choice(sorted(arrays))
    kind = rng.randrange(8)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[name] = arrays[rng.choice(sorted(arrays))]
    elif kind == 2:
        arrays["forecasts.output_tokens"] = arrays[name]
    else:
        with np.errstate(all="ignore"):
            arrays[name] = damage_array(arrays[name], rng)
    with contextlib.suppress(SafetensorError):  # an old version cannot write complex numbers
        path.write_bytes(save({one: np.ascontiguousarray(a) for one, a in arrays.items()}))


def damage_bytes(path, rng):
    content = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    else:
        del content[rng.randrange(len(content)) :]
    path.write_bytes(content)


def damage(folder, header, rng):
    """Damage one file of a folder, and return its name."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*") if p.is_file())
    name = rng.choice([one for one in names if Path(one).suffix in {".json", ".safetensors"}])
    path, kind = folder / name, rng.randrange(10)
    if kind == 0:
        path.unlink()
    elif kind < 3:
        damage_bytes(path, rng)
    elif path.suffix == ".json":
        damage_json(path, rng)
    else:
        damage_arrays(path, rng)
    correct_digests(folder, header)
    return name


def correct_digests(folder, header):
    try:
        content = json.loads((folder / header).read_text("utf-8"))
        digests = content["sha256"]
        for name in digests:
            digests[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        (folder / header).write_text(json.dumps(content), "utf-8")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return  # there is no digest that could be right


# What comes of it --------------------------------------------------------------------------


def use_router(folder, name):
    """Load a router and do what users do with one; settings of it may leave no expert."""
    router = Router.from_pretrained(folder)
    try:
        decisions = router.route_batch(PROMPTS)
        router.observe(decisions[0], 0.5)
        router.route(PROMPTS[0]).explain()
    except NoExpertError:
        assert name == "router.json"
        return
    for decision in decisions:
        assert np.isfinite(decision.chosen.predicted_loss)
        assert not decision.default_used or name == "router.json"
    router.save_pretrained(folder.with_name("again"))
    Router.from_pretrained(folder.with_name("again"))


def use_ranker(folder, name):
    ranker = ToolRanker.from_pretrained(folder)
    for query in ("weather in Rome and then mail it to Ann", ""):
        selection = ranker.select(TOOLS, query, None)
        assert np.isfinite([one.predicted_loss for one in selection.ranking]).all(), name
        assert np.isfinite(selection.needed)
    ranker.observe("weather", ["weather"])
    ranker.select(TOOLS, "weather")
    ranker.save_pretrained(folder.with_name("again"))
    ToolRanker.from_pretrained(folder.with_name("again"))


def check_damaged(source, tmp_path, seed):
    """Damage a copy of a folder, and use it: it works, or is refused in one short message."""
    rng = random.Random(seed)  # noqa: S311 - damage needs no secret
    folder = shutil.copytree(source, tmp_path / "folder")
    is_ranker = source.name == "ranker"
    name = damage(folder, "ranker.json" if is_ranker else "router.json", rng)
    message = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            (use_ranker if is_ranker else use_router)(folder, name)
    except PersistenceError as error:
        message = str(error)
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(tmp_path / "again", ignore_errors=True)
    assert len(message) < 2_000, name


@pytest.mark.parametrize("saved", ["today", "format 1"])
@pytest.mark.parametrize("name", [*ROUTERS, "ranker"])
def test_a_damaged_folder_is_refused_or_works(folders, tmp_path, saved, name):
    for seed in range(12):
        check_damaged(folders[saved] / name, tmp_path, f"{saved} {name} {seed}")


@pytest.mark.slow
@pytest.mark.parametrize("saved", ["today", "format 1"])
@pytest.mark.parametrize("name", [*ROUTERS, "ranker"])
def test_any_of_many_damaged_folders_is_refused_or_works(folders, tmp_path, saved, name):
    for seed in range(12, 120):
        check_damaged(folders[saved] / name, tmp_path, f"{saved} {name} {seed}")


# What an attacker would do -----------------------------------------------------------------


def change_array(folder, file, name, change):
    path = folder / file
    arrays = load_file(path)
    arrays[name] = np.ascontiguousarray(change(arrays[name]))
    path.write_bytes(save(arrays))


def change_header(folder, file, change):
    path = folder / file
    header = json.loads(path.read_text("utf-8"))
    change(header)
    path.write_text(json.dumps(header), "utf-8")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("head.prototypes", lambda a: a * np.nan, r"head\.prototypes .* between nan and nan"),
        ("head.weights", lambda a: a[:0], r"head\.weights is \(0,\) .* expected \(7\)"),
        ("head.gain", lambda a: a * 1e30, r"head\.gain .* from -1e\+12 to 1e\+12"),
        ("abilities.means", lambda a: a[:, :1], r"abilities\.means is \(6, 1\) .* \(6, 4\)"),
        ("abilities.means", lambda a: a.astype(int), r"\(int64\).*\(floating\)"),
        ("metadata_prior.effects", lambda a: a[1:], r"metadata_prior\.effects is \(8, 4\)"),
    ],
)
def test_weights_that_fit_the_digest_alone_are_refused(folders, tmp_path, name, change, message):
    folder = shutil.copytree(folders["today"] / "router_losses", tmp_path / "router")
    change_array(folder, "perception.safetensors", name, change)
    correct_digests(folder, "router.json")
    with pytest.raises(PersistenceError, match=rf"{folder}.* is damaged: .*{message}"):
        Router.from_pretrained(folder)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("router.json", lambda h: h.update(constraints=[["x"]]), "constraints is "),
        ("router.json", lambda h: h["library"].append(h["library"][0]), "router.json is damaged"),
        ("router.json", lambda h: h.update(sha256={"a\0b": "x"}), "'sha256'"),
        ("perception.json", lambda h: h["experts"].append(h["experts"][0]), "experts is "),
        ("perception.json", lambda h: h["soft_threshold"].update(incumbent=6), "below 6"),
        ("perception.json", lambda h: h["link"].update(slope=float("nan")), "slope is nan"),
        ("perception.json", lambda h: h["report"].update(routed=[]), "the report is "),
        ("encoder/encoder.json", lambda h: h.update(kind="x" * 10**6), "encoder of kind 'xxx"),
    ],
)
def test_headers_that_fit_the_digest_alone_are_refused(folders, tmp_path, file, change, message):
    folder = shutil.copytree(folders["today"] / "router_scored", tmp_path / "router")
    change_header(folder, file, change)
    if file != "router.json":
        correct_digests(folder, "router.json")
    with pytest.raises(PersistenceError, match=message) as caught:
        Router.from_pretrained(folder)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize(
    "file", ["router.json", "perception.json", "encoder/encoder.json", "encoder/tokenizer.json"]
)
@pytest.mark.parametrize("levels", LEVELS)
def test_a_file_of_many_levels_is_refused(folders, tmp_path, file, levels):
    folder = shutil.copytree(folders["today"] / "router_scored", tmp_path / "router")
    (folder / file).write_text("[" * levels + "]" * levels, "utf-8")
    correct_digests(folder, "router.json")
    with pytest.raises(PersistenceError):
        Router.from_pretrained(folder)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("fit.query_map", lambda a: a * np.nan, r"fit\.query_map .* between nan and nan"),
        ("fit.tool_map", lambda a: a[:-1], r"fit\.tool_map is "),
        ("fit.needed_coef", lambda a: a[:-1], r"fit\.needed_coef is \(4,\) .* expected \(5\)"),
        ("fit.usefulness_coef", lambda a: a[:2], r"expected \(3\) .*, or \(5\)"),
        ("taught.0", lambda a: a[:-1], r"taught\.0 is "),
    ],
)
def test_a_ranker_that_fits_the_digest_alone_is_refused(folders, tmp_path, name, change, message):
    folder = shutil.copytree(folders["today"] / "ranker", tmp_path / "ranker")
    change_array(folder, "ranker.safetensors", name, change)
    correct_digests(folder, "ranker.json")
    with pytest.raises(PersistenceError, match=rf"ranker\.json is damaged: .*{message}"):
        ToolRanker.from_pretrained(folder)


@pytest.mark.filterwarnings("error")
def test_numbers_that_overflow_together_are_refused_without_a_warning(folders, tmp_path):
    folder = shutil.copytree(folders["today"] / "router_scored", tmp_path / "router")
    for name in ("head.gain", "head.estimators.5.intercept", "abilities.means"):
        change_array(
            folder,
            "perception.safetensors",
            name,
            lambda array: np.full(array.shape, 9e11, np.float32),
        )
    correct_digests(folder, "router.json")
    with pytest.raises(PersistenceError, match="numbers predict a loss that is not finite"):
        Router.from_pretrained(folder)


@pytest.mark.filterwarnings("error")
def test_a_scale_that_overflows_is_refused_without_a_warning(folders, tmp_path):
    folder = shutil.copytree(folders["today"] / "router_scored", tmp_path / "router")
    change_array(folder, "encoder/table.safetensors", "scales", lambda a: a.astype(float) * 1e30)
    correct_digests(folder, "router.json")
    with pytest.raises(PersistenceError, match="scales is "):
        Router.from_pretrained(folder)


def test_of_many_constraints_that_are_missing_the_first_are_named(folders, tmp_path):
    folder = shutil.copytree(folders["today"] / "router_scored", tmp_path / "router")
    names = [f"constraint {i}" for i in range(10_000)]
    change_header(folder, "router.json", lambda header: header.update(constraints=names))
    with pytest.raises(PersistenceError, match="has constraints of its own") as caught:
        Router.from_pretrained(folder)
    assert len(str(caught.value)) < 1_000
