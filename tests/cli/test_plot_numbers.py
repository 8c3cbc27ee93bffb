"""`tryage plot front` and its siblings: from files and logs to pictures."""

from __future__ import annotations

import json

import pytest

from tryage.traffic.traffic import Traffic

pytest.importorskip("matplotlib")


@pytest.fixture
def qtable(table, tmp_path):
    path = tmp_path / "outcomes.csv"
    table.write(path)
    return path


@pytest.fixture
def prompts(table, tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\n\n".join(table.prompts), "utf-8")
    return path


@pytest.fixture
def log(simulate_traffic, tmp_path):
    url = f"sqlite:///{tmp_path}/log.db"
    rows, events = simulate_traffic(120)
    with Traffic(url) as traffic:
        for record, outcome, given in rows:
            traffic.record_decision(record)
            traffic.record_outcome(outcome)
            for feedback in given:
                traffic.add_feedback(feedback)
        for event in events:
            traffic.add_event(event.kind, event.values, event.expert)
    return url


def drawn(done, picture):
    """Return the title that a command printed, after a look at the picture."""
    assert done.exit_code == 0, done.stderr
    assert picture.stat().st_size > 2_000
    title, last = done.stdout.splitlines()[0], done.stdout.splitlines()[-1]
    assert last == f"Drawn to {picture}"
    return title


def test_the_front_of_a_table_is_measured_and_written_with_its_numbers(
    tryage, qtable, saved, tmp_path
):
    picture, figures = tmp_path / "front.svg", tmp_path / "front.json"
    done = tryage("plot", "front", qtable, "--router", saved, "-o", picture, "--json", figures)
    title = drawn(done, picture)
    assert "chat-70b" in title
    assert title in picture.read_text("utf-8").replace("\n", " ")
    found = json.loads(figures.read_text())
    assert not found["is_predicted"]
    assert found["best_single"] == "chat-70b"


@pytest.mark.parametrize("suffix", ["txt", "jsonl"])
def test_the_front_of_prompts_is_predicted(tryage, prompts, saved, tmp_path, suffix):
    path = tmp_path / f"asked.{suffix}"
    texts = [line for line in prompts.read_text().splitlines() if line]
    rows = texts if suffix == "txt" else [json.dumps({"prompt": text}) for text in texts]
    path.write_text("\n".join(rows))
    picture, figures = tmp_path / "front.png", tmp_path / "front.json"
    done = tryage("plot", "front", path, "--router", saved, "-o", picture, "--json", figures)
    drawn(done, picture)
    found = json.loads(figures.read_text())
    assert found["is_predicted"]
    assert found["n_requests"] == len(texts)


def test_calibration_is_drawn_of_all_and_of_each_model(tryage, qtable, saved, tmp_path):
    words = ("plot", "calibration", qtable, "--router", saved)
    title = drawn(tryage(*words, "-o", tmp_path / "a.png"), tmp_path / "a.png")
    assert title.startswith("Predicted losses are 0.")
    title = drawn(tryage(*words, "--by-model", "-o", tmp_path / "b.png"), tmp_path / "b.png")
    assert title.startswith("Predictions are off most for ")


def test_difficulty_is_drawn_by_category(tryage, qtable, saved, tmp_path):
    figures, picture = tmp_path / "d.json", tmp_path / "d.png"
    words = ("plot", "difficulty", qtable, "--router", saved, "-o", picture, "--json", figures)
    drawn(tryage(*words), picture)
    kinds = {one["name"] for one in json.loads(figures.read_text())["categories"]}
    assert kinds == {"sum", "prove", "code", "poem", "law"}


def test_shares_and_ratings_are_drawn_of_a_log(tryage, log, tmp_path):
    picture = tmp_path / "shares.png"
    title = drawn(
        tryage("plot", "shares", "--traffic", log, "-o", picture, "--by", "hour"), picture
    )
    assert "of the answers" in title
    title = drawn(tryage("plot", "onboarding", "--traffic", log, "-o", picture), picture)
    assert " answers" in title


def test_a_page_is_written_for_html(tryage, log, tmp_path):
    pytest.importorskip("plotly")
    page = tmp_path / "shares.html"
    title = drawn(tryage("plot", "shares", "--traffic", log, "-o", page), page)
    assert f"<title>{title}</title>" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["front", "none.csv"], "none.csv"),
        (["front", "empty.txt"], "has no prompt"),
        (["difficulty", "empty.txt"], "has no prompt"),
        (["front", "asked.txt", "-o", "x.xls"], "expected .png, .svg, .pdf or .html"),
        (["calibration", "asked.txt"], "asked.txt"),
        (["shares", "--traffic", "sqlite:///none.db"], "none.db"),
        (["shares", "--by", "month"], "expected one of auto, hour, day, week"),
        (["onboarding"], "Give the journal of a test"),
        (["onboarding", "asked.txt", "--kind", "judge"], "are for --traffic"),
        (["onboarding", "asked.txt"], "is no record of a test of models"),
        (["onboarding", "--traffic", "sqlite:///x.db", "--router", "r"], "are for the journal"),
        (["onboarding", "none.jsonl"], "holds no file"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(
    tryage, log, tmp_path, monkeypatch, words, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "asked.txt").write_text("sum oslo\n")
    url = ["--traffic", log] if "month" in words else []
    done = tryage("plot", *words, *url)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("*.png"))
