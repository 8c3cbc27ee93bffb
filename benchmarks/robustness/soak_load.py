"""Sends requests at a fixed rate through one client, and writes down what comes of each.

    python benchmarks/robustness/soak_load.py CLIENT FOLDER SECONDS RATE

It runs in a process of its own, and begins when `FOLDER/start` says. Arrivals are open-loop: a
request is sent when it is due, whether earlier ones are answered or not, and its time counts from
then. `FOLDER/<client>.jsonl` gets a line for each request, `FOLDER/<client>.events.jsonl` one for
each record of `logging` and, every ten seconds, one with the health of the models.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import re
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from soak_faults import MODELS, last_marker, make_marker, share_of
from soak_files import wait_for_start, write_whole

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

THREADS = 32  # for requests that are sent without async code; all start at once
BEAT_SECONDS = 10.0
DRAIN_SECONDS = 60.0  # that the last requests have to end
FEEDBACK_SHARE, LEAVING_SHARE, THREAD_SHARE = 0.10, 0.02, 0.30
CLIENTS = ("langchain", "llamaindex", "http")
N_THREADS, N_USERS = 50, 20  # of conversations, of users of a budget

_PROMPTS = Path(__file__).parents[1] / "difficulty" / "prompts.jsonl"
_FAILURE = re.compile(r"^ *(\S+): (\w+)", re.MULTILINE)
_ANY_MARKER = re.compile(r"m\d{6}[a-z]{6}")


@dataclass(frozen=True)
class Request:
    """One request: its marker stands at the end of its prompt, and makes its answer."""

    path: str
    number: int
    prompt: str

    @property
    def marker(self) -> str:
        """What every word of the answer has to be."""
        return make_marker(self.path, self.number)

    @property
    def text(self) -> str:
        """What the user writes."""
        return f"{self.prompt}\n(request {self.marker})"

    @property
    def earlier_text(self) -> str | None:
        """What the user wrote before, None in a conversation that begins."""
        if share_of(self.marker, "thread") >= THREAD_SHARE or self.number == 0:
            return None
        return f"Say hello.\n(request {make_marker(self.path, self.number - 1)})"

    @property
    def keys(self) -> dict[str, str]:
        """Whose request it is."""
        share = share_of(self.marker, "keys")
        user = f"user-{int(share * N_USERS)}"
        if self.earlier_text is None:
            return {"user_id": user}
        return {"user_id": user, "thread_id": f"thread-{int(share * N_THREADS)}"}

    @property
    def leaves(self) -> bool:
        """Whether the caller goes away before the answer is there."""
        return share_of(self.marker, "leaves") < LEAVING_SHARE

    @property
    def gives_feedback(self) -> bool:
        """Whether the answer is rated."""
        return share_of(self.marker, "feedback") < FEEDBACK_SHARE


@dataclass
class Reply:
    """What came of a request so far."""

    pieces: list[str] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)
    first_word: float | None = None
    has_left: bool = False

    def note(self, text: str | None) -> None:
        """Add a part of the answer."""
        if not text:
            return
        if self.first_word is None:
            self.first_word = time.time()
        self.pieces.append(text)

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self.pieces)


class RefusedError(Exception):
    """A server has answered with an error: its status, and the words for the caller."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.message = status, message


