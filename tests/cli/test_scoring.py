"""score: checkpoints and Python objects in, a folder that `train` learns from out."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tryage import Expert, QTable, Router

pytest.importorskip("pyarrow")
pytest.importorskip("sklearn")
pytest.importorskip("textstat")

MODULE = """
from tryage import Expert
from tryage.learning.scoring import Answer, Answers, exact_match

def asks(name, right, price=None):
    def model(text):
        return Answer(text.split()[0].upper() if right(text) else "no", 4, 2)
    expert = Expert(name, parameters=1e9, input_price=price, output_price=price)
    return Answers(expert, model, exact_match)

sums = asks("sums", lambda text: text.startswith("sum"))
both = [sums, asks("all", lambda text: True)]
dear = asks("dear", lambda text: True, 1e6)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with prompts and a module of measurers, to work in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"mine_{tmp_path.name}.py").write_text(MODULE)  # modules are kept by their names
    rows = [
        {"prompt": f"{topic} {town}", "reference": topic, "category": topic}
        for topic in ("sum", "law", "poem", "code")
        for town in ("paris", "tokyo", "lima", "oslo", "accra")
    ]
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "prompts.jsonl").write_text(lines, "utf-8")
    return tmp_path


@pytest.fixture
def scored(tryage, place):
    """Measure an object of the module, and return what the command did."""

    def run(name, *words):
        module = f"mine_{place.name}"
        return tryage("score", "prompts.jsonl", "-e", f"{module}:{name}", "-o", "table", *words)

    return run


def test_a_router_learns_from_what_was_scored_and_knows_the_experts(tryage, scored, encoder, place):
    done = scored("both")
    assert done.exit_code == 0, done.stderr
    assert "40 losses, 0 from before" in done.stdout
    encoder.save(place / "words")
    done = tryage("train", "table", "-o", "mine", "--encoder", "words")
    assert done.exit_code == 0, done.stderr
    router = Router.from_pretrained("mine")
    assert router.route("law paris").expert.name == "all"
    assert router.library["sums"].parameters == 1e9
    assert router.library["sums"].output_tokens == 2


def test_the_same_command_goes_on(scored):
    scored("sums")
    done = scored("both")
    assert "20 losses, 20 from before" in done.stdout


def test_a_budget_that_is_used_up_is_told_and_kept(scored):
    done = scored("dear", "--budget", 13)
    assert done.exit_code == 1
    assert "2 losses" in done.stdout
    assert "$12.0000" in done.stdout
    assert "larger one" in done.stderr
    assert len(QTable.read("table").prompts) == 2


@pytest.mark.parametrize(
    ("expert", "told"),
    [
        ("absent:name", "cannot be imported"),
        ("json:absent", "cannot be imported"),
        ("json:dumps", "expected a measurer"),
        ("no/such/folder", "no model that can be read"),
        ("absent.gguf", "no file"),
    ],
)
def test_what_is_no_expert_is_told_in_one_line(tryage, place, expert, told, monkeypatch):
    if "/" in expert or "gguf" in expert:
        pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = tryage("score", place / "prompts.jsonl", "-e", expert, "-o", "table")
    assert done.exit_code == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("text", "told"), [("[1]", "not a JSON object"), ('{"text": 1}', "needs")])
def test_prompts_that_are_none_are_told_in_one_line(scored, place, text, told):
    (place / "prompts.jsonl").write_text(text)
    done = scored("sums")
    assert done.exit_code == 2
    assert told in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--engine", "spark"], "'--engine'"),
        (["--workers", 2], "--engine ray"),
        (["--ray-address", "head:6379"], "--engine ray"),
        (["--engine", "ray", "--workers", 0], "'--workers'"),
    ],
)
def test_an_engine_that_is_none_and_options_of_another_are_told(scored, place, words, told):
    done = scored("sums", *words)
    assert done.exit_code == 2
    assert told in done.stderr
    assert not (place / "table").exists()


@pytest.mark.slow
def test_ray_starts_and_ends_without_a_word(place):
    pytest.importorskip("ray")
    words = ["score", "prompts.jsonl", "-e", f"mine_{place.name}:both", "-o", "table"]
    words += ["--engine", "ray", "--workers", "2"]
    known = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    code = f"from tryage.cli import app; app({words!r})"
    done = subprocess.run(  # noqa: S603 - our own interpreter and command
        [sys.executable, "-c", code],
        env=known | paths,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "40 losses, 0 from before" in done.stdout
    said = done.stderr.replace("\r", "\n").splitlines()
    assert [line for line in said if line.strip() and "loss" not in line] == []  # the bar alone


@pytest.fixture
def checkpoints(place, monkeypatch):
    """A masked and a causal model with random weights, in folders of these names."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import BPE

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(BPE({sign: at for at, sign in enumerate([*letters, "<end>", "<mask>"])}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        **dict.fromkeys(("eos_token", "pad_token"), "<end>"),
        mask_token="<mask>",  # noqa: S106 - no password
    )
    small = {"vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 1}
    small |= {"num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 64}
    torch.manual_seed(0)
    for name, network in (
        ("masked", transformers.BertForMaskedLM(transformers.BertConfig(**small))),
        ("causal", transformers.LlamaForCausalLM(transformers.LlamaConfig(**small))),
    ):
        network.save_pretrained(place / name)
        tokenizer.save_pretrained(place / name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return place


def test_checkpoints_are_measured_by_their_architecture(tryage, checkpoints):
    words = ("-e", checkpoints / "masked", "-e", checkpoints / "causal", "-o", "table")
    done = tryage("score", checkpoints / "prompts.jsonl", *words)
    assert done.exit_code == 0, done.stderr
    table = QTable.read("table", loss="bits_per_byte")
    assert set(table.experts) == {"causal", "masked"}
    assert table.measured.all()
    lines = (checkpoints / "table" / "experts.jsonl").read_text().splitlines()
    assert all(Expert.from_dict(json.loads(line)).parameters for line in lines)


def test_a_device_that_is_not_there_is_told(tryage, checkpoints):
    words = ("-e", checkpoints / "masked", "-o", "table", "--device", "nonsense")
    done = tryage("score", checkpoints / "prompts.jsonl", *words)
    assert done.exit_code == 1
    assert "cannot run on 'nonsense'" in done.stderr
