"""Scores of a query and each tool: a bi-encoder, shared words, clauses of the query, feedback."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.cache import LRUCache, get_or_compute
from tryage.core.library import Library
from tryage.core.ranking import RejectedExpert
from tryage.core.validation import check_strings
from tryage.errors import LibraryError, NoExpertError
from tryage.perception.tokenizer import excerpt
from tryage.tools.bm25 import BM25Index
from tryage.tools.tool import check_tools, unique_names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from tryage.core.arrays import BoolArray, Float32Array, UInt64Array
    from tryage.perception.encoder import Encoder
    from tryage.tools.tool import Tool

    _FilterResult: TypeAlias = "tuple[Toolbox, tuple[RejectedExpert, ...]]"

N_NEEDED_FEATURES = 4

N_USEFULNESS_FEATURES = 4

_MIN_STD = 1e-3  # of cosines

# A clause has three words. Scripts without spaces between words need six characters instead.
_MIN_CLAUSE_WORDS, _MIN_CLAUSE_CHARS = 3, 6

_MAX_CLAUSES = 16  # of a very long query the beginning is enough

_CLAUSE_END = re.compile(
    r"[.;?!]\s+|,\s*"
    r"|[\uff0c\u3001\u3002\uff1b\uff1f\uff01]"  # the same marks in Chinese and Japanese
    r"|\b(?:and then|and|then|also|additionally|finally|after that)\b",
    re.IGNORECASE,
)

_DESCRIPTION_WEIGHT = 20.0  # a description counts as much as 20 queries that the tool served

INT8_SCALE = 127.0

_NEGATIVE_WEIGHT = 0.25  # the weight of a query for which the tool was of no use

_FILTER_CACHE_SIZE = 32  # sets of permissions: every user may have another one


class Toolbox:
    """Tools, embedded and indexed once by `ToolRanker.toolbox`.

    `vectors` are unit rows `(n_tools, dim)`, `seen_penalties` `(n_tools,)` are subtracted from the
    scores, `lexical_weights` `(N_LEXICAL_FEATURES,)` weigh the shared words, and `bm25_index` holds
    these. `library` holds the same tools in the same order, for
    constraints and requirements, under names that no two share (`unique_names`). `positions` are
    those of the tools in the list that was given. `nan_std` `(1, n_tools)` says that no score has a
    standard deviation.
    """

    def __init__(
        self,
        tools: tuple[Tool, ...],
        library: Library,
        vectors: Float32Array,
        matcher: ToolMatcher,
        positions: Sequence[int] | None = None,
    ) -> None:
        self.tools, self.library, self.vectors = tools, library, vectors
        self.positions = range(len(tools)) if positions is None else positions
        is_seen = matcher.is_seen(tools)
        self.seen_penalties = matcher.seen_penalties(is_seen)
        self.lexical_weights = matcher.lexical_weights_among(is_seen)
        self.bm25_index = BM25Index(tools)
        self.nan_std: Float32Array = np.full((1, len(tools)), np.nan, np.float32)
        self._matcher = matcher
        self._filtered: LRUCache[_FilterResult] = LRUCache(_FILTER_CACHE_SIZE)

    def __len__(self) -> int:
        """Count the tools."""
        return len(self.tools)

    def __repr__(self) -> str:
        """Show the size and the first names."""
        first_names = ", ".join(tool.name for tool in self.tools[:3])
        return f"Toolbox({len(self)} tools: {first_names}{', ...' if len(self) > 3 else ''})"

    @property
    def rows_by_name(self) -> Mapping[str, Sequence[int]]:
        """The rows of the tools that have a name, in lower case: their own, or the unique one."""
        return get_or_compute(self, "rows_by_name", self._group_rows_by_name)

    def _group_rows_by_name(self) -> Mapping[str, Sequence[int]]:
        rows: dict[str, list[int]] = defaultdict(list)
        for row, (tool, unique_name) in enumerate(zip(self.tools, self.library.names, strict=True)):
            for name in {tool.name.casefold(), unique_name.casefold()}:
                rows[name].append(row)
        return rows

    @property
    def background_scores(self) -> tuple[float, float] | None:
        """Mean and standard deviation of the best cosine that a query about anything reaches here.

        None if a tool takes arguments, or if the matcher knows no such queries. Tools with
        arguments are specific, and a query that needs one is close to it; topics, as of query
        engines, are broad, and how close a query is depends on the topics.
        """
        return get_or_compute(self, "background_scores", self._score_background)

    def _score_background(self) -> tuple[float, float] | None:
        background = self._matcher.background_vectors()
        if background is None or any(tool.arguments for tool in self.tools):
            return None
        best_cosines = (background @ self.vectors.T).max(axis=1)
        return float(best_cosines.mean()), float(best_cosines.std())

    def with_permissions(self, permissions: Iterable[str] | None) -> _FilterResult:
        """Return the tools that need no other permission, and the rejected ones; None grants all.

        Raises:
            InputError: not a list of permissions.
            NoExpertError: no tool is left.
        """
        if permissions is None:
            return self, ()
        granted = frozenset(check_strings("granted", permissions))
        found = self._filtered.get(granted)
        if found is None:
            found = self._filter_by_permissions(granted)
            self._filtered.put(granted, found)
        return found

    def _filter_by_permissions(self, granted: frozenset[str]) -> _FilterResult:
        is_allowed = np.array([tool.permissions <= granted for tool in self.tools])
        if is_allowed.all():
            return self, ()
        rejected = tuple(
            _reject(name, tool, granted)
            for name, tool in zip(self.library.names, self.tools, strict=True)
            if tool.permissions - granted
        )
        if not is_allowed.any():
            raise NoExpertError(
                f"Every one of the {len(self)} tools needs a permission that is not granted; "
                f"{rejected[0].name} {rejected[0].reasons[0]}. "
                f"Granted: {sorted(granted) or 'nothing'}."
            )
        rows = np.flatnonzero(is_allowed).tolist()
        # A new toolbox, because the rarity of a word is counted among the tools that are left.
        toolbox = Toolbox(
            tuple(self.tools[row] for row in rows),
            self.library.subset(is_allowed),
            self.vectors[rows],
            self._matcher,
            [self.positions[row] for row in rows],
        )
        return toolbox, rejected


def _reject(name: str, tool: Tool, granted: frozenset[str]) -> RejectedExpert:
    missing = ", ".join(sorted(tool.permissions - granted))
    return RejectedExpert(name, (f"needs the permission {missing}, which is not granted",))


def build_toolbox(tools: Iterable[Tool], encoder: Encoder, matcher: ToolMatcher) -> Toolbox:
    """Embed and index tools.

    Raises:
        InputError: not a list of tools.
        LibraryError: no tool.
    """
    checked_tools = check_tools(tools)
    if not checked_tools:
        raise LibraryError("The list of tools is empty; give at least one tool.")
    titles = encoder.encode([tool.title for tool in checked_tools])
    full_texts = encoder.encode([tool.full_text for tool in checked_tools])
    names = unique_names(checked_tools)
    library = Library(tool.as_expert(name) for tool, name in zip(checked_tools, names, strict=True))
    return Toolbox(checked_tools, library, matcher.embed_tools(titles, full_texts), matcher)


@dataclass(frozen=True, slots=True)
class QueryScores:
    """Scores of the whole query `(n_tools,)` and of its clauses `(n_clauses, n_tools)`.

    `needed_features` `(N_NEEDED_FEATURES,)` predict whether any tool is needed. `topic_score` does
    so for topics: how many standard deviations the best cosine is above that of a query about
    anything; None for tools that take arguments.
    """

    whole_query: Float32Array
    clauses: Float32Array
    needed_features: Float32Array
    topic_score: float | None = None


def score_query(
    query: str, toolbox: Toolbox, encoder: Encoder, matcher: ToolMatcher, feedback: Feedback
) -> QueryScores:
    """Score a query and its clauses with every tool, in one encoder pass.

    Of a long query its two ends are read.
    """
    query = excerpt(query)
    texts = [query, *split_clauses(query)]
    queries = matcher.embed_queries(encoder.encode(texts))
    vectors = feedback.apply(toolbox.rows_by_name, toolbox.vectors)
    cosines = np.ascontiguousarray((vectors @ queries.T).T)  # half the time of queries @ vectors.T
    lexical = toolbox.bm25_index.features(texts)
    scores = matcher.scores(cosines, lexical, toolbox.lexical_weights)
    whole_query = scores[0] - toolbox.seen_penalties
    return QueryScores(
        whole_query,
        scores[1:],
        needed_features(cosines[0], lexical[0], whole_query),
        topic_score(cosines[0], toolbox),
    )


def split_clauses(query: str) -> list[str]:
    """Return the parts of a query that each ask for something; [] if it asks for one thing."""
    parts = [part.strip() for part in _CLAUSE_END.split(query)]
    clauses = [part for part in parts if _is_clause(part)][:_MAX_CLAUSES]
    return clauses if len(clauses) > 1 else []


def _is_clause(part: str) -> bool:
    has_words = len(part.split()) >= _MIN_CLAUSE_WORDS
    return has_words or (not part.isascii() and len(part) >= _MIN_CLAUSE_CHARS)


def needed_features(
    cosines: Float32Array, lexical: Float32Array, scores: Float32Array
) -> Float32Array:
    """Return the cosine and the words of the tool with the best score, `(N_NEEDED_FEATURES,)`.

    The number of tools is left out: it depends on the agent, not on the query.
    """
    best = int(scores.argmax())
    return np.array([cosines[best], *lexical[best]], np.float32)


def topic_score(cosines: Float32Array, toolbox: Toolbox) -> float | None:
    """Return how far the best cosine is above that of queries about anything, in their std."""
    if toolbox.background_scores is None:
        return None
    mean, std = toolbox.background_scores
    return (float(cosines.max()) - mean) / max(std, _MIN_STD)


def usefulness_features(scores: Float32Array, clauses: Float32Array) -> Float32Array:
    """Return what tells whether a tool is of use, `(n_tools, N_USEFULNESS_FEATURES)`.

    The features are its score, its margin over the best other tool, whether it is the best tool of
    a clause, and the logarithm of 1 + the number of clauses, of which each may need its own tool.
    """
    features = np.zeros((len(scores), N_USEFULNESS_FEATURES), np.float32)
    features[:, 0], features[:, 1] = scores, margins(scores)
    if len(clauses):
        features[clauses.argmax(axis=1), 2] = 1.0
        features[:, 3] = np.log1p(len(clauses))
    return features


def tool_fingerprints(tools: Iterable[Tool]) -> UInt64Array:
    """Return the numbers that identify tools, `(n_tools,)`."""
    return np.array([tool.fingerprint for tool in tools], np.uint64)


@dataclass(frozen=True, slots=True)
class ToolMatcher:
    """What training has learned about queries and tools: a bi-encoder, shared words, two sigmoids.

    `query_map` and `tool_map` `(dim, dim)` map embeddings into one space. `argument_weight` is the
    share of the arguments in a tool's vector. A score is `cosine_scale` x cosine +
    `lexical_weights` `(N_LEXICAL_FEATURES,)` x the features of the shared words. To the score of
    the whole query, `clause_weight` x the score of the best clause is added.

    `usefulness_coef` and `needed_coef` are logistic regressions, the intercept first: whether a
    tool is of use, from the first of its `usefulness_features`; and whether any tool is needed,
    from `needed_features`. For tools that take no arguments, `topic_coef` `(2,)` is the regression
    of the latter on `topic_score`, if there are `background` queries: the embeddings of queries
    about anything, times 127, `(n_queries, dim)`.

    The maps favor the tools that they were trained on, `seen_fingerprints` `(n_seen,)`, over later
    ones. So `seen_penalty` is subtracted from the score of a seen tool (calibrated stacking, Chao
    et al., 2016). Among unseen tools the shared words have `unseen_lexical_weights`, None if these
    are the same: of a tool that the maps do not know, words tell more.
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
    unseen_lexical_weights: Float32Array | None = None
    background: NDArray[np.int8] | None = None
    topic_coef: Float32Array | None = None

    def embed_queries(self, embeddings: Float32Array) -> Float32Array:
        """Return queries in the common space, unit rows `(batch, dim)`."""
        return _l2_normalize(np.asarray(embeddings @ self.query_map))

    def embed_tools(self, titles: Float32Array, full_texts: Float32Array) -> Float32Array:
        """Return tools in the common space, unit rows `(n_tools, dim)`.

        `titles` and `full_texts` are embeddings of the text without and with the arguments.
        """
        weight = self.argument_weight
        return _l2_normalize(((1 - weight) * titles + weight * full_texts) @ self.tool_map)

    def background_vectors(self) -> Float32Array | None:
        """Return the queries about anything in the common space, unit rows `(n_queries, dim)`."""
        if self.background is None:
            return None
        return self.embed_queries(np.asarray(self.background / INT8_SCALE, np.float32))

    def scores(
        self, cosines: Float32Array, lexical: Float32Array, lexical_weights: Float32Array
    ) -> Float32Array:
        """Return scores `(..., n_tools)` of cosines and lexical features `(..., n_tools, 3)`."""
        return np.asarray(self.cosine_scale * cosines + lexical @ lexical_weights, np.float32)

    def is_seen(self, tools: Iterable[Tool]) -> BoolArray:
        """Return which tools the maps were trained on, `(n_tools,)`."""
        # By sorting: numpy 2.0.0 overflows where it makes a table of numbers as wide as these.
        return np.isin(tool_fingerprints(tools), self.seen_fingerprints, kind="sort")

    def seen_penalties(self, is_seen: BoolArray) -> Float32Array:
        """Return what is subtracted from the score of each tool, `(n_tools,)`."""
        return np.asarray(is_seen * self.seen_penalty, np.float32)

    def lexical_weights_among(self, is_seen: BoolArray) -> Float32Array:
        """Return the weights of the shared words `(3,)` among tools of which some were seen.

        They are the same for all tools of a list, so that the scores can be compared.
        """
        if self.unseen_lexical_weights is None or not len(is_seen):
            return self.lexical_weights
        share = float(is_seen.mean())
        weights = share * self.lexical_weights + (1 - share) * self.unseen_lexical_weights
        return np.asarray(weights, np.float32)

    def combine_clauses(self, whole_query: Float32Array, clauses: Float32Array) -> Float32Array:
        """Add the best clause's scores `(n_clauses, n_tools)` to the whole query's `(n_tools,)`."""
        if not len(clauses):
            return whole_query
        best_clause = np.maximum.reduce(clauses)
        return np.asarray(whole_query + self.clause_weight * best_clause, np.float32)

    def interpolate(self, share: float) -> ToolMatcher:
        """Return a matcher with maps between the identity, at 0, and those learned, at 1.

        Between the two, tools seen in training lose some accuracy and unseen tools gain some:
        WiSE-FT (Wortsman et al., 2022).
        """
        identity = np.eye(len(self.query_map), dtype=np.float32)
        query_map, tool_map = (
            np.asarray((1 - share) * identity + share * learned_map, np.float32)
            for learned_map in (self.query_map, self.tool_map)
        )
        return replace(self, query_map=query_map, tool_map=tool_map)

    def usefulness_probabilities(self, scores: QueryScores) -> Float32Array:
        """Return how probable it is that each tool is of use, `(n_tools,)`."""
        combined = self.combine_clauses(scores.whole_query, scores.clauses)
        coef = self.usefulness_coef[1:]  # rankers of older versions know two of the features
        features = usefulness_features(combined, scores.clauses)[:, : len(coef)]
        return _sigmoid(self.usefulness_coef[0] + features @ coef)

    def needed_probability(self, scores: QueryScores) -> float:
        """Return how probable it is that any tool is needed."""
        if scores.topic_score is not None and self.topic_coef is not None:
            return float(_sigmoid(self.topic_coef[0] + self.topic_coef[1] * scores.topic_score))
        return float(_sigmoid(self.needed_coef[0] + self.needed_coef[1:] @ scores.needed_features))


