"""The tools that one agent has, read once: vectors, words, and a library that rules apply to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.library import Library
from tryage.core.ranking import RejectedExpert
from tryage.core.validation import check_strings
from tryage.errors import InputError, NoExpertError
from tryage.tools.bm25 import BM25Index
from tryage.tools.tool import Tool

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import TypeAlias

    from tryage.core.arrays import Float32Array, UInt64Array
    from tryage.perception.encoder import Encoder

    _FilterResult: TypeAlias = "tuple[Toolbox, tuple[RejectedExpert, ...]]"

N_NEEDED_FEATURES = 4

_CLAUSE_END = re.compile(
    r"[.;?!]\s+|,\s*"
    r"|[\uff0c\u3001\u3002\uff1b\uff1f\uff01]"  # the same signs of Chinese and Japanese
    r"|\b(?:and then|and|then|also|additionally|finally|after that)\b",
    re.IGNORECASE,
)

_MIN_WORDS, _MIN_CHARS = 3, 6  # signs where a script sets no spaces between words

_MAX_CLAUSES = 16  # of an endless request the beginning is enough

DESCRIPTION_WEIGHT = 20.0  # queries that a description counts as

NEGATIVE_WEIGHT = 0.25  # what a query counts for which the tool was of no use


class Toolbox:
    """Tools with different names, as `ToolRanker.toolbox` reads them.

    `vectors` are unit rows `(n_tools, dim)`, `handicaps` `(n_tools,)` what is taken off the scores,
    and `words` the index of what they say; `library` holds the same tools in the same order, for
    constraints and requirements. `unsure` is `(1, n_tools)` of NaN: no score comes with a standard
    deviation.
    """

    def __init__(
        self,
        tools: tuple[Tool, ...],
        vectors: Float32Array,
        seen_penalties: Float32Array,
        library: Library,
    ) -> None:
        self.tools, self.vectors, self.seen_penalties, self.library = (
            tools,
            vectors,
            seen_penalties,
            library,
        )
        self.bm25_index = BM25Index(tools)
        self.nan_std: Float32Array = np.full((1, len(tools)), np.nan, np.float32)
        self._filter_cache: dict[frozenset[str], _FilterResult] = {}

    def __len__(self) -> int:
        """Count the tools."""
        return len(self.tools)

    def __repr__(self) -> str:
        """Show the size and the first names."""
        some = ", ".join(tool.name for tool in self.tools[:3])
        return f"Toolbox({len(self)} tools: {some}{', ...' if len(self) > 3 else ''})"

    def with_permissions(self, permissions: Iterable[str] | None) -> _FilterResult:
        """Leave out the tools that need another permission, and say who they are; None grants all.

        Raises:
            InputError: not a list of permissions.
            NoExpertError: none is left.
        """
        if permissions is None:
            return self, ()
        given = frozenset(check_strings("granted", permissions))
        if given not in self._filter_cache:
            self._filter_cache[given] = self._filter_by_permissions(given)
        return self._filter_cache[given]

    def _filter_by_permissions(self, permissions: frozenset[str]) -> _FilterResult:
        lacking = [sorted(tool.permissions - permissions) for tool in self.tools]
        refused = tuple(
            RejectedExpert(
                tool.name, (f"needs the permission {', '.join(lacks)}, which is not granted",)
            )
            for tool, lacks in zip(self.tools, lacking, strict=True)
            if lacks
        )
        if not refused:
            return self, ()
        if len(refused) == len(self):
            raise NoExpertError(
                f"Every one of the {len(self)} tools needs a permission that is not granted; "
                f"{refused[0].name} {refused[0].reasons[0]}. Granted: {sorted(permissions) or 'nothing'}."
            )
        kept = np.array([not lacks for lacks in lacking])
        tools = tuple(tool for tool, lacks in zip(self.tools, lacking, strict=True) if not lacks)
        # what a word tells is counted anew, among the tools that are left
        library = self.library.subset(kept)
        return Toolbox(tools, self.vectors[kept], self.seen_penalties[kept], library), refused


def build_toolbox(tools: Iterable[Tool], encoder: Encoder, matcher: ToolMatcher) -> Toolbox:
    """Embed tools once, `(n_tools, dim)`.

    Raises:
        InputError: not a list of tools.
        LibraryError: none, or two of one name, whatever its case.
    """
    read = check_tools(tools)
    titles = encoder.encode([tool.title for tool in read])
    whole = encoder.encode([f"{tool.title} {tool.arguments_text}" for tool in read])
    library = Library(tool.as_expert() for tool in read)
    return Toolbox(read, matcher.embed_tools(titles, whole), matcher.seen_penalties(read), library)


def check_tools(tools: Iterable[Tool]) -> tuple[Tool, ...]:
    """Return the tools as a tuple.

    Raises:
        InputError: not a list of tools.
    """
    if isinstance(tools, (str, bytes, Mapping)) or not isinstance(tools, Iterable):
        raise InputError(f"Tools are a list of Tool, got {tools!r:.80}.")
    read = tuple(tools)
    for tool in read:
        if not isinstance(tool, Tool):
            raise InputError(
                f"Tools are a list of Tool, got a {type(tool).__name__} in it; "
                "read a schema with Tool.from_schema(...)."
            )
    return read


@dataclass(frozen=True, slots=True)
class QueryScores:
    """Scores of the whole query `(n_tools,)` and of its clauses `(n_clauses, n_tools)`.

    `evidence` `(EVIDENCE,)` is what abstention goes by.
    """

    whole_query: Float32Array
    clauses: Float32Array
    needed_features: Float32Array


def score_query(
    query: str, toolbox: Toolbox, encoder: Encoder, matcher: ToolMatcher, feedback: Feedback
) -> QueryScores:
    """Compare a query with every tool, in one encoder pass."""
    texts = [query, *split_clauses(query)]
    placed = matcher.embed_queries(encoder.encode(texts))
    vectors = feedback.apply(toolbox.library, toolbox.vectors)
    cosines = np.ascontiguousarray((vectors @ placed.T).T)  # half the time of placed @ vectors.T
    words = toolbox.bm25_index.features(texts)
    scores = matcher.scores(cosines, words)
    whole = scores[0] - toolbox.seen_penalties
    return QueryScores(whole, scores[1:], needed_features(cosines[0], words[0], whole))


def tool_fingerprints(tools: Iterable[Tool]) -> UInt64Array:
    """Return by what tools are known again, `(n_tools,)`."""
    return np.array([tool.fingerprint for tool in tools], np.uint64)


@dataclass(frozen=True, slots=True)
class ToolMatcher:
    """What was learned of queries and tools.

    `query_map` and `tool_map` `(dim, dim)` bring embeddings into one space; `details` is the share
    of the arguments in a tool's vector. A score is `sharpness` x cosine + `words` `(3,)` x what the
    words say, of the whole query and, times `clauses`, of the clause that fits best.

    `useful` `(3,)` and `needed` `(EVIDENCE + 1,)` are logistic regressions, the intercept first:
    that a tool is of use, from its score and its lead over the best other; and that any is needed.

    The maps favour the tools that they were trained on, `seen` `(n_seen,)`, over those that came
    later: `handicap` is taken off a seen tool's score (calibrated stacking, Chao et al., 2016).
    """

    query_map: Float32Array
    tool_map: Float32Array
    argument_weight: float
    cosine_scale: float
    lexical_weights: Float32Array
    clause_weight: float
    usefulness_coef: Float32Array
    needed_coef: Float32Array
    seen_fingerprints: UInt64Array = field(default_factory=lambda: tool_fingerprints(()))
    seen_penalty: float = 0.0

    def embed_queries(self, embeddings: Float32Array) -> Float32Array:
        """Place queries, unit rows `(batch, dim)`."""
        return l2_normalize(np.asarray(embeddings @ self.query_map))

    def embed_tools(self, titles: Float32Array, full_texts: Float32Array) -> Float32Array:
        """Place tools by the embeddings of their titles and of all, unit rows `(n_tools, dim)`."""
        return l2_normalize(
            ((1 - self.argument_weight) * titles + self.argument_weight * full_texts)
            @ self.tool_map
        )

    def scores(self, cosines: Float32Array, lexical: Float32Array) -> Float32Array:
        """Bring cosines `(..., n_tools)` and words `(..., n_tools, 3)` together."""
        return np.asarray(self.cosine_scale * cosines + lexical @ self.lexical_weights, np.float32)

    def seen_penalties(self, tools: Iterable[Tool]) -> Float32Array:
        """Return what is taken off the score of each tool, `(n_tools,)`."""
        return np.asarray(
            np.isin(tool_fingerprints(tools), self.seen_fingerprints) * self.seen_penalty,
            np.float32,
        )

    def combine_clauses(self, whole: Float32Array, clauses: Float32Array) -> Float32Array:
        """Add the best clause `(n_clauses, n_tools)` to the whole query's scores `(n_tools,)`."""
        if not len(clauses):
            return whole
        return np.asarray(whole + self.clause_weight * np.maximum.reduce(clauses), np.float32)

    def interpolate(self, share: float) -> ToolMatcher:
        """Return it with maps that go only a share of the way from leaving everything in place.

        What they learned of known tools they trade for tools that nobody has seen: WiSE-FT
        (Wortsman et al., 2022).
        """
        one = np.eye(len(self.query_map), dtype=np.float32)
        query_map, tool_map = (
            np.asarray((1 - share) * one + share * trained, np.float32)
            for trained in (self.query_map, self.tool_map)
        )
        return replace(self, query_map=query_map, tool_map=tool_map)

    def usefulness_probabilities(self, scores: Float32Array) -> Float32Array:
        """Say how probable it is that each tool is of use, `(n_tools,)`."""
        intercept, score, lead = self.usefulness_coef
        return sigmoid(intercept + score * scores + lead * margins(scores))

    def needed_probability(self, features: Float32Array) -> float:
        """Say how probable it is that any tool is needed, from `evidence` `(EVIDENCE,)`."""
        return float(sigmoid(self.needed_coef[0] + self.needed_coef[1:] @ features))


