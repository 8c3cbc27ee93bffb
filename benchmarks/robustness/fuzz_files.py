"""Targets that read files: `tryage.toml`, Q-tables, and folders of saved routers and tool rankers.

Each process writes to a folder of its own, which it removes at its end.
"""

from __future__ import annotations

import atexit
import functools
import json
import re
import shutil
import tempfile
import warnings
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tryage import QTable, Router
from tryage.config import policies
from tryage.config.document import read_document
from tryage.config.load import load_config
from tryage.config.write import to_toml
from tryage.errors import ConfigError, InputError, NoExpertError, PersistenceError, TryageError
from tryage.perception import persistence, pretrained
from tryage.perception.persistence import load_encoder, load_perception, save_perception
from tryage.policies.rule_file import read_rules
from tryage.tools import Tool, ToolRanker
from tryage.tools import persistence as tools_persistence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import ModuleType

FIXTURES = Path(__file__).resolve().parents[2] / "tests" / "fixtures"


@functools.lru_cache(maxsize=1)
def _scratch() -> Path:
    """Return the folder of this process."""
    folder = Path(tempfile.mkdtemp(prefix="tryage-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


# Settings --------------------------------------------------------------------------------------


def check_config(data: bytes) -> None:
    """Read settings and rules: problems have lines of the file, and what is written reads equal."""
    path = _scratch() / "tryage.toml"
    path.write_bytes(data)
    case = zlib.crc32(data) % 16
    if case % 4:  # what stands behind takes ten times as long
        _check_document(path)
        return
    if b"rules" in data:
        _check_rules(path)
    with _replaced(policies, "import_object", _refuse_code):
        try:
            loaded = load_config(path, environment={"A": "x"})
        except ConfigError as error:
            _check_lines(error, len(re.split(rb"\r\n|\r|\n", data)))  # as editors count
            return
        if case == 0:
            path.write_text(to_toml(loaded.config), "utf-8")
            assert load_config(path, environment={"A": "x"}).config == loaded.config


def _check_document(path: Path) -> None:
    """Read a file as TOML: every key has a line."""
    try:
        document = read_document(path)
    except ConfigError as error:
        check_message(error)
        return
    assert all((name,) in document.lines for name in document.tables)


def _check_rules(path: Path) -> None:
    try:
        read_rules(path)
    except TryageError as error:
        check_message(error)


def _check_lines(error: ConfigError, n_lines: int) -> None:
    """Check that the problems have lines of the file."""
    assert error.problems
    lines = [problem.line for problem in error.problems if problem.line is not None]
    assert all(1 <= line <= n_lines for line in lines), lines


def check_message(error: Exception) -> None:
    """Check that a message is short enough to be read."""
    assert len(str(error)) < 2_000


def _refuse_code(location: str, _: Path) -> object:
    """Stand for the import of the user's code, which settings may name and which would run."""
    raise InputError(f"{location:.80} is not imported here")


@contextmanager
def _replaced(module: ModuleType, name: str, function: Callable[..., object]) -> Iterator[None]:
    """Let a module call another function until the block ends."""
    before = getattr(module, name)
    setattr(module, name, function)
    try:
        yield
    finally:
        setattr(module, name, before)


# Q-tables --------------------------------------------------------------------------------------


def check_table(suffix: str, data: bytes) -> None:
    """Read a Q-table: what is written of it reads equal."""
    path = _scratch() / f"table.{suffix}"
    path.write_bytes(data)
    try:
        table = QTable.read(path)
    except InputError as error:
        check_message(error)
        return
    if not table.measured.any() or zlib.crc32(data) % 8:
        return
    table.write(path)
    again = QTable.read(path)
    again.write(path)
    assert QTable.read(path).equals(again)


def table_seeds(suffix: str) -> Iterator[bytes]:
    """Yield small tables with all columns, and with few of them."""
    path = _scratch() / f"seed.{suffix}"
    losses = np.float32([[0.1, np.nan], [0.5, 1.0]])
    full = QTable(
        ("p 0", "p,\n1"),
        ("a", "b"),
        losses,
        categories=("x", None),
        sources=("s", "s"),
        costs=losses,
        latencies=losses,
        output_tokens=losses * 100,
        readabilities=losses,
    )
    for table in (full, QTable(("p",), ("a",), np.float32([[0.25]]))):
        table.write(path)
        yield path.read_bytes()
    path.unlink()
    if suffix == "csv":
        yield b"prompt,expert,score\na,b,1\n"
    if suffix == "jsonl":
        yield b'{"prompt": "a", "expert": "b", "score": 1, "prompt_id": 7}\n'


# Saved folders ---------------------------------------------------------------------------------

# The first letter of an input -> the file that it replaces.
_FILES = {
    b"r": "router/router.json",
    b"p": "router/perception.json",
    b"w": "router/perception.safetensors",
    b"e": "router/encoder/encoder.json",
    b"t": "router/encoder/table.safetensors",
    b"k": "router/encoder/tokenizer.json",
    b"q": "ranker/ranker.json",
    b"v": "ranker/ranker.safetensors",
}

_PROMPTS = [
    "word1 word2",
    "",
    "Which?\nA. word1\nB. word2",
    '\n[{"name": "f", "type": 1}]',
    "\u4e16",
]
_TOOLS = [Tool("weather", "Weather of a city", {"city": "name"}), Tool("mail", "Send a mail")]


class _Saved:
    """A router and a ranker of format 1 as they are saved today, without their digests.

    Each file that is fuzzed has a copy of the folder, so that all others are as they were, and what
    the others hold is read once.
    """

    def __init__(self, folder: Path) -> None:
        made = folder / "made"
        source = FIXTURES / "format_1"
        Router.from_pretrained(source / "router_learning").save_pretrained(made / "router")
        ToolRanker.from_pretrained(source / "ranker").save_pretrained(made / "ranker")
        for header in (made / "router" / "router.json", made / "ranker" / "ranker.json"):
            _remove_digests(header)
        self.contents = {kind: (made / name).read_bytes() for kind, name in _FILES.items()}
        self.folders = {kind: folder / kind.decode() for kind in _FILES}
        for copy in self.folders.values():
            shutil.copytree(made, copy)
        self.encoder = load_encoder(made / "router" / "encoder")
        self.ranker_encoder = load_encoder(made / "ranker" / "encoder")
        self.perception = load_perception(made / "router")


def _remove_digests(header: Path) -> None:
    content = json.loads(header.read_text("utf-8"))
    del content["sha256"]
    header.write_text(json.dumps(content), "utf-8")


@functools.lru_cache(maxsize=1)
def _saved() -> _Saved:
    return _Saved(_scratch())


def saved_seeds() -> Iterable[bytes]:
    """Return each file of a saved router and a saved ranker."""
    return [kind + content for kind, content in _saved().contents.items()]


def check_saved(data: bytes) -> None:
    """Load a folder of which one file is replaced: it is refused in one message, or it works."""
    saved, kind = _saved(), data[:1] if data[:1] in _FILES else b"r"
    folder = saved.folders[kind]
    (folder / _FILES[kind]).write_bytes(data[1:])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            _use(saved, kind, folder, is_saved_again=zlib.crc32(data) % 8 == 0)
    except PersistenceError as error:
        check_message(error)


def _use(saved: _Saved, kind: bytes, folder: Path, *, is_saved_again: bool) -> None:
    if kind in b"etk":
        _use_encoder(folder / "router" / "encoder")
    elif kind in b"qv":
        with _replaced(tools_persistence, "load_encoder", lambda _: saved.ranker_encoder):
            _use_ranker(folder / "ranker")
    elif kind == b"r":
        with _replaced(pretrained, "load_perception", lambda _: saved.perception):
            _use_router(folder / "router", is_saved_again=is_saved_again)
    else:
        with _replaced(persistence, "load_encoder", lambda _: saved.encoder):
            _use_perception(folder / "router", is_saved_again=is_saved_again)


def _use_encoder(folder: Path) -> None:
    encoder = load_encoder(folder)
    for prompt in _PROMPTS:
        assert np.isfinite(encoder.encode([prompt])).all()


def _use_ranker(folder: Path) -> None:
    ranker = ToolRanker.from_pretrained(folder)
    selection = ranker.select(_TOOLS, "weather in Rome and then mail it to Ann", None)
    assert np.isfinite([one.predicted_loss for one in selection.ranking]).all()
    assert np.isfinite(selection.needed)
    ranker.observe("weather", ["weather"])
    ranker.select(_TOOLS, "weather")


def _use_router(folder: Path, *, is_saved_again: bool) -> None:
    router = Router.from_pretrained(folder)
    try:
        decision = router.route_batch(_PROMPTS)[0]
        assert np.isfinite(decision.chosen.predicted_loss)
        decision.explain()
    except NoExpertError:
        return
    if is_saved_again:
        again = folder.with_name("again")
        router.save_pretrained(again)
        loaded = Router.from_pretrained(again)
        assert loaded.library.to_dicts() == router.library.to_dicts()
        assert loaded.preferences == router.preferences


def _use_perception(folder: Path, *, is_saved_again: bool) -> None:
    perception = load_perception(folder)
    losses = perception.predict(_PROMPTS).losses
    assert np.isfinite(losses).all()
    if is_saved_again:
        again = folder.with_name("again")
        save_perception(perception, again)
        assert load_perception(again).experts == perception.experts
