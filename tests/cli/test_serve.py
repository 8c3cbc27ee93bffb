"""`tryage serve` as a process: it answers, refuses to be open to all, and lets answers end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest

from tryage.cli.serve import _sources
from tryage.errors import InputError

pytest.importorskip("fastapi")
pytest.importorskip("langchain.chat_models")

MODULE = """
import time
from langchain_core.runnables import RunnableLambda
from tryage_langchain.testing import ScriptedChatModel

quick = ScriptedChatModel(model="quick")

def answer_slowly(messages):
    time.sleep(1)
    return ScriptedChatModel(model="slow").invoke(messages)

slow = RunnableLambda(answer_slowly)
"""


@pytest.fixture
def workplace(tmp_path):
    (tmp_path / "own_models.py").write_text(MODULE)
    tables = [
        f'[[models]]\nname = "{name}"\nclient = "own_models:{name}"\ninput_price = 1.0\n'
        "output_price = 2.0\n"
        for name in ("quick", "slow")
    ]
    (tmp_path / "models.toml").write_text("\n".join(tables))
    return tmp_path


def start(workplace, *arguments, keys=""):
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "tryage", "serve", "models.toml", *arguments],
        cwd=workplace,
        env={**os.environ, "TRYAGE_SERVER_KEYS": keys},
        stderr=subprocess.PIPE,
        text=True,
    )


def address(process):
    """Wait until the server listens; return where."""
    for line in process.stderr:
        if found := re.search(r"running on (http://[\d.:]+)", line):
            return found.group(1)
    raise AssertionError("the server has not started")


@pytest.mark.slow
def test_an_answer_ends_before_the_server_does(workplace):
    process = start(workplace, "--port", "0", keys="a key of some length")
    url = address(process)
    headers = {"Authorization": "Bearer a key of some length"}
    assert httpx.get(f"{url}/v1/models").status_code == 401
    answers = []
    body = {"model": "slow", "messages": [{"role": "user", "content": "hello"}]}

    def ask():
        answers.append(
            httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=20)
        )

    asking = threading.Thread(target=ask)
    asking.start()
    while not httpx.get(f"{url}/v1/models", headers=headers).is_success or asking.ident is None:
        pass
    threading.Event().wait(0.3)  # the answer takes a second
    process.send_signal(signal.SIGTERM)
    asking.join(20)
    process.communicate(timeout=20)
    assert answers[0].json()["choices"][0]["message"]["content"] == "Hello from slow today"
    assert process.returncode in (0, -signal.SIGTERM)  # uvicorn raises the signal again


def test_a_server_without_keys_does_not_listen_to_all(workplace):
    process = start(workplace, "--host", "0.0.0.0")  # noqa: S104 - refused
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "set TRYAGE_SERVER_KEYS" in said


def test_an_unknown_default_is_an_error_before_it_listens(workplace):
    process = start(workplace, "--default", "quik", "--port", "0")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Did you mean quick" in said


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
def test_a_file_that_changes_is_in_force_and_a_wrong_one_changes_nothing(workplace):
    pytest.importorskip("watchfiles")
    file = workplace / "models.toml"
    process = start(workplace, "--port", "0")
    url = address(process)

    def models():
        return {one["id"] for one in httpx.get(f"{url}/v1/models").json()["data"]}

    assert {"quick", "slow"} <= models()
    right = file.read_text()
    file.write_text(right.replace('name = "slow"', "name = 3"))
    process.send_signal(signal.SIGHUP)
    said = next(line for line in process.stderr if "settings stay as they were" in line)
    assert "models.toml:8: models[1].name: got 3" in said
    assert {"quick", "slow"} <= models()
    file.write_text(right.replace('name = "slow"', 'name = "patient"'))
    process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 20
    while "patient" not in models():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "slow" not in models()
    process.terminate()
    process.communicate(timeout=20)


def test_a_server_needs_models_or_a_file(workplace):
    process = start(workplace, "--config", "models.toml")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "not both" in said


def test_a_file_of_settings_stands_alone():
    with pytest.raises(InputError, match=r"tryage\.toml is a file of settings: it stands alone"):
        _sources(["tryage.toml", "openai:gpt-5.6"], None)