def margins(scores: Float32Array) -> Float32Array:
    """Say how far each score is above the best of the others, `(n_tools,)`; alone it is 0."""
    if scores.size < 2:
        return np.zeros_like(scores)
    best = scores.argmax()
    ahead: Float32Array = scores - scores[best]
    ahead[best] = -np.inf
    ahead[best] = -np.maximum.reduce(ahead)
    return ahead


def needed_features(
    cosines: Float32Array, lexical: Float32Array, scores: Float32Array
) -> Float32Array:
    """Describe the tool that fits best, `(EVIDENCE,)`.

    How many tools there are is not looked at: that tells of the agent, not of the query.
    """
    best = int(scores.argmax())
    return np.array([cosines[best], *lexical[best]], np.float32)


def l2_normalize(rows: Float32Array) -> Float32Array:
    """Scale rows to length 1; a row of zeros stays one."""
    lengths = np.sqrt(np.add.reduce(rows * rows, 1, keepdims=True))
    return np.asarray(rows / np.maximum(lengths, 1e-9), np.float32)


def sigmoid(x: Float32Array) -> Float32Array:
    """Squeeze into (0, 1)."""
    return np.asarray(1 / (1 + np.exp(-np.maximum(x, -60))), np.float32)  # no overflow below


def split_clauses(query: str) -> list[str]:
    """Return the parts of a query that can stand alone; none if it asks for one thing."""
    parts = [part.strip() for part in _CLAUSE_END.split(query)]
    whole = [part for part in parts if _is_clause(part)][:_MAX_CLAUSES]
    return whole if len(whole) > 1 else []


