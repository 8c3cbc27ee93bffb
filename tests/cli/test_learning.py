"""train, evaluate, experts and onboard: what they read, write and print."""

from __future__ import annotations

import json

import pytest

from tryage import Router

pytest.importorskip("sklearn")
pytest.importorskip("pyarrow")


@pytest.fixture
def qtable(table, tmp_path):
    path = tmp_path / "outcomes.csv"
    table.write(path)
    return path


@pytest.fixture
def encoder_folder(encoder, tmp_path):
    encoder.save(tmp_path / "words")
    return tmp_path / "words"


def test_train_saves_a_router_that_routes_and_reports_what_it_measured(
    tryage, qtable, encoder_folder, tmp_path
):
    out = tmp_path / "mine"
    done = tryage("train", qtable, "-o", out, "--encoder", encoder_folder)
    assert done.exit_code == 0, done.stderr
    assert "40 prompts, 3 experts" in done.stdout
    assert "routed" in done.stdout
    assert Router.from_pretrained(out).route("law oslo").expert.name == "chat-70b"


def test_the_same_seed_trains_the_same_router(tryage, qtable, encoder_folder, tmp_path):
    for name in ("one", "two"):
        tryage("train", qtable, "-o", tmp_path / name, "--encoder", encoder_folder, "--seed", 3)
    one, two = (
        (tmp_path / name / "perception.safetensors").read_bytes() for name in ("one", "two")
    )
    assert one == two


def test_train_takes_the_encoder_of_a_saved_router_and_what_is_known_about_experts(
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


def test_train_goes_on_from_its_checkpoint(tryage, qtable, encoder_folder, tmp_path):
    kept = tmp_path / "stages"
    words = ("train", qtable, "-o", tmp_path / "mine", "--encoder", encoder_folder)
    assert tryage(*words, "--checkpoint", kept).exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    assert before
    assert tryage(*words, "--checkpoint", kept).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in kept.iterdir()} == before


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("prompt,expert\na,b\n", "loss"),
        ("prompt,expert,loss\na,b,0.5\n", "at least 10 prompts"),
    ],
)
def test_a_table_that_teaches_nothing_is_told_in_one_line(
    tryage, encoder_folder, tmp_path, content, told
):
    path = tmp_path / "poor.csv"
    path.write_text(content)
    done = tryage("train", path, "-o", tmp_path / "mine", "--encoder", encoder_folder)
    assert done.exit_code == 2
    assert told in done.stderr.splitlines()[-1]
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


def test_evaluate_judges_twenty_prompts_and_says_of_fewer_how_many_are_needed(
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


def test_experts_lists_what_is_known_and_a_dash_for_what_is_not(tryage, saved):
    lines = tryage("experts", "--router", saved).stdout.splitlines()
    assert lines[1].split() == ["tiny-1b", "1B", "2025-01-01", "mit", "-", "-", "-", "-", "-"]
    assert lines[-1] == "3 of 3 experts; - is unknown."


def test_experts_can_be_filtered_and_written_as_json(tryage, saved, library):
    done = tryage("experts", "--router", saved, "--require", "size<10B", "--json")
    names = [json.loads(line)["name"] for line in done.stdout.splitlines()]
    assert names == ["tiny-1b", "code-7b"]
    assert json.loads(done.stdout.splitlines()[0]) == library["tiny-1b"].to_dict()


def losses(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_onboard_teaches_a_new_expert_from_losses_and_scores(tryage, saved, tmp_path):
    places = ("paris", "tokyo", "lima", "oslo", "accra", "quito", "delhi", "cairo")
    rows = [{"prompt": f"poem {place}", "score": 1.0} for place in places]
    rows += [{"prompt": f"law {place}", "loss": 0.0} for place in places]
    out = tmp_path / "taught"
    file = losses(tmp_path / "losses.jsonl", rows)
    done = tryage("onboard", saved, "newcomer", file, "-o", out)
    assert done.exit_code == 0, done.stderr
    assert "newcomer learned from 16 prompts, 4 experts" in done.stdout
    assert "newcomer" in Router.from_pretrained(out).library


def test_onboard_takes_a_high_score_for_a_low_loss(tryage, saved, tmp_path):
    told = {}
    for score in (0.0, 1.0):
        rows = [{"prompt": f"law {place}", "score": score} for place in ("oslo", "lima", "paris")]
        out = tmp_path / f"taught-{score}"
        tryage("onboard", saved, "newcomer", losses(tmp_path / "l.jsonl", rows), "-o", out)
        ranking = Router.from_pretrained(out).route("law oslo").ranking
        told[score] = ranking.entry("newcomer").predicted_loss
    assert told[1.0] < told[0.0]


def test_onboard_reads_what_is_known_about_the_expert_from_a_file(tryage, saved, tmp_path):
    facts = tmp_path / "newcomer.json"
    facts.write_text(json.dumps({"name": "newcomer", "parameters": 3e9}))
    file = losses(tmp_path / "losses.jsonl", [{"prompt": "law oslo", "loss": 0.3}])
    out = tmp_path / "taught"
    assert tryage("onboard", saved, facts, file, "-o", out).exit_code == 0
    assert Router.from_pretrained(out).library["newcomer"].parameters == 3e9


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"prompt": "a"}', "expected"),
        ('{"loss": 1}', "expected"),
        ("[1]", "is not a JSON object"),
        ("{", "line 1 is not JSON"),
        ("", "No loss"),
    ],
)
def test_losses_that_cannot_be_read_are_told_in_one_line(tryage, saved, tmp_path, content, told):
    path = tmp_path / "losses.jsonl"
    path.write_text(content)
    done = tryage("onboard", saved, "newcomer", path, "-o", tmp_path / "taught")
    assert done.exit_code == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_of_losses_that_is_not_there_is_told(tryage, saved, tmp_path):
    done = tryage("onboard", saved, "newcomer", tmp_path / "no.jsonl", "-o", tmp_path / "taught")
    assert done.exit_code == 2
    assert "cannot be read" in done.stderr
