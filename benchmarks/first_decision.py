"""Compares the first decision of a new process in two checkouts: time, parts of it, and choice.

    git worktree add ../before COMMIT
    python benchmarks/first_decision.py ../before . --rounds 9

Each figure is seconds of processor time of one new process with one thread: first the whole of it,
then what comes after the start of Python and the imports of numpy and LangChain. The modules are
compiled beforehand, as after an installation.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from checkouts import run_command

if TYPE_CHECKING:
    from checkouts import Runs

# What a user writes first, after the imports that do not belong to Tryage.
PROGRAMS = {
    "`from_pretrained().subset(3 measured).route`": (
        "import numpy",
        """
from tryage import Router
router = Router.from_pretrained()
names = ["gpt-4o-mini-2024-07-18", "01-ai/Yi-34B", "01-ai/Yi-1.5-9B-Chat"]
chosen = router.subset(names).route(PROMPT).expert.name
""",
    ),
    "`from_pretrained().route` among all": (
        "import numpy",
        """
from tryage import Router
chosen = Router.from_pretrained().route(PROMPT).expert.name
""",
    ),
    "`ChatTryage.from_models(5 new names).invoke`": (
        "import numpy; from langchain_core.language_models import FakeListChatModel",
        """
from tryage_langchain import ChatTryage
names = ["gpt-5.2", "claude-opus-4-5", "gemini-3-pro-preview", "deepseek-v3.2", "qwen3-max"]
models = {name: FakeListChatModel(responses=[name]) for name in names}
chosen = ChatTryage.from_models(models).invoke(PROMPT).content
""",
    ),
}

PROMPT = "Write a Python function that sorts a list of integers, and prove that it ends."

# The imports of a framework are timed apart; `process_time` counts from the start of the process.
FRAME = """
import json, time
{imports}
start = time.process_time()
PROMPT = {prompt!r}
{program}
end = time.process_time()
print(json.dumps([end, end - start, chosen]))
"""


def main() -> None:
    """Measure one revision, or compare two."""
    run_command(__file__, __doc__, measure, compare, rounds=9)


def measure() -> dict[str, Any]:
    """Return seconds of processor time and the choice, `(whole, own, name)` per program."""
    return {name: run(imports, program) for name, (imports, program) in PROGRAMS.items()}


def run(imports: str, program: str) -> list[Any]:
    """Run a program in a new process; a first one compiles the modules and does not count."""
    code = FRAME.format(imports=imports, program=program, prompt=PROMPT)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    for _ in range(2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    figures: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def compare(runs: Runs) -> None:
    """Print the medians of both checkouts, the ratios of the pairs, and whether choices agree."""
    before, after = runs.values()
    print("| first decision, s | | before | after | after / before, median (range) | choice |")
    print("|---|---|---:|---:|---:|---|")
    for name in before[0]:
        is_same = {one[name][2] for one in before} == {one[name][2] for one in after}
        for i, part in enumerate(("whole process", "of it Tryage")):
            old, new = (np.array([one[name][i] for one in side]) for side in (before, after))
            ratio = new / old
            print(
                f"| {name} | {part} | {np.median(old):.3f} | {np.median(new):.3f} | "
                f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f}) | "
                f"{'the same' if is_same else 'another'} |"
            )


if __name__ == "__main__":
    main()
