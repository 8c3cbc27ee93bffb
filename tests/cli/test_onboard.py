"""`tryage onboard`: models in a file are asked, or one expert is learned from measured losses."""

from __future__ import annotations

import json

import pytest

from tryage import Router
from tryage.testing.hub.http import FakeResponse, LoopbackServer

MODULE = """
from tryage.scoring.replies import Answer

def good(text):
    return Answer("yes", 10, 10)

def bad(text):
    return Answer("no", 10, 10)

def refused(text):
    error = RuntimeError("no such model")
    error.status_code = 404
    raise error
"""


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """Work in a folder with a module of models, a file that names two, and own prompts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_models.py").write_text(MODULE)
    rows = [{"prompt": f"{topic} oslo", "answer": "yes"} for topic in ("sum", "law", "code")]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    write_models(tmp_path, "good", "bad")
    yield tmp_path
    monkeypatch.delitem(__import__("sys").modules, "own_models", raising=False)


def write_models(folder, *names, extra=""):
    tables = [
        f'[[models]]\nname = "{name}"\nclient = "own_models:{name}"\n'
        f"input_price = 1.0\noutput_price = 2.0\n{extra}"
        for name in names
    ]
    (folder / "models.toml").write_text("\n".join(tables))


def test_onboard_asks_the_models_of_a_file_and_saves_a_router_that_knows_them(
    tryage, saved, workplace
):
    done = tryage(
        *("onboard", "models.toml", "--router", saved, "--prompts", "mine.jsonl", "--only-own"),
        *("--budget", "1", "--page", "page.html", "-o", "taught"),
    )
    assert "good" in done.stdout
    assert "6 answers" in done.stdout
    router = Router.from_pretrained("taught")
    assert {"good", "bad"} < set(router.library.names)
    ranking = router.route("sum oslo").ranking
    assert ranking.entry("good").predicted_loss < ranking.entry("bad").predicted_loss
    assert "<table" in (workplace / "page.html").read_text()
    answers = (workplace / "models.answers.jsonl").read_text().splitlines()
    assert len(answers) == 6


@pytest.mark.usefixtures("workplace")
def test_the_bundled_router_learns_the_own_models_and_keeps_no_other(tryage):
    done = tryage(
        *("onboard", "models.toml", "--prompts", "mine.jsonl", "--only-own", "-o", "taught")
    )
    assert done.exit_code in (0, 1), done.stderr
    assert set(Router.from_pretrained("taught").library.names) == {"good", "bad"}


def test_a_model_that_fails_ends_the_command_with_code_1_and_its_reason(tryage, saved, workplace):
    write_models(workplace, "good", "refused")
    done = tryage(
        *("onboard", "models.toml", "--router", saved, "--prompts", "mine.jsonl", "--only-own"),
        *("-o", "taught"),
    )
    assert done.exit_code == 1
    assert "refused cannot be measured" in done.stderr
    assert "refused" not in Router.from_pretrained("taught").library


def test_a_string_is_asked_through_langchain_and_its_key_stays_in_the_environment(
    tryage, saved, workplace, monkeypatch
):
    pytest.importorskip("langchain_openai")
    monkeypatch.setenv("HOUSE_KEY", "sk-secret-0123456789")
    server = Inference()
    with LoopbackServer(server) as loopback:
        (workplace / "models.toml").write_text(
            f'[[models]]\nname = "house"\nmodel = "openai:gpt-x"\nbase_url = "{loopback.url}/v1"\n'
            'api_key_env = "HOUSE_KEY"\ninput_price = 1.0\noutput_price = 2.0\n'
        )
        done = tryage(
            *("onboard", "models.toml", "--router", saved, "--prompts", "mine.jsonl"),
            *("--only-own", "--budget", "1", "--page", "page.md", "-o", "taught"),
        )
    assert done.exit_code == 0, done.stderr
    assert server.keys == {"Bearer sk-secret-0123456789"}
    assert "house" in Router.from_pretrained("taught").library
    row = json.loads((workplace / "models.answers.jsonl").read_text().splitlines()[0])
    assert row["cost"] == pytest.approx((7 * 1.0 + 3 * 2.0) / 1e6)
    written = [path for path in workplace.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert not [path for path in written if b"sk-secret" in path.read_bytes()]
    assert "sk-secret" not in done.stdout + done.stderr


class Inference:
    """A server of OpenAI's protocol that answers "yes"; `keys` are those it was given."""

    def __init__(self):
        self.keys = set()

    def __call__(self, request):
        self.keys.add(request.headers["Authorization"])
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        message = {"role": "assistant", "content": "yes"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        head = {"id": "1", "created": 1, "model": "gpt-x", "object": "chat.completion"}
        return FakeResponse(200, json.dumps({**head, "choices": [choice], "usage": usage}).encode())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no models"),
        ("[[models]]\nname = 'x'\n", "expected [[models]]"),
        ("[[models", "is not TOML"),
        ("[[models]]\nclient = 'own_models:nobody'\n", "cannot be imported"),
        (
            "[[models]]\nclient = 'own_models:good'\nprice = 3\n",
            "models.toml:3: models[0].price: there is no such key",
        ),
        (
            "[[models]]\nmodel = 'openai:gpt-4o'\napi_key_env = 'NO_SUCH_KEY'\n",
            "needs its key in the variable NO_SUCH_KEY",
        ),
    ],
)
def test_a_malformed_file_of_models_is_one_line(tryage, saved, workplace, content, message):
    (workplace / "models.toml").write_text(content)
    done = tryage("onboard", "models.toml", "--router", saved, "-o", "taught")
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_unknown_price_with_a_budget_is_an_error_before_any_request(tryage, saved, workplace):
    models = workplace / "models.toml"
    models.write_text('[[models]]\nname = "mystery"\nclient = "own_models:good"\n')
    done = tryage("onboard", models, "--router", saved, "--budget", "1", "-o", "taught")
    assert done.exit_code == 2
    assert "prices of mystery are unknown" in done.stderr


