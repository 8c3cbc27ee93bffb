"""Prompts, their measured losses, the protocol of a measurer, and the budget that it keeps."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

from tryage.core.validation import check_number
from tryage.errors import InputError, MeasurementError
from tryage.scoring.qtable_io import SHARD_NUMBER_COLUMNS

if TYPE_CHECKING:
    from tryage.core.expert import Expert


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to measure experts on, with what scorers compare an answer to.

    `references` are the acceptable answers, `choices` the options of a multiple-choice question.
    Without an `id`, a digest of the content is the id.

    Raises:
        InputError: a value has a wrong type, or a text is not Unicode (lone surrogates).
    """

    text: str
    references: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    category: str | None = None
    source: str | None = None
    id: str = ""

    def __post_init__(self) -> None:
        """Check every field, and set the id."""
        _check_text("The prompt", self.text)
        for name in ("references", "choices"):
            object.__setattr__(self, name, _check_texts(name, getattr(self, name)))
        for name in ("category", "source", "id"):
            if (value := getattr(self, name)) is not None:
                _check_text(f"The {name} of a prompt", value)
        if not self.id:
            content = repr((self.text, self.references, self.choices)).encode()
            object.__setattr__(self, "id", blake2b(content, digest_size=12).hexdigest())

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Prompt:
        """Read `prompt` and, if present, `reference`, `choices`, `category`, `source`, `prompt_id`.

        A reference is a text, a number, or a list of these.

        Raises:
            InputError: `prompt` is missing, or a value has a wrong type.
        """
        if "prompt" not in row:
            raise InputError(f'A prompt needs {{"prompt": "..."}}; got the keys {sorted(row)}.')
        value, prompt_id = row.get("reference"), row.get("prompt_id")
        references = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
        return cls(
            row["prompt"],
            tuple(_to_text(reference) for reference in references),
            tuple(row.get("choices") or ()),
            row.get("category"),
            row.get("source"),
            "" if prompt_id is None else _to_text(prompt_id),
        )


