"""The hostile model answers as its cases say, and Tryage's answer is that of the healthy one."""

from __future__ import annotations

import runpy
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("langchain_openai")

PATH = Path(__file__).resolve().parents[3] / "benchmarks" / "robustness" / "hostile_answers.py"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(PATH))


@pytest.fixture
def port(script, monkeypatch):
    monkeypatch.setattr("tryage.chat.streams.MAX_ANSWER_SIZE", 150_000)
    model = script["HostileModel"]
    model.n_bytes = 400_000
    with ThreadingHTTPServer(("127.0.0.1", 0), model) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("case", ["whole", "deep"])
def test_a_whole_answer_of_a_hostile_model_is_that_of_the_healthy_one_or_harmless(
    script, port, case
):
    assert script["ask"]("invoke", port, case) == len("healthy" if case == "whole" else "")


def test_a_stream_of_a_hostile_model_breaks_off(script, port):
    with pytest.raises(ValueError, match="more than 150,000 characters"):
        script["ask"]("stream", port, "stream")
