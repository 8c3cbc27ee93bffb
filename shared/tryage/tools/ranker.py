"""The ranker: which few of an agent's tools a query needs, and whether it needs any."""

from __future__ import annotations

import threading
from collections.abc import Sequence  # noqa: TC003 - pydantic, hence LlamaIndex, reads the hints
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.cache import Memory
from tryage.core.constraints import DEFAULT_CONSTRAINTS, Request
from tryage.core.decision import weigh
from tryage.core.explanation import rejection_lines
from tryage.core.objective import Prediction
from tryage.core.preferences import Preferences
from tryage.core.ranking import (
    Ranked,  # noqa: TC001 - as above
    Rejected,  # noqa: TC001 - as above
)
from tryage.core.request import check_preferences
from tryage.core.validation import strings
from tryage.errors import InputError, NoExpertError
from tryage.tools.matching import Feedback, Toolbox, checked, read_tools, see
from tryage.tools.persistence import Pretrained
from tryage.tools.tool import Tool  # noqa: TC001 - as above

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tryage.core.arrays import BoolArray, Float32Array
    from tryage.core.decision import Field
    from tryage.core.ranking import Ranking
    from tryage.perception.encoder import Encoder
    from tryage.tools.matching import Fit

_NOTHING = Preferences()

_REQUEST = Request(np.zeros(1))  # a call has one price, whatever the query

_TOOLBOXES = 32  # read ones that are kept: an agent asks with the same tools again and again


