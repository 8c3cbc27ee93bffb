"""ToolRanker: which few of an agent's tools a query needs, and whether it needs any."""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - pydantic, and so LlamaIndex, reads annotations
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.cache import LRUCache
from tryage.core.constraints import DEFAULT_CONSTRAINTS, RequestBatch
from tryage.core.decision import score_batch
from tryage.core.explanation import rejection_lines
from tryage.core.perception import Prediction
from tryage.core.preferences import Preferences
from tryage.core.ranking import (
    RankedExpert,  # noqa: TC001 - pydantic reads annotations
    RejectedExpert,  # noqa: TC001 - pydantic reads annotations
)
from tryage.core.request import check_preferences
from tryage.core.validation import check_number, check_strings
from tryage.errors import InputError, NoExpertError
from tryage.locks import ForkSafeLock
from tryage.perception.pretrained import resolve_folder
from tryage.tools.matching import Feedback, Toolbox, build_toolbox, score_query
from tryage.tools.persistence import BUNDLED_FOLDER, load_ranker_parts, save_ranker
from tryage.tools.tool import Tool, check_tools

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from typing_extensions import Self

    from tryage.core.arrays import BoolArray, Float32Array
    from tryage.core.decision import ScoredBatch
    from tryage.core.ranking import Ranking
    from tryage.perception.encoder import Encoder
    from tryage.tools.matching import ToolMatcher

_TOOLBOX_CACHE_SIZE = 32  # an agent asks many times with the same tools

# A set of tools contains those above it: to miss a useful tool costs an agent twice as much as to
# show a useless one.
MIN_USEFULNESS = 1 / 3

_NO_PREFERENCES = Preferences()

_REQUEST = RequestBatch(np.zeros(1))  # no query has a length, because a call has one price


