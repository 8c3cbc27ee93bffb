"""`tryage cotrain`: it reads prompts and saves experts and their router."""

from __future__ import annotations

import json

import pytest

from tryage import Router

for needed in ("torch", "transformers", "sklearn", "pyarrow", "matplotlib"):
    pytest.importorskip(needed)

SMALL = ("--experts", 2, "--width", 16, "--layers", 1, "--vocabulary", 320)


@pytest.fixture
def cotrain(tryage, encoder, tmp_path, monkeypatch):
    """Train experts on some prompts, and return the result of the command."""
    monkeypatch.chdir(tmp_path)
    encoder.save(tmp_path / "words")

    def run(*words, n=160, tokens=2_500):
        rows = [
            {"prompt": f"{topic} in {place}, {i} times", "category": topic}
            for i in range(n // 4)
            for topic in ("sum", "poem")
            for place in ("paris", "tokyo")
        ]
        (tmp_path / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
        options = ("-o", "mine", "--encoder", "words", "--tokens", tokens, *SMALL, *words)
        return tryage("cotrain", "prompts.jsonl", *options)

    return run


@pytest.mark.parametrize("mode", ["--joint", "--decoupled"])
def test_experts_and_a_router_that_knows_them_are_saved(mode, cotrain, tmp_path):
    done = cotrain(mode, "--weight", "size=0.1")
    assert done.exit_code == 0, done.stderr
    assert "tokens learned from" in done.stdout
    router = Router.from_pretrained("mine/router")
    assert router.library.names == ("expert-1", "expert-2")
    assert router.library["expert-1"].parameters > 5_000
    assert dict(router.preferences.weights) == {"size": 0.1}
    figures = json.loads((tmp_path / "mine" / "specialisation.json").read_text())
    assert figures["domains"] == ["poem", "sum"]
    assert figures["loss"] >= figures["oracle"]
    assert (tmp_path / "mine" / "specialisation.png").exists()
    rounds = (tmp_path / "mine" / "rounds.jsonl").read_text().splitlines()
    assert sum(sum(json.loads(line)["tokens"]) for line in rounds) > 1_000


def test_score_reads_the_experts(cotrain, tryage):
    assert cotrain().exit_code == 0
    done = tryage("score", "prompts.jsonl", "-e", "mine/experts/expert-1", "-o", "table")
    assert "160 losses" in done.stdout, done.stderr


def test_more_tokens_resume_the_run(cotrain, tmp_path):
    assert cotrain().exit_code == 0
    first = (tmp_path / "mine" / "rounds.jsonl").read_text().splitlines()
    assert cotrain(tokens=4_000).exit_code == 0
    second = (tmp_path / "mine" / "rounds.jsonl").read_text().splitlines()
    assert len(second) > len(first)
    assert second[: len(first)] == first


def test_another_seed_in_the_same_folder_is_refused(cotrain):
    assert cotrain().exit_code == 0
    done = cotrain("--seed", 1)
    assert done.exit_code == 2
    assert "other experts, prompts or settings" in done.stderr


def test_too_few_prompts_are_refused_in_one_line(cotrain):
    done = cotrain(n=40)
    assert done.exit_code == 2
    assert "give some hundreds" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
