"""Code that answers a prompt, run against tests in a process of its own."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tryage.errors import InputError
from tryage.experts.values import number

if TYPE_CHECKING:
    from tryage.scoring.measurement import Prompt

WARNING = (
    "Code that a language model wrote is run on this machine. The limits on time, memory, files "
    "and processes hold accidents back, not attacks: it can read what this user can read, and "
    "reach the network. Run it in a container or a virtual machine that you can lose."
)

_FENCED = re.compile(r"```(?:python|py)?[ \t]*\r?\n(.*?)```", re.DOTALL | re.IGNORECASE)

# Reads the proof before the code runs and says it after the tests: an early exit does not pass.
_RUNNER = """\
import os, resource, sys
seconds, memory = int(sys.argv[1]), int(sys.argv[2])
for limit, most in (
    (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_FSIZE, 1 << 20), (resource.RLIMIT_NOFILE, 32), (resource.RLIMIT_NPROC, 64),
):
    hard = resource.getrlimit(limit)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(limit, (most, most))
proof, said = sys.stdin.readline(), os.dup(1)
with open("answer.py", encoding="utf-8") as file:
    code = file.read()
sys.argv[:] = ["answer.py"]
exec(compile(code, "answer.py", "exec"), {"__name__": "answer"})
os.write(said, proof.encode())
"""


class PassesTests:
    """Scores 1 if the answer's Python code passes the tests in the prompt's first reference.

    The code is what stands between ``` fences, else the whole answer; the reference holds
    assertions that follow it. **This runs code that a model wrote.** Each answer gets an isolated
    interpreter without installed packages and without this process's environment, in an empty
    folder that is removed, with limits on time, memory, files and processes. That is no security
    boundary.

    Args:
        sandbox: Must be True: yes, run it here.
        seconds: Wall clock and processor time of one answer.
        memory: Bytes of address space.

    Raises:
        InputError: without `sandbox=True`, or on a system without resource limits (Windows).
    """

    needs = ("references",)

    def __init__(
        self, *, sandbox: bool = False, seconds: float = 10.0, memory: int = 512 << 20
    ) -> None:
        if sandbox is not True:
            raise InputError(f"{WARNING} If that is so here, write PassesTests(sandbox=True).")
        if sys.platform == "win32":
            raise InputError("Code is run only where a process can be limited: not on Windows.")
        warnings.warn(WARNING, stacklevel=2)
        self.seconds, self.memory = number("seconds", seconds, 0.1), int(number("memory", memory))

    def __call__(self, prompt: Prompt, answer: str) -> float:
        """Run the code of an answer, then the tests."""
        with tempfile.TemporaryDirectory(prefix="tryage-") as folder:
            program = f"{code_of(answer)}\n\n{prompt.references[0]}\n"
            Path(folder, "answer.py").write_text(program, "utf-8", errors="replace")
            return float(self._passes(folder))

    def _passes(self, folder: str) -> bool:
        proof = secrets.token_hex(16)
        limits = [str(int(self.seconds) + 1), str(self.memory)]
        with tempfile.TemporaryFile() as said:  # a pipe would let it fill our memory
            process = subprocess.Popen(  # noqa: S603 - running it is the purpose, and the user agreed
                [sys.executable, "-I", "-S", "-c", _RUNNER, *limits],
                cwd=folder,
                env={"PATH": "/usr/bin:/bin", "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8"},
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                process.communicate(f"{proof}\n".encode(), timeout=self.seconds)
            except subprocess.TimeoutExpired:
                return False
            finally:
                _end(process)
            said.seek(0)
            return process.returncode == 0 and proof.encode() in said.read()


def code_of(answer: str) -> str:
    """Return the code in an answer: all fenced blocks, or else the whole of it."""
    blocks = _FENCED.findall(answer)
    return "\n".join(blocks) if blocks else answer


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
