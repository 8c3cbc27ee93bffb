"""`tryage plot latent`: what it reads, draws and prints, and what it refuses in one line."""

from __future__ import annotations

import json
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def umap(monkeypatch):
    """Replace umap-learn, which takes long to import: the first two columns are the map."""

    class FirstTwoColumns:
        def __init__(self, **settings):
            assert settings["metric"] == "cosine"

        def fit_transform(self, vectors):
            return vectors[:, :2]

    module = ModuleType("umap")
    module.__spec__, module.UMAP = ModuleSpec("umap", None), FirstTwoColumns
    monkeypatch.setitem(sys.modules, "umap", module)


@pytest.fixture
def labeled(table, tmp_path):
    """Write prompts with their categories, and rows without a category."""
    rows = [
        {"prompt": text, "category": category}
        for text, category in zip(table.prompts, table.categories, strict=True)
    ]
    rows += [{"prompt": "no category"}, {"prompt": "null", "category": None}, rows[0]]
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


def test_it_draws_the_map_and_prints_how_well_categories_are_separated(
    tryage, labeled, saved, tmp_path
):
    picture, figures = tmp_path / "map.png", tmp_path / "map.json"
    done = tryage("plot", "latent", labeled, "--router", saved, "-o", picture, "--json", figures)
    assert done.exit_code == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("40 prompts of 5 categories, seed 0; purity is of 10 neighbours")
    assert [line.split()[0] for line in lines[3:5]] == ["perception", "encoder"]
    assert lines[-1] == f"Drawn to {picture}"
    found = json.loads(figures.read_text())
    perception, encoder = found["spaces"]
    assert found["prompts"] == 40
    assert encoder["dim"] == 8
    assert perception["purity"]["value"] > found["chance"]


def test_a_q_table_gives_the_same_figures_as_lines_of_prompt_and_category(
    tryage, labeled, table, saved, tmp_path
):
    table.write(tmp_path / "table.csv")
    outputs = [
        tryage("plot", "latent", path, "--router", saved, "-o", tmp_path / "map.png").stdout
        for path in (labeled, tmp_path / "table.csv")
    ]
    assert outputs[0] == outputs[1]


def test_language_models_are_compared(tryage, labeled, saved, tmp_path, monkeypatch):
    sources = []

    def states(source, texts):
        sources.append(source)
        return np.random.default_rng(len(sources)).normal(size=(len(texts), 3))

    monkeypatch.setattr("tryage.scoring.language_model.mean_hidden_states", states)
    models = ("one/Small-1.5", "two/Small-1.5", "x.gguf")
    words = [word for model in models for word in ("--against", model)]
    picture = tmp_path / "map.png"
    done = tryage("plot", "latent", labeled, "--router", saved, "-o", picture, *words)
    assert done.exit_code == 0, done.stderr
    assert sources == list(models)
    names = [line.split()[0] for line in done.stdout.splitlines()[3:8]]
    assert names == ["perception", "encoder", "Small-1.5", "two/Small-1.5", "x"]


def test_many_prompts_are_sampled_by_the_seed(tryage, labeled, saved, tmp_path):
    words = ("plot", "latent", labeled, "--router", saved, "-o", tmp_path / "m.png")
    one, same, other = (
        tryage(*words, "--most", 25, "--seed", seed).stdout.splitlines()[3] for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"prompt": "a"}', "has no prompt with a category"),
        ('{"category": "a"}', "has no prompt with a category"),
        ('{"prompt": 3, "category": "a"}', "has no prompt with a category"),
        ("", "has no prompt with a category"),
        ("{", "line 1 is not JSON"),
        ('{"prompt": "a", "category": "x"}\n{"prompt": "b", "category": "y"}', "more prompts than"),
        (
            "\n".join(json.dumps({"prompt": str(i), "category": "one"}) for i in range(20)),
            "expected at least two",
        ),
    ],
)
def test_prompts_without_a_map_are_refused_in_one_line(tryage, saved, tmp_path, content, message):
    path = tmp_path / "prompts.jsonl"
    path.write_text(content)
    picture = tmp_path / "map.png"
    done = tryage("plot", "latent", path, "--router", saved, "-o", picture)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not picture.exists()


def test_a_table_without_categories_is_refused(tryage, saved, tmp_path):
    (tmp_path / "t.csv").write_text("prompt,expert,loss\na,b,0.5\n")
    done = tryage("plot", "latent", tmp_path / "t.csv", "--router", saved)
    assert done.exit_code == 2
    assert "expected the columns prompt and category" in done.stderr


def test_an_unknown_image_format_and_a_missing_file_are_refused(tryage, labeled, tmp_path):
    unknown = tryage("plot", "latent", labeled, "-o", tmp_path / "map.txt")
    missing = tryage("plot", "latent", tmp_path / "none.jsonl")
    assert (unknown.exit_code, missing.exit_code) == (2, 2)
    assert "expected .png, .svg, .pdf or .html" in unknown.stderr
    assert "cannot be read" in missing.stderr


def test_a_missing_extra_names_the_command_that_installs_it(tryage, labeled, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    monkeypatch.setattr(
        "tryage.core.validation.find_spec", lambda name: None if name == "umap" else name
    )
    done = tryage("plot", "latent", labeled)
    assert done.exit_code == 2
    assert "pip install 'tryage[latent]'" in done.stderr