class Client:
    """Asks in one way or another; a subclass is a library or a protocol."""

    ways: dict[str, float]
    """How often each method is used; those whose names begin with "a" are asynchronous."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def feedback(self, decision_id: str, score: float) -> bool:
        """Rate an answer; return whether that was new."""
        raise NotImplementedError

    def health(self) -> dict[str, Any]:
        """Return the state of each model, by its name."""
        raise NotImplementedError

    def failures(self, error: BaseException) -> dict[str, str]:
        """Return the models that an error says have failed, each with the class of its error."""
        return {name: type(one).__name__ for name, one in getattr(error, "failures", ())}

    def close(self) -> dict[str, Any]:
        """End, and return what is left to be told, such as the records that the log has lost."""
        return {}


class ConfiguredClient(Client):
    """A client with a chat model of ours for each file of settings, which shares one log."""

    _models: Mapping[str, Any]

    def feedback(self, decision_id: str, score: float) -> bool:
        """Rate an answer; return whether that was new."""
        return self._models["plain"].feedback(decision_id, score)

    def health(self) -> dict[str, Any]:
        """Return the state of each model, by its name."""
        return {name: one["state"] for name, one in self._models["plain"].health().items()}

    def close(self) -> dict[str, Any]:
        """End, and return what the log has lost."""
        log = self._models["plain"]._chat_router.router.traffic  # noqa: SLF001 - of the same project
        for model in self._models.values():
            model.close()
        return {"flushed": log.flush(60), "lost": log.lost}


def way_of(ways: dict[str, float], marker: str) -> str:
    """Return the way in which a request is sent."""
    share = share_of(marker, "way") * sum(ways.values())
    for name, weight in ways.items():
        share -= weight
        if share < 0:
            return name
    return next(iter(ways))


# What came of it -------------------------------------------------------------------------------


def outcome_of(
    request: Request, reply: Reply, error: BaseException | None, failures: Mapping[str, str]
) -> str:
    """Return what came of a request in one word; "fault" is what must never happen.

    "first" and "next" are answers of the model that was chosen and of a later one, "failed" an
    error with the reason of each model, "cut" a stream that broke off with an error after its first
    word, "left" a caller that went away as planned, and "empty" an answer without a word, which the
    model has given and no other has a better one.
    """
    if is_mixed(request, reply):
        return "fault"
    if reply.has_left:
        return "left"
    if error is not None:
        reason = "failed" if failures else "fault"
        return "cut" if reply.pieces else reason
    if not reply.text:
        return "empty"
    return _answered(reply)


def _answered(reply: Reply) -> str:
    """Return whose a whole answer is: its last word or its bracket tells that it is whole."""
    if last_marker(reply.text) is None or not reply.text.endswith(("end", "}")):
        return "fault"
    is_next = reply.record.get("failed") or reply.record.get("cooling_down")
    return "next" if is_next else "first"


def is_mixed(request: Request, reply: Reply) -> bool:
    """Tell whether a part of an answer is of another request."""
    return bool({*_ANY_MARKER.findall(reply.text)} - {request.marker})


# The load --------------------------------------------------------------------------------------


class Load:
    """Sends the requests of one client."""

    def __init__(self, client: Client, path: str, folder: Path, start: float) -> None:
        self._client, self._path, self._start = client, path, start
        lines = _PROMPTS.read_text("utf-8").splitlines()
        self._prompts = [json.loads(line)["prompt"] for line in lines]
        self._lines = (folder / f"{path}.jsonl").open("a", buffering=1)
        self._events = Events((folder / f"{path}.events.jsonl").open("a", buffering=1), start)
        self._pool = _full_pool()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, rate: float, seconds: float) -> None:
        """Send requests until the time is over, and wait for the last ones."""
        beat = asyncio.create_task(self._beat())
        for i in range(int(rate * seconds)):
            due = self._start + i / rate
            await asyncio.sleep(max(due - time.time(), 0))
            task = asyncio.create_task(self._send(i, due))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=DRAIN_SECONDS)
        beat.cancel()
        left = {"unanswered": len(self._tasks), **await asyncio.to_thread(self._client.close)}
        self._events.write("end", **left)

    async def _send(self, number: int, due: float) -> None:
        prompt = self._prompts[number % len(self._prompts)]
        request, reply = Request(self._path, number, prompt), Reply()
        way, error = way_of(self._client.ways, request.marker), None
        sent = time.time()
        try:
            await self._call(getattr(self._client, way), way, request, reply)
        except Exception as raised:  # noqa: BLE001 - each client raises its own; it is written down
            error = raised
        ended = time.time()
        failures = {} if error is None else self._client.failures(error)
        outcome = outcome_of(request, reply, error, failures)
        line = {
            "i": number,
            "marker": request.marker,
            "way": way,
            "due": round(due - self._start, 3),
            "late": round(sent - due, 4),
            "seconds": round(ended - due, 4),
            "first": None if reply.first_word is None else round(reply.first_word - due, 4),
            "outcome": outcome,
            "model": reply.record.get("model"),
            "failed": failures or _classes(reply.record.get("failed", {})),
            "cooling": reply.record.get("cooling_down", []),
            "error": None if error is None else type(error).__name__,
        }
        if outcome == "fault":
            line |= {"detail": _describe(reply, error), "is_mixed": is_mixed(request, reply)}
        is_answer = outcome in ("first", "next") and way != "adecide"
        if is_answer and request.gives_feedback:
            line["feedback"] = await asyncio.to_thread(self._rate, reply.record["id"])
        self._lines.write(json.dumps(line) + "\n")

    async def _call(
        self,
        method: Callable[[Request, Reply], Any],
        way: str,
        request: Request,
        reply: Reply,
    ) -> None:
        if not way.startswith("a"):
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._pool, method, request, reply)
            return
        call: Awaitable[None] = method(request, reply)
        if not request.leaves or "stream" in way:
            await call
            return
        try:
            await asyncio.wait_for(call, 0.03)
        except (TimeoutError, asyncio.TimeoutError):
            reply.has_left = True

    def _rate(self, decision_id: str) -> bool | str:
        """Rate an answer; return whether that was new, or the class of an error."""
        try:
            return self._client.feedback(decision_id, 1.0)
        except Exception as error:  # noqa: BLE001 - it is written down
            return f"{type(error).__name__}: {error}"

    async def _beat(self) -> None:
        """Write down every ten seconds how the models are, and how much is under way."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            health = await asyncio.to_thread(self._client.health)
            self._events.write(
                "beat",
                under_way=len(self._tasks),
                threads=threading.active_count(),
                health=health,
            )


