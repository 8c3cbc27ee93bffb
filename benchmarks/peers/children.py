"""Runs a peer as a child process in its own environment, and follows what it has done."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from environments import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from environments import Environment
    from methods import PeerPackage

ADAPTERS = Path(__file__).parent / "adapters"


class PeerFailedError(RuntimeError):
    """A peer's process ended with an error; the message holds the end of what it wrote."""


def run_peer(  # noqa: PLR0913 - who runs where, on what, and who is told
    environment: Environment,
    peer: PeerPackage,
    tasks: Sequence[Path],
    out: Path,
    encoder: Path,
    on_done: Callable[[], object] = lambda: None,
    n_decisions: int = 0,
) -> None:
    """Run a peer's adapter on tasks; `on_done` is called for each that is done.

    With `n_decisions` it measures as many decisions on the first task in place of predicting.
    Predictions on tasks that were done before an error or an interruption stay.

    Raises:
        PeerFailedError: the process failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    log = out / "log.txt"
    adapter = ADAPTERS / f"{peer.environment}_adapter.py"
    command = [str(environment.python), str(adapter), *map(str, tasks)]
    command += ["--out", str(out), "--encoder", str(encoder), *peer.options]
    command += ["--speed", str(n_decisions)] if n_decisions else []
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=one_thread()
        )
        with process:
            try:
                for line in process.stdout or ():
                    if line.startswith("done "):
                        on_done()
            except BaseException:
                process.kill()  # an interruption ends the child, too
                raise
    if process.returncode:
        end = "\n".join(log.read_text("utf-8", "replace").splitlines()[-15:])
        raise PeerFailedError(
            f"{peer.label} ended with {process.returncode}. The end of {log}:\n{end}"
        )
