"""`tryage train` and `tryage evaluate`: what they read, write and print."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from tryage import Router

pytest.importorskip("sklearn")
pytest.importorskip("pyarrow")


@pytest.fixture
def qtable(table, tmp_path):
    """Write the losses as a CSV file."""
    path = tmp_path / "outcomes.csv"
    table.write(path)
    return path


@pytest.fixture
def encoder_folder(encoder, tmp_path):
    encoder.save(tmp_path / "words")
    return tmp_path / "words"


def test_train_saves_a_router_and_prints_its_errors(tryage, qtable, encoder_folder, tmp_path):
    out = tmp_path / "mine"
    done = tryage("train", qtable, "-o", out, "--encoder", encoder_folder)
    assert done.exit_code == 0, done.stderr
    assert "40 prompts, 3 experts" in done.stdout
    assert "routed" in done.stdout
    assert Router.from_pretrained(out).route("law oslo").expert.name == "chat-70b"


@pytest.mark.parametrize(
    ("options", "start", "is_pretrained"),
    [((), "starting from the bundled router", True), (("--from-scratch",), "from scratch", False)],
)
def test_the_training_starts_from_the_bundled_router_unless_told_otherwise(
    tryage, qtable, tmp_path, options, start, is_pretrained
):
    done = tryage("train", qtable, "-o", tmp_path / "mine", *options)
    assert done.exit_code == 0, done.stderr
    assert f"3 experts, {start}." in done.stdout
    extractor = Router.from_pretrained(tmp_path / "mine").perception.feature_extractor
    assert (extractor.pretrained is not None) == is_pretrained


def test_the_same_seed_trains_the_same_router(tryage, qtable, encoder_folder, tmp_path):
    for name in ("one", "two"):
        tryage("train", qtable, "-o", tmp_path / name, "--encoder", encoder_folder, "--seed", 3)
    one, two = (
        (tmp_path / name / "perception.safetensors").read_bytes() for name in ("one", "two")
    )
    assert one == two


def test_train_uses_the_encoder_of_a_saved_router_and_facts_about_experts(
    tryage, qtable, saved, library, tmp_path
):
    facts = tmp_path / "experts.jsonl"
    known = [library["tiny-1b"], library["chat-70b"]]
    facts.write_text("\n".join(json.dumps(expert.to_dict()) for expert in known))
    out = tmp_path / "mine"
    done = tryage("train", qtable, "-o", out, "--encoder", saved, "--experts", facts)
    assert done.exit_code == 0, done.stderr
    trained = Router.from_pretrained(out).library
    assert trained["tiny-1b"].parameters == 1e9
    assert trained["code-7b"].parameters is None


def test_train_resumes_from_its_checkpoint(tryage, qtable, encoder_folder, tmp_path):
    stages = tmp_path / "stages"
    words = ("train", qtable, "-o", tmp_path / "mine", "--encoder", encoder_folder)
    assert tryage(*words, "--checkpoint", stages).exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in stages.iterdir()}
    assert before
    assert tryage(*words, "--checkpoint", stages).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in stages.iterdir()} == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prompt,expert\na,b\n", "loss"),
        ("prompt,expert,loss\na,b,0.5\n", "at least 10 prompts"),
    ],
)
def test_train_refuses_a_table_that_is_too_small_in_one_line(
    tryage, encoder_folder, tmp_path, content, message
):
    path = tmp_path / "small.csv"
    path.write_text(content)
    done = tryage("train", path, "-o", tmp_path / "mine", "--encoder", encoder_folder)
    assert done.exit_code == 2
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "mine").exists()


def test_evaluate_prints_a_table_and_writes_figures_and_pictures(
    tryage, qtable, encoder_folder, tmp_path
):
    figures, pictures = tmp_path / "found.json", tmp_path / "pictures"
    done = tryage(
        *("evaluate", qtable, "--encoder", encoder_folder, "--folds", 2),
        *("--json", figures, "--plots", pictures),
    )
    assert done.exit_code == 0, done.stderr
    assert "outcomes: 40 prompts x 3 experts, 2 folds grouped by prompt, seed 0" in done.stdout
    found = {result["name"]: result for result in json.loads(figures.read_text())["results"]}
    assert {"tryage", "best single", "oracle"} <= {name.replace(" expert", "") for name in found}
    assert found["tryage"]["score"]["value"] <= found["oracle"]["score"]["value"]
    drawn = {path.name for path in pictures.iterdir()}
    assert drawn == {"front.png", "calibration.png", "shares.png"}


def test_evaluate_compares_with_neighbors_on_another_encoder_and_with_constants(
    tryage, qtable, encoder_folder
):
    words = ("evaluate", qtable, "--encoder", encoder_folder, "--folds", 2)
    done = tryage(*words, "--neighbors", encoder_folder)
    assert done.exit_code == 0, done.stderr
    assert f"neighbours on {encoder_folder.name}" in done.stdout
    assert "guarded neighbours" in done.stdout
    assert "gap closed" in done.stdout
    assert "The best constant is chat-70b: 0.800, $1 per 1,000 requests." in done.stdout


def test_evaluate_accepts_twenty_prompts_and_says_how_many_fewer_prompts_lack(
    tryage, table, encoder_folder, tmp_path
):
    done = []
    for n in (20, 18):
        table.take(range(0, 2 * n, 2)).write(tmp_path / f"{n}.csv")
        words = (tmp_path / f"{n}.csv", "--encoder", encoder_folder, "--folds", 2)
        done.append(tryage("evaluate", *words))
    assert done[0].exit_code == 0, done[0].stderr
    assert "The cost view is left out" in done[0].stdout
    assert done[1].exit_code == 2
    assert done[1].stderr == (
        "tryage: 18 different prompts in 2 folds leave 9 to train on, and at least 10 are needed: "
        "measure more, or try more folds\n"
    )


def test_training_loads_neither_ray_nor_chat_nor_scoring_engines(qtable, encoder_folder, tmp_path):
    words = ["train", qtable, "-o", tmp_path / "mine", "--encoder", encoder_folder]
    code = (
        "import json, sys\n"
        "from tryage.cli import app\n"
        f"app({[str(word) for word in words]!r}, standalone_mode=False)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "tryage.learning.training.trainer" in loaded
    rooms = ("tryage.chat", "tryage.hub", "tryage.tools", "tryage.learning.evaluation",
             "tryage.learning.cotraining", "tryage.scoring.")  # fmt: skip
    tables = {f"tryage.scoring.{name}" for name in ("qtable", "qtable_io", "qtable_limits")}
    assert not {name for name in loaded - tables if name.startswith(rooms)}
    assert not loaded & {"ray", "torch", "transformers", "httpx", "huggingface_hub"}


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_names_that_differ_in_case_are_refused_before_any_work_or_merged(
    tryage, table, encoder_folder, tmp_path, monkeypatch, command
):
    names = ("Tiny-1B", "tiny-1b", *table.experts[2:])
    path = tmp_path / "outcomes.csv"
    replace(table, experts=names).write(path)
    out = ("-o", tmp_path / "mine") if command == "train" else ("--folds", 2)
    words = (command, path, *out, "--encoder", encoder_folder)
    with monkeypatch.context() as patched:
        patched.setattr("tryage.cli.train.resolve_encoder", lambda _: pytest.fail("work began"))
        done = tryage(*words)
    assert done.exit_code != 0
    assert "'Tiny-1B' and 'tiny-1b'" in done.stderr
    assert "--merge-names" in done.stderr
    done = tryage(*words, "--merge-names")
    assert done.exit_code == 0, done.stderr