def write_losses(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_onboard_teaches_a_new_expert_from_losses_and_scores(tryage, saved, tmp_path):
    places = ("paris", "tokyo", "lima", "oslo", "accra", "quito", "delhi", "cairo")
    rows = [{"prompt": f"poem {place}", "score": 1.0} for place in places]
    rows += [{"prompt": f"law {place}", "loss": 0.0} for place in places]
    out = tmp_path / "taught"
    file = write_losses(tmp_path / "losses.jsonl", rows)
    done = tryage("onboard", "newcomer", "--losses", file, "--router", saved, "-o", out)
    assert done.exit_code == 0, done.stderr
    assert "newcomer learned from 16 prompts, 4 experts" in done.stdout
    assert "newcomer" in Router.from_pretrained(out).library


def test_onboard_reads_a_high_score_as_a_low_loss(tryage, saved, tmp_path):
    predicted = {}
    for score in (0.0, 1.0):
        rows = [{"prompt": f"law {place}", "score": score} for place in ("oslo", "lima", "paris")]
        out = tmp_path / f"taught-{score}"
        file = write_losses(tmp_path / "losses.jsonl", rows)
        tryage("onboard", "newcomer", "--losses", file, "--router", saved, "-o", out)
        ranking = Router.from_pretrained(out).route("law oslo").ranking
        predicted[score] = ranking.entry("newcomer").predicted_loss
    assert predicted[1.0] < predicted[0.0]


def test_onboard_reads_facts_about_the_expert_from_a_file(tryage, saved, tmp_path):
    facts = tmp_path / "newcomer.json"
    facts.write_text(json.dumps({"name": "newcomer", "parameters": 3e9}))
    file = write_losses(tmp_path / "losses.jsonl", [{"prompt": "law oslo", "loss": 0.3}])
    out = tmp_path / "taught"
    assert tryage("onboard", facts, "--losses", file, "--router", saved, "-o", out).exit_code == 0
    assert Router.from_pretrained(out).library["newcomer"].parameters == 3e9


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"prompt": "a"}', "expected"),
        ('{"loss": 1}', "expected"),
        ("[1]", "is not a JSON object"),
        ("{", "line 1 is not JSON"),
        ("", "No loss"),
    ],
)
def test_onboard_refuses_unreadable_losses_in_one_line(tryage, saved, tmp_path, content, message):
    path = tmp_path / "losses.jsonl"
    path.write_text(content)
    done = tryage("onboard", "new", "--losses", path, "--router", saved, "-o", tmp_path / "taught")
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_onboard_refuses_a_missing_file_of_losses(tryage, saved, tmp_path):
    done = tryage(
        "onboard", "new", "--losses", tmp_path / "no", "--router", saved, "-o", tmp_path / "x"
    )
    assert done.exit_code == 2
    assert "cannot be read" in done.stderr


@pytest.mark.parametrize("content", ["{", '{"name": 3}', "[]"])
def test_onboard_refuses_a_file_that_holds_no_expert(tryage, saved, tmp_path, content):
    facts = tmp_path / "newcomer.json"
    facts.write_text(content)
    file = write_losses(tmp_path / "losses.jsonl", [{"prompt": "law oslo", "loss": 0.3}])
    done = tryage("onboard", facts, "--losses", file, "--router", saved, "-o", tmp_path / "taught")
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
