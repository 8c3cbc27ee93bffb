"""Counts the code that runs in the most common uses: how many files a reader has to follow.

    python benchmarks/code_paths.py

For every code path it counts the project files and the distinct functions that run, the calls, and
the calls from one project file into another. Code that only gets imported and the fakes for tests
do not count. Everything has run once before, on other data. Then it prints the modules that are
loaded after `tryage train` in a new process, and the sizes of files and functions.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[pool] = "1"  # before numpy and the tokenizer start their pools

import numpy as np  # noqa: E402 - after the pools are set
import typer.testing  # noqa: E402 - the same

import tryage  # noqa: E402 - the same
import tryage_langchain  # noqa: E402 - the same
from tryage import Preferences, QTable, Router  # noqa: E402 - the same
from tryage.cli import app  # noqa: E402 - the same
from tryage.testing import FixedPerception, LocalHub  # noqa: E402 - the same
from tryage.tools import Tool, ToolRanker  # noqa: E402 - the same
from tryage_langchain import ChatTryage  # noqa: E402 - the same
from tryage_langchain.testing import ScriptedChatModel  # noqa: E402 - the same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

PACKAGES = tuple(Path(str(package.__file__)).parent for package in (tryage, tryage_langchain))
ROOTS = tuple(f"{folder}{os.sep}" for folder in PACKAGES)
FAKES = (f"{PACKAGES[0] / 'testing'}{os.sep}", str(PACKAGES[1] / "testing.py"))
COMMANDS = f"{PACKAGES[0] / 'cli'}{os.sep}"

PROMPT = "Prove that the sum of the first n odd numbers is a square."
FLAGGED = "Write a poem about the sea. [Flag: size<100B, smallest model]"
MODELS = ("first", "second")
TOOLS = (
    Tool("get_weather", "Current weather of a city", {"city": "Its name"}, latency=0.3),
    Tool("stock_price", "Price of a share on the stock exchange", cost=0.01),
    Tool("send_mail", "Send an e-mail", {"to": "Address"}, risk=0.8),
    Tool("translate", "Translate text into another language"),
)
QUERY = "Will it rain in Rome tomorrow?"


@dataclass
class Trace:
    """The project's functions that ran within this context, also in threads that it started."""

    without: tuple[str, ...] = FAKES
    calls: Counter[tuple[str, int]] = field(default_factory=Counter)
    crossings: int = 0

    def __enter__(self) -> Trace:
        """Start to record."""
        threading.setprofile(self._watch)
        sys.setprofile(self._watch)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop recording."""
        sys.setprofile(None)
        threading.setprofile(None)

    def _watch(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or code.co_name == "<module>" or not self._counts(code.co_filename):
            return
        self.calls[code.co_filename, code.co_firstlineno] += 1
        caller = frame.f_back.f_code.co_filename if frame.f_back else ""
        self.crossings += caller != code.co_filename and self._counts(caller)

    def _counts(self, file: str) -> bool:
        return file.startswith(ROOTS) and not file.startswith(self.without)

    def row(self) -> tuple[int, int, int, int]:
        """Return the files, the distinct functions, the calls and the crossings."""
        files = {file for file, _ in self.calls}
        return len(files), len(self.calls), self.calls.total(), self.crossings


def trace(action: Callable[[], object], without: tuple[str, ...] = FAKES) -> Trace:
    """Run an action and return its trace."""
    with Trace(without) as recorded:
        action()
    return recorded


# --- the code paths ------------------------------------------------------------------------------


def routing() -> Iterator[tuple[str, Trace]]:
    """Trace the way from the bundled router to a decision and its explanation."""
    Router.from_pretrained()
    yield "`Router.from_pretrained()`", trace(Router.from_pretrained)
    router = Router.from_pretrained()
    router.route("warm up")
    yield "`route(prompt).chosen`", trace(lambda: router.route(PROMPT).chosen)
    flags = Router(router.perception, router.library, default=router.default, prompt_flags=True)
    flags.route("warm up", preferences())
    yield (
        "`route(prompt, weights, licenses)` with a flag",
        trace(lambda: flags.route(FLAGGED, preferences())),
    )
    decision = flags.route(FLAGGED, preferences())
    decision.explain()
    yield "`decision.explain()`", trace(flags.route(FLAGGED, preferences()).explain)


def preferences() -> Preferences:
    """Return weights and licences, as a caller would write them."""
    return Preferences({"cost": 0.3, "size": 0.2}, licenses=["apache-2.0", "mit", "llama3"])


def from_the_hub(home: Path) -> Iterator[tuple[str, Trace]]:
    """Trace the way from an empty catalogue to a decision among unmeasured models."""
    base, found = Router.from_pretrained(), []

    def build_router() -> None:
        found.append(Router.from_hub("text-generation", base=base, limit=10))

    with LocalHub() as hub, environment(at_hub(hub)):
        hub.load(records())
        hub.served.extend(served())
        for folder in ("warm", "router"):
            with environment({"TRYAGE_HOME": str(home / folder)}):
                seen = trace(build_router)
        yield "`Router.from_hub`, empty catalogue", seen
        for folder in ("warm-sync", "sync"):
            with environment({"TRYAGE_HOME": str(home / folder)}):
                seen = trace(lambda: command("hub", "sync"), (*FAKES, COMMANDS))
        yield "`tryage hub sync`, without the command's own files", seen
    router = found[-1]
    router.route("warm up")
    yield (
        "`route(prompt).chosen` among unmeasured experts",
        trace(lambda: router.route(PROMPT).chosen),
    )


def chatting() -> Iterator[tuple[str, Trace]]:
    """Trace a chat whose first model fails, each time with a new chat."""
    make_chat()
    yield "`ChatTryage.from_models`", trace(make_chat)
    for name, run in (("invoke", invoke), ("stream", stream)):
        run(make_chat(fails=True))
        chat = make_chat(fails=True)
        yield f"`{name}`, first child fails", trace(partial(run, chat))


def training(home: Path) -> Iterator[tuple[str, Trace]]:
    """Trace the way from a table of losses to a saved router."""
    words = train_words(home)
    command(*words)
    yield "`tryage train`", trace(lambda: command(*words))


def choosing_tools() -> Iterator[tuple[str, Trace]]:
    """Trace the way from a query to the tools that it needs."""
    ranker = ToolRanker.from_pretrained()
    ranker.select(TOOLS[:2], "warm up")
    yield "`ToolRanker.select`, first", trace(lambda: ranker.select(TOOLS, QUERY, 2))
    yield "`ToolRanker.select`, again", trace(lambda: ranker.select(TOOLS, QUERY, 2))


# --- inputs of the code paths -------------------------------------------------------------------


@contextlib.contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables within this context."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def at_hub(hub: LocalHub) -> dict[str, str]:
    """Return the environment of a process that uses only this Hub."""
    return {
        "HF_ENDPOINT": hub.url,
        "TRYAGE_HUB_INFERENCE": hub.url,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "HF_HUB_OFFLINE": "",
        "TRANSFORMERS_OFFLINE": "",
    }


def records() -> list[dict[str, Any]]:
    """Return models as the Hub lists them."""
    return [
        {
            "id": f"org/model-{i}b",
            "pipeline_tag": "text-generation",
            "downloads": 1_000 - i,
            "createdAt": f"2025-01-{i + 1:02d}T00:00:00.000Z",
            "tags": ["license:mit", "en", *(["base_model:org/model-0b"] if i else [])],
            "cardData": {"license": "mit"},
            "safetensors": {"total": (i + 1) * 10**9, "parameters": {"BF16": (i + 1) * 10**9}},
        }
        for i in range(20)
    ]


def served() -> list[dict[str, Any]]:
    """Return offers of a provider, as the inference router lists them."""
    return [
        {
            "id": record["id"],
            "providers": [
                {
                    "provider": "acme",
                    "status": "live",
                    "pricing": {"input": 0.1, "output": 0.4},
                    "context_length": 8_192,
                    "supports_tools": True,
                }
            ],
        }
        for record in records()
    ]


def command(*words: object) -> str:
    """Run a command in this process and return its output."""
    done = typer.testing.CliRunner().invoke(app, [str(word) for word in words])
    if done.exit_code:
        raise SystemExit(f"tryage {words[0]}: {done.output}{done.exception!r}")
    return done.output


def make_chat(*, fails: bool = False) -> ChatTryage:
    """Make a chat over two models; with `fails` the one that is chosen first fails once."""
    models = [ScriptedChatModel(model=name) for name in MODELS]
    if fails:
        models[0].fails.append(ConnectionError("down"))
    router = Router(FixedPerception({name: 0.1 * i for i, name in enumerate(MODELS)}))
    return ChatTryage.from_models(models, router=router)


def invoke(chat: ChatTryage) -> None:
    """Ask for an answer."""
    chat.invoke(PROMPT)


def stream(chat: ChatTryage) -> None:
    """Ask for an answer as a stream."""
    for _ in chat.stream(PROMPT):
        pass


def train_words(home: Path) -> list[str]:
    """Write a small table of losses and facts about its experts; return the command to train."""
    rng = np.random.default_rng(0)
    kinds, experts = ("sum", "code", "poem"), ("adder-1b", "coder-7b", "poet-13b")
    losses = np.array([[0.1 if i % 3 == e else 0.8 for e in range(3)] for i in range(60)])
    table = QTable(
        tuple(f"{kinds[i % 3]} number {i}" for i in range(60)),
        experts,
        (losses + rng.normal(0, 0.02, losses.shape)).astype(np.float32),
        categories=tuple(kinds[i % 3] for i in range(60)),
        output_tokens=np.full(losses.shape, 100.0, np.float32),
    )
    table.write(home / "table.csv")
    known = [json.dumps({"name": name, "parameters": 1e9 + i}) for i, name in enumerate(experts)]
    (home / "experts.jsonl").write_text("\n".join(known), "utf-8")
    options = {"-o": "router", "--experts": "experts.jsonl"}
    paths = (word for option, name in options.items() for word in (option, str(home / name)))
    return ["train", str(home / "table.csv"), *paths]


# --- modules and sizes -------------------------------------------------------------------------

PROBE = """
import json, sys
sys.argv[0] = "tryage"
from tryage.cli import app
try:
    app()