def unique_prompts(prompts: Iterable[Prompt | str | Mapping[str, Any]]) -> list[Prompt]:
    """Return each prompt once, in the order given.

    Raises:
        InputError: the prompts are a single string, there is no prompt, or two different prompts
            have the same id.
    """
    if isinstance(prompts, (str, bytes, Mapping)):
        raise InputError(f"The prompts are {prompts!r:.80}; give a list of them.")
    prompts_by_id: dict[str, Prompt] = {}
    for prompt in map(_to_prompt, prompts):
        if prompts_by_id.setdefault(prompt.id, prompt) != prompt:
            given = f"{prompt.id!r:.80}"
            raise InputError(f"Two different prompts have the id {given}; give each its own.")
    if not prompts_by_id:
        raise InputError("There is no prompt to measure on. Give at least one.")
    return list(prompts_by_id.values())


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one expert did on one prompt; None means unknown.

    `loss` is in nats per token, or 1 - `score`. `loss_per_char` (nats per character) and
    `bits_per_byte` compare experts with different tokenizers. `latency` is in seconds, `cost` and
    `scoring_cost` (of a judge) in USD, `readability` is the Flesch reading ease. With an `error`
    nothing was measured: the prompt stays a gap, and the next run tries again.

    Raises:
        InputError: a value is not a number, or not finite.
    """

    loss: float | None = None
    loss_per_char: float | None = None
    bits_per_byte: float | None = None
    score: float | None = None
    output_tokens: float | None = None
    latency: float | None = None
    cost: float | None = None
    scoring_cost: float | None = None
    readability: float | None = None
    output: str | None = None
    error: str | None = None

    def __post_init__(self) -> None:
        """Convert every number to a float, so that numbers of numpy are accepted, too."""
        for name in SHARD_NUMBER_COLUMNS:
            if (value := getattr(self, name)) is not None:
                number = check_number(f"A measured {name}", value, -math.inf)
                object.__setattr__(self, name, number)

    def to_row(self, prompt: Prompt, identity: MeasurerIdentity) -> dict[str, Any]:
        """Return the row of the Q-table, JSON-safe."""
        row: dict[str, Any] = {"prompt_id": prompt.id, "prompt": prompt.text}
        row |= {"category": prompt.category, "source": prompt.source}
        row |= {"expert": identity.expert.name, "method": identity.method}
        return row | {f.name: getattr(self, f.name) for f in fields(self) if f.name != "error"}


@dataclass(frozen=True, slots=True)
class MeasurerIdentity:
    """The expert that is measured, and the method.

    `method` says in words all that changes the numbers, such as "masked-LM loss, 15% of the words,
    1 round, seed 0": a Q-table never mixes two methods of one expert.
    """

    expert: Expert
    method: str


class Measurer(Protocol):
    """An expert that can be measured: two methods, whatever the model behind them."""

    def identify(self) -> MeasurerIdentity:
        """Return the expert and the method; cheap, nothing is loaded."""
        ...

    def measure(
        self, prompts: Sequence[Prompt], budget: Budget
    ) -> Iterator[tuple[int, Measurement]]:
        """Yield `(position in prompts, measurement)` as soon as each is known, in any order.

        A measurer that costs money calls `budget.allows` before each request and `budget.charge`
        after it.

        Raises:
            MeasurementError: this expert cannot be measured any further.
        """
        ...


class Budget:
    """A limit in USD that is checked before money is spent; None means no limit.

    The first request to an expert runs alone: it shows what requests cost. Then as many run at once
    as would fit if each cost as much as the most expensive one so far. So the limit is passed only
    by a request that is more expensive than all before it. Threads may share a budget.

    Raises:
        InputError: the limit is not a number, or negative.
    """

    def __init__(self, usd: float | None = None) -> None:
        self.limit = None if usd is None else check_number("The budget in USD", usd)
        self.spent = 0.0
        self.exhausted = False
        self._stop = threading.Event()
        self._max_price: dict[str, float] = {}
        self._lock = threading.Lock()

    def allows(self, expert: str, running: int = 0) -> bool:
        """Return whether one more request may start while `running` others of the expert run."""
        if self.stopped:
            return False
        if self.limit is None:
            return True
        with self._lock:
            price = self._max_price.get(expert)
            if price is None:
                fits = self.spent < self.limit
            else:
                fits = self.spent + (running + 1) * price <= self.limit
            self.exhausted = self.exhausted or not (fits or running)
        return fits and (price is not None or running == 0)

    def charge(self, expert: str, usd: float | None) -> None:
        """Record the cost of a request.

        Raises:
            MeasurementError: the cost is unknown, and there is a limit.
        """
        if usd is None:
            if self.limit is not None:
                raise MeasurementError(
                    f"The cost of an answer of {expert} is unknown, so no budget can be kept. Give "
                    "the expert its input_price and output_price (0 if it is free) and a model "
                    "that reports its tokens, or go without a budget."
                )
            return
        with self._lock:
            self.spent += usd
            self._max_price[expert] = max(usd, self._max_price.get(expert, 0.0))

    def max_price(self, expert: str) -> float | None:
        """Return the highest cost in USD of a request to an expert in this run; None before any."""
        return self._max_price.get(expert)

    def add_previous_cost(self, usd: float) -> None:
        """Add what earlier runs of the same table have cost."""
        self.spent += usd

    def stop(self) -> None:
        """Let no further request start; running ones may finish."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether no further request may start."""
        return self._stop.is_set()

    def sleep(self, seconds: float) -> bool:
        """Wait until the time is over or the run is stopped; return whether the run goes on."""
        return not self._stop.wait(seconds)


def _to_prompt(value: Prompt | str | Mapping[str, Any]) -> Prompt:
    if isinstance(value, Prompt):
        return value
    return Prompt.from_dict(value) if isinstance(value, Mapping) else Prompt(value)


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise InputError(f"{name} must be a string, got {type(value).__name__} {value!r:.80}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{name} is not Unicode text: {error}. Clean it first.") from error


def _check_texts(name: str, values: object) -> tuple[str, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"The {name} of a prompt must be a list of strings, got {values!r:.80}.")
    texts = tuple(values)
    for text in texts:
        _check_text(f"One of the {name} of a prompt", text)
    return texts


def _to_text(value: object) -> str:
    """Return a text, or a number as text."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InputError(f"Expected a text or a number, got {type(value).__name__} {value!r:.80}.")
    return str(value)