class ToolRanker:
    """Picks tools as a router picks experts: predicted usefulness plus constraints.

    The prediction comes from a bi-encoder over queries and tools and from the words that they
    share, so new tools need no training. A tool's predicted loss is the probability that it is of
    no use. Threads may share a ranker.
    """

    def __init__(
        self, encoder: Encoder, matcher: ToolMatcher, feedback: Feedback | None = None
    ) -> None:
        self.encoder, self.matcher = encoder, matcher
        self.feedback = feedback or Feedback()
        self._toolboxes: LRUCache[Toolbox] = LRUCache(_TOOLBOX_CACHE_SIZE)
        self._lock = ForkSafeLock()

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path | None = None,
        **hub: Any,  # noqa: ANN401 - what snapshot_download takes
    ) -> Self:
        """Read a ranker: the bundled one, a folder, or a Hub repository by its id.

        Raises:
            InputError: an unknown option.
            PersistenceError: nothing is there, it is damaged, or from a newer version.
        """
        if name_or_path is None:
            if hub:  # the bundled ranker uses none, and the Hub's library takes time to import
                from tryage.hub.repository import check_download_options

                check_download_options(hub)
            return cls(**load_ranker_parts(BUNDLED_FOLDER, BUNDLED_FOLDER / "encoder"))
        folder = resolve_folder(name_or_path, hub, "ToolRanker.save_pretrained", "name/ranker")
        return cls(**load_ranker_parts(folder, folder / "encoder"))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the ranker to a folder: safetensors and JSON, never pickle, and a model card."""
        save_ranker(Path(folder), **self._parts())

    def push_to_hub(self, repo_id: str, **hub: Any) -> str:  # noqa: ANN401 - what upload_folder takes
        """Save the ranker to a repository of the Hub and return the commit's address.

        Raises:
            PersistenceError: the Hub refuses or does not answer.
        """
        from tryage.hub.repository import push_folder

        options = {"commit_message": "Add a tool ranker", **hub}
        return push_folder(lambda folder: save_ranker(folder, **self._parts()), repo_id, **options)

    def _parts(self) -> dict[str, Any]:
        return {"encoder": self.encoder, "matcher": self.matcher, "feedback": self.feedback}

    def toolbox(self, tools: Iterable[Tool]) -> Toolbox:
        """Embed and index tools; the same tools given again return the same toolbox.

        With thousands of tools, keep the result and pass it to `select`.

        Raises:
            InputError: not a list of tools.
            LibraryError: no tool.
        """
        key = check_tools(tools)
        toolbox = self._toolboxes.get(key)
        if toolbox is None:
            toolbox = build_toolbox(key, self.encoder, self.matcher)
            self._toolboxes.put(key, toolbox)
        return toolbox

    def select(  # noqa: PLR0913 - a query among tools; the rest has defaults
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
            tools: The agent's tools; several may have one name.
            query: What the user asks.
            k: The largest number of tools; None chooses those that are of use with a probability of
                at least a third, and at least one: to miss a tool costs more than to show one.
            preferences: Weights (cost, latency, security: the opposite of risk) and requirements.
            granted: Permissions; a tool that needs another one is left out. None grants all.
            abstain_below: Choose no tool if the probability that any is needed is below this.

        Raises:
            InputError: a wrong type, `k` below 1, or `abstain_below` below 0.
            LibraryError: no tool.
            NoExpertError: the requirements or permissions leave no tool.
        """
        _check_query(query)
        check_k(k)
        check_number("abstain_below", abstain_below)
        toolbox = tools if isinstance(tools, Toolbox) else self.toolbox(tools)
        toolbox, permission_rejections = toolbox.with_permissions(granted)
        usefulness, needed = self._predict(toolbox, query)
        scored_batch = _score_tools(toolbox, usefulness, preferences)
        eligibility = scored_batch.eligibility
        ranking, rejections = scored_batch.ranking(0), eligibility.rejections(0)
        if not ranking:
            raise NoExpertError(_no_tool_message(toolbox, rejections))
        if needed < abstain_below:
            chosen_rows = []
        elif k is not None:
            chosen_rows = ranking.top(k).tolist()
        else:
            is_probable = eligibility.eligible[0] & (usefulness > MIN_USEFULNESS)
            chosen_rows = _probable_tools(ranking, is_probable)
        return Selection(
            query=query,
            tools=tuple(toolbox.tools[row] for row in chosen_rows),
            names=tuple(toolbox.library.names[row] for row in chosen_rows),
            positions=tuple(toolbox.positions[row] for row in chosen_rows),
            needed=needed,
            ranking=ranking,
            rejected=(*permission_rejections, *rejections) if permission_rejections else rejections,
        )

    def _predict(self, toolbox: Toolbox, query: str) -> tuple[Float32Array, float]:
        """Return how probable it is that each tool is of use, `(n_tools,)`, and any is needed."""
        scores = score_query(query, toolbox, self.encoder, self.matcher, self.feedback)
        usefulness = self.matcher.usefulness_probabilities(scores)
        return usefulness, self.matcher.needed_probability(scores)

    def observe(self, query: str, useful: Collection[str], useless: Collection[str] = ()) -> None:
        """Learn from use, in place: the names of tools that served a query, or were of no use.

        A name that several tools have stands for all of them; one of `Selection.names` for one.

        Raises:
            InputError: a wrong type.
        """
        _check_query(query)
        useful, useless = check_strings("useful", useful), check_strings("useless", useless)
        embedding = self.matcher.embed_queries(self.encoder.encode([query]))[0]
        with self._lock:
            self.feedback = self.feedback.with_query(embedding, useful, useless)

    def __repr__(self) -> str:
        """Name the encoder and the number of tools with feedback."""
        return f"ToolRanker({type(self.encoder).__name__}, feedback on {len(self.feedback)} tools)"

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep what was learned; toolboxes are built again."""
        return type(self), (self.encoder, self.matcher, self.feedback)

    def __deepcopy__(self, memo: dict[int, Any]) -> ToolRanker:
        """Share what is never changed in place: the encoder, the matcher, the feedback so far."""
        return type(self)(self.encoder, self.matcher, self.feedback)


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The tools for one query, best first; none if the ranker abstained.

    `names` are the names of the tools, as `unique_names` makes them where several have one, and
    `positions` their places in the list that was given. `needed` is the probability that any tool
    is needed. In `ranking` a tool's `predicted_loss` is the probability that it is of no use.
    """

    query: str
    tools: tuple[Tool, ...]
    names: tuple[str, ...]
    positions: tuple[int, ...]
    needed: float
    ranking: Sequence[RankedExpert]
    rejected: Sequence[RejectedExpert]

    @property
    def abstained(self) -> bool:
        """Whether no tool was chosen because no tool seemed to be needed."""
        return not self.tools

    def explain(self, top: int = 3) -> str:
        """Say in words what was chosen and why, with the `top` best in full."""
        chosen_names = ", ".join(self.names) or "no tool"
        lines = [f"{chosen_names}: some tool is needed with probability {self.needed:.2f}."]
        lines += [
            f"  {rank}. {_tool_line(tool)}" for rank, tool in enumerate(self.ranking[:top], 1)
        ]
        lines += [
            f"  left out: {rejection.name}, {'; '.join(rejection.reasons)}"
            for rejection in self.rejected[:top]
        ]
        if len(self.rejected) > top:
            lines.append(f"  left out: {len(self.rejected) - top:,} more")
        return "\n".join(lines)

    def to_dict(self, top: int | None = None) -> dict[str, Any]:
        """Return a JSON-safe record for a log; `top` limits the ranking and the rejections."""
        return {
            "query": self.query,
            "tools": list(self.names),
            "needed": self.needed,
            "abstained": self.abstained,
            "ranking": [tool.to_dict() for tool in self.ranking[:top]],
            "rejected": [rejection.to_dict() for rejection in self.rejected[:top]],
        }