except SystemExit as stop:
    assert not stop.code, stop
print("LOADED", json.dumps(sorted(sys.modules)))
"""


def modules_after_training(home: Path) -> list[str]:
    """Return the modules that a new process has loaded after `tryage train`."""
    run = subprocess.run(
        [sys.executable, "-B", "-c", PROBE, *train_words(home)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    found = next(line for line in run.stdout.splitlines() if line.startswith("LOADED "))
    loaded: list[str] = json.loads(found.removeprefix("LOADED "))
    return loaded


def loaded_rows(loaded: Sequence[str]) -> Iterator[str]:
    """Return the number of modules, and of those that belong to other tasks."""
    ours = [name for name in loaded if re.match(r"tryage(\.|$)", name)]
    yield f"| modules of `tryage` | {len(ours)} |"
    for part in ("scoring", "chat", "evaluation", "cotraining"):
        count = sum(
            re.match(rf"tryage\.(learning\.)?{part}(\.|$)", name) is not None for name in ours
        )
        yield f"| of these `{part}` | {count} |"
    for package in ("ray", "torch", "sklearn", "httpx"):
        yield f"| `{package}` is loaded | {'yes' if package in loaded else 'no'} |"


def sizes(folders: Sequence[Path]) -> tuple[list[int], list[int]]:
    """Return the lines of each file and of each function's body, without its docstring."""
    files, bodies = [], []
    for path in (path for folder in folders for path in sorted(folder.rglob("*.py"))):
        text = path.read_text("utf-8")
        files.append(len(text.splitlines()))
        bodies += [
            body_lines(node)
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
    return files, bodies


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function below its signature and docstring."""
    first = function.body[0]
    has_docstring = ast.get_docstring(function, clean=False) is not None
    start = (first.end_lineno or first.lineno) + 1 if has_docstring else first.lineno
    return (function.end_lineno or start) + 1 - start


def size_row(name: str, folders: Sequence[Path]) -> str:
    """Return the sizes of files and functions of some folders as one row."""
    files, bodies = sizes(folders)
    return (
        f"| {name} | {len(files)} | {sum(files):,} | {statistics.median(files):.0f} "
        f"| {quantile(files, 0.9)} | {max(files)} | {sum(lines < 100 for lines in files)} "
        f"| {len(bodies):,} | {statistics.median(bodies):.0f} | {quantile(bodies, 0.9)} "
        f"| {max(bodies)} |"
    )


def quantile(values: Sequence[int], share: float) -> int:
    """Return the value below which this share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


# --- the tables --------------------------------------------------------------------------------


def code_paths(home: Path) -> Iterator[tuple[str, Trace]]:
    """Trace all code paths."""
    yield from routing()
    yield from from_the_hub(home)
    yield from chatting()
    yield from training(home)
    yield from choosing_tools()


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        print("| code path | files | functions | calls | crossings |\n|---|---:|---:|---:|---:|")
        for name, seen in code_paths(home):
            print(f"| {name} |", " | ".join(f"{count:,}" for count in seen.row()), "|", flush=True)
        print("\n| after `tryage train` in a new process | |\n|---|---:|")
        print("\n".join(loaded_rows(modules_after_training(home))))
    llamaindex = PACKAGES[1].with_name("tryage_llamaindex")
    print(
        "\n| sizes | files | lines | median | p90 | largest | below 100 "
        "| functions | median body | p90 | longest |\n" + "|---" + "|---:" * 10 + "|"
    )
    print(size_row("all", [*PACKAGES, llamaindex]))
    for folder in (*PACKAGES, llamaindex):
        print(size_row(f"`{folder.name}`", [folder]))


if __name__ == "__main__":
    main()
