"""`tryage score`: it measures checkpoints and Python objects into a table for `tryage train`."""

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
from tryage.scoring import Answer, GenerationMeasurer, exact_match

def make_measurer(name, is_right, price=None):
    def model(text):
        return Answer(text.split()[0].upper() if is_right(text) else "no", 4, 2)
    expert = Expert(name, parameters=1e9, input_price=price, output_price=price)
    return GenerationMeasurer(expert, model, exact_match)

sums = make_measurer("sums", lambda text: text.startswith("sum"))
both = [sums, make_measurer("all", lambda text: True)]
costly = make_measurer("costly", lambda text: True, 1e6)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make a folder with prompts and a module of measurers the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"mine_{tmp_path.name}.py").write_text(MODULE)  # Python caches modules by name
    rows = [
        {"prompt": f"{topic} {town}", "reference": topic, "category": topic}
        for topic in ("sum", "law", "poem", "code")
        for town in ("paris", "tokyo", "lima", "oslo", "accra")
    ]
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "prompts.jsonl").write_text(lines, "utf-8")
    return tmp_path


@pytest.fixture
def score(tryage, folder):
    """Measure an object of the module, and return the result of the command."""

    def run(name, *words):
        module = f"mine_{folder.name}"
        return tryage("score", "prompts.jsonl", "-e", f"{module}:{name}", "-o", "table", *words)

    return run


def test_a_router_learns_from_a_scored_table_and_knows_facts_about_the_experts(
    tryage, score, encoder, folder
):
    done = score("both")
    assert done.exit_code == 0, done.stderr
    assert "40 losses, 0 from before" in done.stdout
    encoder.save(folder / "words")
    done = tryage("train", "table", "-o", "mine", "--encoder", "words")
    assert done.exit_code == 0, done.stderr
    router = Router.from_pretrained("mine")
    assert router.route("law paris").expert.name == "all"
    assert router.library["sums"].parameters == 1e9
    assert router.library["sums"].output_tokens == 2


def test_the_same_command_resumes(score):
    score("sums")
    done = score("both")
    assert "20 losses, 20 from before" in done.stdout


def test_an_exceeded_budget_stops_the_command_and_keeps_the_losses(score):
    done = score("costly", "--budget", 13)
    assert done.exit_code == 1
    assert "2 losses" in done.stdout
    assert "$12.0000" in done.stdout
    assert "larger one" in done.stderr
    assert len(QTable.read("table").prompts) == 2


@pytest.mark.parametrize(
    ("expert", "message"),
    [
        ("absent:name", "cannot be imported"),
        ("json:absent", "cannot be imported"),
        ("json:dumps", "expected a measurer"),
        ("no/such/folder", "not a readable model"),
        ("absent.gguf", "no file"),
    ],
)
def test_an_expert_that_cannot_be_read_is_refused_in_one_line(
    tryage, folder, expert, message, monkeypatch
):
    if "/" in expert or "gguf" in expert:
        pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = tryage("score", folder / "prompts.jsonl", "-e", expert, "-o", "table")
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"), [("[1]", "not a JSON object"), ('{"text": 1}', "needs")]
)
def test_prompts_that_cannot_be_read_are_refused(score, folder, text, message):
    (folder / "prompts.jsonl").write_text(text)
    done = score("sums")
    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--engine", "spark"], "'--engine'"),
        (["--workers", 2], "--engine ray"),
        (["--ray-address", "head:6379"], "--engine ray"),
        (["--engine", "ray", "--workers", 0], "'--workers'"),
    ],
)
def test_an_unknown_engine_and_options_of_another_engine_are_refused(score, folder, words, message):
    done = score("sums", *words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (folder / "table").exists()


@pytest.mark.slow
def test_ray_prints_nothing_but_the_progress_bar(folder):
    pytest.importorskip("ray")
    words = ["score", "prompts.jsonl", "-e", f"mine_{folder.name}:both", "-o", "table"]
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
    lines = done.stderr.replace("\r", "\n").splitlines()
    assert [line for line in lines if line.strip() and "loss" not in line] == []


@pytest.fixture
def checkpoints(folder, monkeypatch):
    """Save a masked and a causal model with random weights, in folders of these names."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import BPE

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(BPE({symbol: i for i, symbol in enumerate([*letters, "<end>", "<mask>"])}, []))
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
        network.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


def test_checkpoints_are_measured_by_their_architecture(tryage, checkpoints):
    words = ("-e", checkpoints / "masked", "-e", checkpoints / "causal", "-o", "table")
    done = tryage("score", checkpoints / "prompts.jsonl", *words)
    assert done.exit_code == 0, done.stderr
    table = QTable.read("table", loss="bits_per_byte")
    assert set(table.experts) == {"causal", "masked"}
    assert table.measured.all()
    lines = (checkpoints / "table" / "experts.jsonl").read_text().splitlines()
    assert all(Expert.from_dict(json.loads(line)).parameters for line in lines)


def test_an_unknown_device_is_named(tryage, checkpoints):
    words = ("-e", checkpoints / "masked", "-o", "table", "--device", "nonsense")
    done = tryage("score", checkpoints / "prompts.jsonl", *words)
    assert done.exit_code == 1
    assert "cannot run on 'nonsense'" in done.stderr
