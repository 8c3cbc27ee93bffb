"""The ranker: which few of an agent's tools a query needs, and whether it needs any."""

from __future__ import annotations

import threading
from collections.abc import Sequence  # noqa: TC003 - pydantic, hence LlamaIndex, reads the hints
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.cache import LRUCache
from tryage.core.constraints import DEFAULT_CONSTRAINTS, RequestBatch
from tryage.core.decision import score_batch
from tryage.core.explanation import rejection_lines
from tryage.core.perception import Prediction
from tryage.core.preferences import Preferences
from tryage.core.ranking import (
    RankedExpert,  # noqa: TC001 - as above
    RejectedExpert,  # noqa: TC001 - as above
)
from tryage.core.request import check_preferences
from tryage.core.validation import check_strings
from tryage.errors import InputError, NoExpertError
from tryage.tools.matching import Feedback, Toolbox, build_toolbox, check_tools, score_query
from tryage.tools.persistence import Pretrained
from tryage.tools.tool import Tool  # noqa: TC001 - as above

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tryage.core.arrays import BoolArray, Float32Array
    from tryage.core.decision import ScoredBatch
    from tryage.core.ranking import Ranking
    from tryage.perception.encoder import Encoder
    from tryage.tools.matching import ToolMatcher

_NO_PREFERENCES = Preferences()

_REQUEST = RequestBatch(np.zeros(1))  # a call has one price, whatever the query

_CACHE_SIZE = 32  # read ones that are kept: an agent asks with the same tools again and again


class ToolRanker(Pretrained):
    """Picks tools as a router picks experts: predicted usefulness plus constraints.

    A bi-encoder over queries and tools with the words that they share; new tools need no training.
    A tool's predicted loss is the probability that it is of no use. Safe to share between threads.
    """

    def __init__(
        self, encoder: Encoder, matcher: ToolMatcher, feedback: Feedback | None = None
    ) -> None:
        self.encoder, self.matcher = encoder, matcher
        self.feedback = feedback or Feedback()
        self._toolboxes: LRUCache[Toolbox] = LRUCache(_CACHE_SIZE)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        """Name the encoder and how much was learned from use."""
        return f"ToolRanker({type(self.encoder).__name__}, feedback on {len(self.feedback)} tools)"

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep what was learned; tools are read again."""
        return type(self), (self.encoder, self.matcher, self.feedback)

    def __deepcopy__(self, memo: dict[int, Any]) -> ToolRanker:
        """Share what is never changed in place: the encoder, the fit, the feedback so far."""
        return type(self)(self.encoder, self.matcher, self.feedback)

    def toolbox(self, tools: Iterable[Tool]) -> Toolbox:
        """Read tools once; the same ones given again are found again.

        With thousands of tools keep what this returns and give it to `select`.

        Raises:
            InputError: not a list of tools.
            LibraryError: none, or two of one name.
        """
        key = check_tools(tools)
        toolbox = self._toolboxes.get(key)
        if toolbox is None:
            toolbox = build_toolbox(key, self.encoder, self.matcher)
            self._toolboxes.put(key, toolbox)
        return toolbox

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
        _check_query(query)
        check_k(k)
        toolbox = tools if isinstance(tools, Toolbox) else self.toolbox(tools)
        toolbox, refused = toolbox.with_permissions(granted)
        scores = score_query(query, toolbox, self.encoder, self.matcher, self.feedback)
        usefulness = self.matcher.usefulness_probabilities(
            self.matcher.combine_clauses(scores.whole_query, scores.clauses)
        )
        field = _score_tools(toolbox, usefulness, preferences)
        ranking, rejected = field.ranking(0), field.rejections(0)
        if not ranking:
            raise NoExpertError(_no_tool_message(toolbox, rejected))
        needed = self.matcher.needed_probability(scores.needed_features)
        best = (
            ranking.top(k).tolist()
            if k
            else _probable_tools(ranking, field.eligible[0] & (usefulness > 0.5))
        )
        return Selection(
            query=query,
            tools=tuple(toolbox.tools[i] for i in best) if needed >= abstain_below else (),
            needed=needed,
            ranking=ranking,
            rejected=(*refused, *rejected) if refused else rejected,
        )

    def observe(self, query: str, useful: Collection[str], useless: Collection[str] = ()) -> None:
        """Learn from use, in place: the names of tools that served a query, or were of no use.

        Raises:
            InputError: a wrong type.
        """
        _check_query(query)
        served, vain = check_strings("useful", useful), check_strings("useless", useless)
        embedding = self.matcher.embed_queries(self.encoder.encode([query]))[0]
        with self._lock:
            self.feedback = self.feedback.with_query(embedding, served, vain)


def _check_query(query: object) -> None:
    if not isinstance(query, str):
        raise InputError(f"A query is a string, got {type(query).__name__}.")


def check_k(k: object) -> None:
    """Refuse what says of no number of tools how many to choose.

    Raises:
        InputError: neither None nor a whole number above zero.
    """
    if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
        raise InputError(f"k is how many tools to choose, 1 or more, or None; got {k!r:.40}.")


def _score_tools(
    toolbox: Toolbox, usefulness: Float32Array, preferences: Preferences | None
) -> ScoredBatch:
    """Weigh the tools as experts are weighed, for a batch of one query."""
    wanted = _NO_PREFERENCES
    if preferences is not None:
        wanted = check_preferences(preferences, DEFAULT_CONSTRAINTS)
    losses = (1 - usefulness)[None]
    prediction = Prediction(losses, toolbox.nan_std)
    return score_batch(toolbox.library, wanted, DEFAULT_CONSTRAINTS, prediction, _REQUEST)


def _no_tool_message(toolbox: Toolbox, rejected: Sequence[RejectedExpert]) -> str:
    """Say that no tool is left, and why."""
    told = f"None of the {len(toolbox)} tools meets what is required."
    return "\n".join([told, *rejection_lines(rejected)])


def _probable_tools(ranking: Ranking, is_probable: BoolArray) -> list[int]:
    """Return the positions of the tools that are more likely of use than not, at least one.

    Looking at the ranking no further than the last of them is what keeps thousands of tools fast.
    """
    order = (int(ranking.top(place)[-1]) for place in range(1, len(ranking) + 1))
    found = islice((i for i in order if is_probable[i]), int(is_probable.sum()))
    return list(found) or ranking.top(1).tolist()


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The tools for one query, best first; none if the ranker abstained.

    `needed` is the probability that any tool is needed. In `ranking` a tool's `predicted_loss` is
    the probability that it is of no use.
    """

    query: str
    tools: tuple[Tool, ...]
    needed: float
    ranking: Sequence[RankedExpert]
    rejected: Sequence[RejectedExpert]

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