class ToolRanker(Pretrained):
    """Picks tools as a router picks experts: predicted usefulness plus constraints.

    A bi-encoder over queries and tools with the words that they share; new tools need no training.
    A tool's predicted loss is the probability that it is of no use. Safe to share between threads.
    """

    def __init__(self, encoder: Encoder, fit: Fit, feedback: Feedback | None = None) -> None:
        self.encoder, self.fit = encoder, fit
        self.feedback = feedback or Feedback()
        self._read: Memory[Toolbox] = Memory(_TOOLBOXES)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        """Name the encoder and how much was learned from use."""
        return f"ToolRanker({type(self.encoder).__name__}, feedback on {len(self.feedback)} tools)"

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep what was learned; tools are read again."""
        return type(self), (self.encoder, self.fit, self.feedback)

    def __deepcopy__(self, memo: dict[int, Any]) -> ToolRanker:
        """Share what is never changed in place: the encoder, the fit, the feedback so far."""
        return type(self)(self.encoder, self.fit, self.feedback)

    def toolbox(self, tools: Iterable[Tool]) -> Toolbox:
        """Read tools once; the same ones given again are found again.

        With thousands of tools keep what this returns and give it to `select`.

        Raises:
            InputError: not a list of tools.
            LibraryError: none, or two of one name.
        """
        key = checked(tools)
        box = self._read.get(key)
        if box is None:
            box = read_tools(key, self.encoder, self.fit)
            self._read.put(key, box)
        return box

    def select(  # noqa: PLR0913 - a query among tools, the rest has defaults
        self,
        tools: Toolbox | Iterable[Tool],
        query: str,
        k: int | None = 5,
        *,
        preferences: Preferences | None = None,
        granted: Collection[str] | None = None,
        abstain_below: float = 0.0,
    ) -> Selection:
        """Choose the `k` tools with the lowest total for a query.

        Args:
            tools: The agent's tools.
            query: What the user asks.
            k: At most so many; None takes the tools that are more likely of use than not, at
                least one.
            preferences: Weights (cost, latency, security: the opposite of risk) and requirements.
            granted: Permissions; a tool that needs another one is left out. None grants all.
            abstain_below: Choose no tool if the probability that any is needed is below this.

        Raises:
            InputError: a wrong type, or `k` below 1.
            NoExpertError: the requirements or permissions leave no tool.
        """
        _check(query)
        check_k(k)
        box = tools if isinstance(tools, Toolbox) else self.toolbox(tools)
        box, refused = box.granted(granted)
        sight = see(query, box, self.encoder, self.fit, self.feedback)
        usefulness = self.fit.usefulness(self.fit.joined(sight.whole, sight.parts))
        field = _weighed(box, usefulness, preferences)
        ranking, rejected = field.ranking(0), field.rejections(0)
        if not ranking:
            raise NoExpertError(_nobody(box, rejected))
        needed = self.fit.need(sight.evidence)
        best = (
            ranking.first(k).tolist()
            if k
            else _likely(ranking, field.eligible[0] & (usefulness > 0.5))
        )
        return Selection(
            query=query,
            tools=tuple(box.tools[i] for i in best) if needed >= abstain_below else (),
            needed=needed,
            ranking=ranking,
            rejected=(*refused, *rejected) if refused else rejected,
        )

    def observe(self, query: str, useful: Collection[str], useless: Collection[str] = ()) -> None:
        """Learn from use, in place: the names of tools that served a query, or were of no use.

        Raises:
            InputError: a wrong type.
        """
        _check(query)
        served, vain = strings("useful", useful), strings("useless", useless)
        place = self.fit.queries(self.encoder.encode([query]))[0]
        with self._lock:
            self.feedback = self.feedback.told(place, served, vain)


def _check(query: object) -> None:
    if not isinstance(query, str):
        raise InputError(f"A query is a string, got {type(query).__name__}.")


def check_k(k: object) -> None:
    """Refuse what says of no number of tools how many to choose.

    Raises:
        InputError: neither None nor a whole number above zero.
    """
    if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
        raise InputError(f"k is how many tools to choose, 1 or more, or None; got {k!r:.40}.")


def _weighed(box: Toolbox, usefulness: Float32Array, preferences: Preferences | None) -> Field:
    """Weigh the tools as experts are weighed, for a batch of one query."""
    wanted = _NOTHING
    if preferences is not None:
        wanted = check_preferences(preferences, DEFAULT_CONSTRAINTS)
    losses = (1 - usefulness)[None]
    prediction = Prediction(losses, box.unsure)
    return weigh(box.library, wanted, DEFAULT_CONSTRAINTS, prediction, lambda _: _REQUEST)


def _nobody(box: Toolbox, rejected: Sequence[Rejected]) -> str:
    """Say that no tool is left, and why."""
    told = f"None of the {len(box)} tools meets what is required."
    return "\n".join([told, *rejection_lines(rejected)])


def _likely(ranking: Ranking, likely: BoolArray) -> list[int]:
    """Return the positions of the tools that are more likely of use than not, at least one.

    Looking at the ranking no further than the last of them is what keeps thousands of tools fast.
    """
    order = (int(ranking.first(place)[-1]) for place in range(1, len(ranking) + 1))
    found = islice((i for i in order if likely[i]), int(likely.sum()))
    return list(found) or ranking.first(1).tolist()


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The tools for one query, best first; none if the ranker abstained.

    `needed` is the probability that any tool is needed. In `ranking` a tool's `predicted_loss` is
    the probability that it is of no use.
    """

    query: str
    tools: tuple[Tool, ...]
    needed: float
    ranking: Sequence[Ranked]
    rejected: Sequence[Rejected]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tools, best first."""
        return tuple(tool.name for tool in self.tools)

    @property
    def abstained(self) -> bool:
        """Whether no tool was chosen because none seemed to be needed."""
        return not self.tools

    def explain(self, top: int = 3) -> str:
        """Tell a person what was chosen and why, with the `top` best in full."""
        chosen = ", ".join(self.names) or "no tool"
        lines = [f"{chosen}: some tool is needed with probability {self.needed:.2f}."]
        for place, one in enumerate(self.ranking[:top], 1):
            terms = "".join(f" + {name} {term:.3f}" for name, term in one.terms.items())
            line = f"  {place}. {one.name}: of use {1 - one.predicted_loss:.2f}, total "
            lines.append(f"{line}{one.predicted_loss:.3f}{terms} = {one.total:.3f}")
        lines += [
            f"  left out: {one.name}, {'; '.join(one.reasons)}" for one in self.rejected[:top]
        ]
        if len(self.rejected) > top:
            lines.append(f"  left out: {len(self.rejected) - top:,} more")
        return "\n".join(lines)

    def to_dict(self, top: int | None = None) -> dict[str, Any]:
        """Return it JSON-safe for a log; `top` limits the ranking and the rejections."""
        return {
            "query": self.query,
            "tools": list(self.names),
            "needed": self.needed,
            "abstained": self.abstained,
            "ranking": [one.to_dict() for one in self.ranking[:top]],
            "rejected": [one.to_dict() for one in self.rejected[:top]],
        }