def _is_clause(part: str) -> bool:
    spaced = len(part.split()) >= _MIN_WORDS
    return spaced or (not part.isascii() and len(part) >= _MIN_CHARS)


@dataclass(frozen=True, slots=True)
class Feedback:
    """Per tool, by name, the weighted sum `(dim,)` of its queries; never changed in place."""

    sums: Mapping[str, Float32Array] = field(default_factory=dict)

    def __len__(self) -> int:
        """Count the tools of which something was learned."""
        return len(self.sums)

    def with_query(
        self, query: Float32Array, useful: Collection[str], useless: Collection[str] = ()
    ) -> Feedback:
        """Take in one query, a unit vector `(dim,)`, and the tools that were of use or were not."""
        sums = dict(self.sums)
        for names, weight in ((useful, 1.0), (useless, -NEGATIVE_WEIGHT)):
            for name in names:
                sums[name] = np.asarray(sums.get(name, 0.0) + weight * query, np.float32)
        return Feedback(sums)

    def apply(self, library: Library, vectors: Float32Array) -> Float32Array:
        """Move the vectors `(n_tools, dim)` of the tools of which something was learned."""
        names = [name for name in self.sums if name in library]
        if not names:
            return vectors
        rows = [library.index(name) for name in names]
        moved: Float32Array = vectors.copy()
        moved[rows] = l2_normalize(
            DESCRIPTION_WEIGHT * vectors[rows] + np.stack([self.sums[n] for n in names])
        )
        return moved