@dataclass(frozen=True, slots=True)
class Feedback:
    """Relevance feedback (Rocchio, 1971): tools move to the queries that they served.

    `sums` holds per name the weighted sum `(dim,)` of the queries of the tools that have it. It is
    never changed in place.
    """

    sums: Mapping[str, Float32Array] = field(default_factory=dict)

    def __len__(self) -> int:
        """Count the tools that have feedback."""
        return len(self.sums)

    def with_query(
        self, query: Float32Array, useful: Collection[str], useless: Collection[str] = ()
    ) -> Feedback:
        """Return the feedback with one more query, a unit vector `(dim,)`, and its tools' names."""
        sums = dict(self.sums)
        for names, weight in ((useful, 1.0), (useless, -_NEGATIVE_WEIGHT)):
            for name in names:
                sums[name] = np.asarray(sums.get(name, 0.0) + weight * query, np.float32)
        return Feedback(sums)

    def apply(
        self, rows_by_name: Mapping[str, Sequence[int]], vectors: Float32Array
    ) -> Float32Array:
        """Return the tools' vectors `(n_tools, dim)`, moved where there is feedback.

        `rows_by_name` is that of a `Toolbox`.
        """
        sums: dict[int, Float32Array] = {}
        for name, query_sum in self.sums.items():
            for row in rows_by_name.get(name.casefold(), ()):
                sums[row] = sums.get(row, 0.0) + query_sum
        if not sums:
            return vectors
        rows = list(sums)
        moved_vectors: Float32Array = vectors.copy()
        moved = _DESCRIPTION_WEIGHT * vectors[rows] + np.stack(list(sums.values()))
        moved_vectors[rows] = _l2_normalize(moved)
        return moved_vectors


def margins(scores: Float32Array) -> Float32Array:
    """Return how far each score is above the best of the others, `(n_tools,)`; 0 for one tool."""
    if scores.size < 2:
        return np.zeros_like(scores)
    best = scores.argmax()
    differences: Float32Array = scores - scores[best]
    differences[best] = -np.inf
    differences[best] = -np.maximum.reduce(differences)
    return differences


def _l2_normalize(rows: Float32Array) -> Float32Array:
    """Scale rows to length 1; a row of zeros stays zero."""
    lengths = np.sqrt(np.add.reduce(rows * rows, 1, keepdims=True))
    return np.asarray(rows / np.maximum(lengths, 1e-9), np.float32)


def _sigmoid(x: Float32Array) -> Float32Array:
    """Return the logistic function, between 0 and 1."""
    return np.asarray(1 / (1 + np.exp(-np.maximum(x, -60))), np.float32)  # exp(60) is no overflow