def _full_pool() -> ThreadPoolExecutor:
    """Return a pool all of whose threads run: later ones would look like growth."""
    pool, all_run = (
        ThreadPoolExecutor(THREADS, thread_name_prefix="soak"),
        threading.Barrier(THREADS),
    )
    for one in [pool.submit(all_run.wait) for _ in range(THREADS)]:
        one.result()
    return pool


def _classes(failed: Mapping[str, str]) -> dict[str, str]:
    """Return the class of the error of each model; a record has "class: message"."""
    return {name: text.partition(":")[0] for name, text in failed.items()}


def _describe(reply: Reply, error: BaseException | None) -> str:
    text = f"{len(reply.text)} characters, ending in {reply.text[-80:]!r}; {reply.record}"
    if error is None:
        return text[:2000]
    return f"{text[:500]}\n{''.join(traceback.format_exception(error))[-3000:]}"


class Events(logging.Handler):
    """Writes records of `logging` and events of the load, each as a line with its time."""

    def __init__(self, file: IO[str], start: float) -> None:
        super().__init__(logging.INFO)
        self._file, self._start = file, start
        logger = logging.getLogger("tryage")
        logger.setLevel(logging.INFO)
        logger.addHandler(self)
        logging.getLogger().addHandler(_Warnings(self))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record of Tryage's own logger."""
        self.write("log", level=record.levelname, message=record.getMessage())

    def write(self, event: str, **values: object) -> None:
        """Write an event."""
        line = {"t": round(time.time() - self._start, 3), "event": event, **values}
        self._file.write(json.dumps(line) + "\n")


class _Warnings(logging.Handler):
    """Passes warnings of others on, such as asyncio's of errors that nobody has read."""

    def __init__(self, events: Events) -> None:
        super().__init__(logging.WARNING)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith("tryage"):
            message = f"{record.name}: {self.format(record)}"[-2000:]
            self._events.write("warning", level=record.levelname, message=message)


def main() -> None:
    """Run the load of one client."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("folder", type=Path, help="of the soak: the models of its provider answer")
    parser.add_argument("seconds", type=float)
    parser.add_argument("rate", type=float, help="requests a second")
    options = parser.parse_args()
    path, folder, seconds, rate = options.client, options.folder, options.seconds, options.rate
    client: Client = import_module(f"soak_{path}").SoakClient(folder)
    write_whole(folder / f"{path}.ready", "")
    load = Load(client, path, folder, wait_for_start(folder))
    asyncio.run(load.run(rate, seconds))


def failures_in(text: str) -> dict[str, str]:
    """Return the models and the classes of their errors in the words of an error."""
    return {name: kind for name, kind in _FAILURE.findall(text) if name in MODELS}


if __name__ == "__main__":
    main()