def _tool_line(tool: RankedExpert) -> str:
    terms = "".join(f" + {name} {term:.3f}" for name, term in tool.terms.items())
    total = f"{tool.predicted_loss:.3f}{terms} = {tool.total:.3f}"
    return f"{tool.name}: of use {1 - tool.predicted_loss:.2f}, total {total}"


def check_k(k: object, meaning: str = "tools to choose") -> None:
    """Check the largest number of tools to choose, or of what `meaning` says.

    Raises:
        InputError: neither None nor a whole number above zero.
    """
    if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
        raise InputError(f"k is how many {meaning}, 1 or more, or None; got {k!r:.40}.")


def _check_query(query: object) -> None:
    if not isinstance(query, str):
        raise InputError(f"A query is a string, got {type(query).__name__}.")


def _score_tools(
    toolbox: Toolbox, usefulness: Float32Array, preferences: Preferences | None
) -> ScoredBatch:
    """Score tools as experts are scored, for a batch of one query."""
    if preferences is None:
        preferences = _NO_PREFERENCES
    else:
        preferences = check_preferences(preferences, DEFAULT_CONSTRAINTS)
    prediction = Prediction((1 - usefulness)[None], toolbox.nan_std)
    return score_batch(toolbox.library, preferences, DEFAULT_CONSTRAINTS, prediction, _REQUEST)


def _no_tool_message(toolbox: Toolbox, rejections: Sequence[RejectedExpert]) -> str:
    headline = f"None of the {len(toolbox)} tools meets the requirements."
    return "\n".join([headline, *rejection_lines(rejections)])


def _probable_tools(ranking: Ranking, is_probable: BoolArray) -> list[int]:
    """Return the positions of the tools that are probably of use, at least one.

    The ranking is sorted no further than the last of them: with thousands of tools that is fast.
    """
    order = (int(ranking.top(length)[-1]) for length in range(1, len(ranking) + 1))
    positions = islice((i for i in order if is_probable[i]), int(is_probable.sum()))
    return list(positions) or ranking.top(1).tolist()
