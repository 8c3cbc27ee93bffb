"""The Q-table: measured losses, prompts x experts, with gaps; what routers learn from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tryage.core.cache import cached_property
from tryage.core.expert import Expert
from tryage.errors import QTableError
from tryage.scoring.qtable_io import read_columns, write_columns

if TYPE_CHECKING:
    from tryage.core.arrays import BoolArray, Float32Array, FloatArray, IndexArray
    from tryage.core.library import Library

Rows: TypeAlias = NDArray[np.intp] | NDArray[np.bool_] | Sequence[int]

# An expert measured on a smaller share of the prompts has a mean loss over other prompts.
MIN_COVERAGE = 0.95

_PROMPT_FIELDS = ("categories", "sources")

# What is measured in each cell besides the loss, with its lowest possible value.
_CELL_FIELDS = {"costs": 0.0, "latencies": 0.0, "output_tokens": 0.0, "readabilities": -np.inf}

_CELL_FIELD_OF_FACT = {
    "output_tokens": "output_tokens",
    "readability": "readabilities",
    "latency": "latencies",
}

# What a spreadsheet takes for the beginning of a formula, the wide signs too (OWASP, "CSV
# Injection").
_FORMULA_STARTS = "=+-@\t\r\uff1d\uff0b\uff0d\uff20"


@dataclass(frozen=True, eq=False)
class QTable:
    """Measured losses of experts on prompts; NaN is a gap, never a zero.

    `losses` and the optional `costs` (USD of the request), `latencies` (seconds), `output_tokens`
    and `readabilities` (Flesch reading ease of the answer) are float32 `(n_prompts, n_experts)`;
    for scored answers the loss is 1 - score. `categories` and `sources` say, per prompt, what kind
    of prompt it is and which set it comes from. Two rows may hold the same prompt text;
    `groups` tells which.

    Raises:
        QTableError: a shape, a duplicate expert name or a value (inf, negative cost) is wrong.
    """

    prompts: tuple[str, ...]
    experts: tuple[str, ...]
    losses: Float32Array
    categories: tuple[str | None, ...] | None = None
    sources: tuple[str | None, ...] | None = None
    costs: Float32Array | None = None
    latencies: Float32Array | None = None
    output_tokens: Float32Array | None = None
    readabilities: Float32Array | None = None

    def __post_init__(self) -> None:
        """Check every column, and make it immutable."""
        self._set("prompts", _check_texts("prompts", self.prompts))
        self._set("experts", _check_texts("experts", self.experts))
        if len(set(self.experts)) != len(self.experts):
            duplicate = next(name for name in self.experts if self.experts.count(name) > 1)
            raise QTableError(f"expert {duplicate!r:.80} is given twice; give each one column")
        for name in _PROMPT_FIELDS:
            if (values := getattr(self, name)) is not None:
                self._set(name, self._check_prompt_field(name, values))
        self._set("losses", self._check_cell_field("losses", self.losses))
        for name, minimum in _CELL_FIELDS.items():
            if (values := getattr(self, name)) is not None:
                self._set(name, self._check_cell_field(name, values, minimum))

    def __len__(self) -> int:
        """Count the prompts."""
        return len(self.prompts)

    def __repr__(self) -> str:
        """Name the shape and the share of known losses; the content would fill the screen."""
        measured_share = float(self.measured.mean()) if self.losses.size else 0.0
        size = f"{len(self.prompts)} prompts x {len(self.experts)} experts"
        return f"QTable({size}, {measured_share:.0%} full)"

    @property
    def shape(self) -> tuple[int, int]:
        """`(n_prompts, n_experts)`."""
        return len(self.prompts), len(self.experts)

    @cached_property
    def measured(self) -> BoolArray:
        """Which losses are known, `(n_prompts, n_experts)`."""
        return ~np.isnan(self.losses)

    @cached_property
    def groups(self) -> IndexArray:
        """A number per prompt, `(n_prompts,)`: prompts with the same text have the same number."""
        number: dict[str, int] = {}
        numbers = [number.setdefault(text, len(number)) for text in self.prompts]
        return np.array(numbers, dtype=np.intp)

    def losses_for(self, prompts: Sequence[str], library: Library) -> FloatArray:
        """Look up measured losses, `(batch, n_experts)`, NaN where the table has none.

        The experts are in the order of the library. Of several rows with the
        same prompt text, the first counts.
        """
        rows: dict[str, int] = {}
        for row, prompt in enumerate(self.prompts):
            rows.setdefault(prompt, row)
        row_pairs = [(i, rows[prompt]) for i, prompt in enumerate(prompts) if prompt in rows]
        column_pairs = [(library.index(n), j) for j, n in enumerate(self.experts) if n in library]
        losses = np.full((len(prompts), len(library)), np.nan)
        if row_pairs and column_pairs:
            to_rows, from_rows = zip(*row_pairs, strict=True)
            to_columns, from_columns = zip(*column_pairs, strict=True)
            losses[np.ix_(to_rows, to_columns)] = self.losses[np.ix_(from_rows, from_columns)]
        return losses

    def take(self, rows: Rows) -> QTable:
        """Cut the table to some rows: indices, in the order given, or a mask `(n_prompts,)`."""
        indices = np.asarray(rows)
        if indices.dtype == np.bool_:
            indices = np.flatnonzero(indices)
        indices = indices.astype(np.intp)
        changes: dict[str, object] = {"prompts": tuple(self.prompts[i] for i in indices)}
        for name in _PROMPT_FIELDS:
            column = getattr(self, name)
            changes[name] = None if column is None else tuple(column[i] for i in indices)
        for name in ("losses", *_CELL_FIELDS):
            matrix = getattr(self, name)
            changes[name] = None if matrix is None else matrix[indices]
        return replace(self, **changes)  # type: ignore[arg-type]  # mypy cannot see the names

    def select(self, experts: Iterable[str]) -> QTable:
        """Cut the table to some experts, in the order given.

        Raises:
            QTableError: an expert has no column here.
        """
        names = _check_texts("experts", experts)
        column = {name: i for i, name in enumerate(self.experts)}
        missing = [name for name in names if name not in column]
        if missing:
            raise QTableError(f"no column for {missing}; the table holds {list(self.experts)[:10]}")
        indices = [column[name] for name in names]
        changes: dict[str, object] = {"experts": names}
        for name in ("losses", *_CELL_FIELDS):
            matrix = getattr(self, name)
            changes[name] = None if matrix is None else matrix[:, indices]
        return replace(self, **changes)  # type: ignore[arg-type]  # mypy cannot see the names

    def check_expert_names(self) -> None:
        """Refuse experts whose names differ in case alone: a library ignores the case.

        Raises:
            QTableError: there are such experts; it names them all.
        """
        if groups := self._case_variants():
            pairs = "; ".join(" and ".join(map(repr, names)) for names in groups)
            raise QTableError(
                f"names of experts differ in case alone: {pairs}; rename one of each, or make one "
                "expert of them, with the mean of their losses: --merge-names of the command, "
                "merge_experts() of the table"
            )

    def merge_experts(self) -> QTable:
        """Return the table in which experts whose names differ in case alone are one.

        It has the name that comes first, and the mean of what was measured of them on each prompt.
        """
        columns: dict[str, list[int]] = defaultdict(list)
        for column, name in enumerate(self.experts):
            columns[name.casefold()].append(column)
        changes: dict[str, object] = {"experts": [self.experts[own[0]] for own in columns.values()]}
        for name in ("losses", *_CELL_FIELDS):
            matrix = getattr(self, name)
            if matrix is not None:
                means = [_known_mean(matrix[:, own].T) for own in columns.values()]
                changes[name] = np.stack(means, axis=1) if means else matrix
        return replace(self, **changes)  # type: ignore[arg-type]  # mypy cannot see the names

    def _case_variants(self) -> list[list[str]]:
        """Return the names of the experts that differ in case alone, in groups."""
        groups: dict[str, list[str]] = defaultdict(list)
        for name in self.experts:
            groups[name.casefold()].append(name)
        return [names for names in groups.values() if len(names) > 1]

    @staticmethod
    def concat(tables: Sequence[QTable]) -> QTable:
        """Stack tables; experts are joined by name, and what one table lacks is a gap.

        Raises:
            QTableError: no table is given.
        """
        if not tables:
            raise QTableError("no table to concatenate; give at least one")
        experts = tuple(dict.fromkeys(name for table in tables for name in table.experts))
        columns: dict[str, object] = {
            "prompts": tuple(text for table in tables for text in table.prompts),
            "experts": experts,
        }
        for name in _PROMPT_FIELDS:
            columns[name] = _stack_prompt_field(tables, name)
        for name in ("losses", *_CELL_FIELDS):
            columns[name] = _stack_cell_field(tables, name, experts)
        return QTable(**columns)  # type: ignore[arg-type]  # mypy cannot see the names

    @staticmethod
    def read(path: str | Path, *, score_scale: float = 1.0, loss: str = "loss") -> QTable:
        """Read long rows from .parquet, .csv, .jsonl or a folder of shards (`tryage score`).

        Needs the extra `evaluate` or `score`. Columns: `prompt`, `expert`, `loss` or `score`
        (0..`score_scale`), and optionally `prompt_id` (separates rows with equal prompts),
        `category`, `source`, `cost`, `latency`, `output_tokens`, `readability`. `loss` names
        another column to read the losses from, such as `loss_per_char`. A pair that was measured
        several times gets its mean.

        Raises:
            QTableError: the file or a column is missing or wrong.
            MissingExtraError: pyarrow is not installed.
        """
        return QTable(**read_columns(Path(path), score_scale=score_scale, loss=loss))

    def write(self, path: str | Path, *, escape_formulas: bool = False) -> None:
        """Write long rows to .parquet, .csv or .jsonl; gaps are not written.

        Text is written as it is, so that it can be read again. A spreadsheet takes a cell of a .csv
        file that starts with =, +, -, @, a tab or a carriage return for a formula.
        `escape_formulas` puts a ' before these, for a file that is made for a spreadsheet.

        Raises:
            QTableError: the file has none of these suffixes, or formulas are to be escaped in
                another file than .csv.
            MissingExtraError: pyarrow is not installed.
        """
        columns: Any = {field.name: getattr(self, field.name) for field in fields(self)}
        if escape_formulas:
            if Path(path).suffix != ".csv":
                raise QTableError(f"only a .csv file has formulas to escape, got {Path(path).name}")
            texts = {
                name: columns[name] for name in ("prompts", "experts", "categories", "sources")
            }
            columns |= {name: texts[name] and _escape_formulas(texts[name]) for name in texts}
        write_columns(columns, Path(path))

    def equals(self, other: QTable) -> bool:
        """Return whether both tables hold the same values; a gap equals a gap."""
        return all(
            _equal_with_nan(getattr(self, field.name), getattr(other, field.name))
            for field in fields(self)
        )

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check_prompt_field(
        self, name: str, values: Iterable[str | None]
    ) -> tuple[str | None, ...]:
        column = tuple(None if value is None else str(value) for value in values)
        if len(column) != len(self.prompts):
            raise QTableError(
                f"{len(column)} {name} for {len(self.prompts)} prompts; give one each"
            )
        return column

    def _check_cell_field(
        self, name: str, values: ArrayLike, minimum: float = -np.inf
    ) -> Float32Array:
        matrix: Float32Array = np.asarray(values, dtype=np.float32).view()
        if matrix.shape != self.shape:
            raise QTableError(
                f"{name} have shape {matrix.shape}; expected (n_prompts, n_experts) = {self.shape}"
            )
        if np.isinf(matrix).any() or (matrix < minimum).any():
            low = f" or a value below {minimum:g}" if np.isfinite(minimum) else ""
            raise QTableError(f"{name} hold inf{low}; write a gap as NaN")
        matrix.flags.writeable = False
        return matrix


def with_measurements(library: Library, table: QTable) -> Library:
    """Return the library with what the table measured: mean output tokens, readability, latency.

    A measured fact replaces the fact of the library; a fact that was not measured stays. Experts
    that the library lacks are added. The constraints verbosity, readability and latency then weigh
    measured facts.

    Raises:
        LibraryError: a name of the table means two experts.
    """
    for expert in [Expert(name) for name in table.experts if name not in library]:
        library = library.with_expert(expert)
    rows = np.array([library.index(name) for name in table.experts], dtype=np.intp)
    columns = {}
    for fact, field in _CELL_FIELD_OF_FACT.items():
        if (matrix := getattr(table, field)) is not None:
            mean = _known_mean(matrix)
            is_measured = ~np.isnan(mean)
            columns[fact] = library.column(fact).copy()
            columns[fact][rows[is_measured]] = mean[is_measured]
    return library.with_columns(**columns) if columns else library


def _check_texts(name: str, values: Iterable[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise QTableError(f"{name} is the string {values[:40]!r}; give a list of strings")
    texts = tuple(values)
    for text in texts:
        if not isinstance(text, str):
            kind = type(text).__name__
            raise QTableError(f"{name} holds {text!r:.80} of {kind}; expected strings")
    return texts


def _stack_prompt_field(tables: Sequence[QTable], name: str) -> tuple[str | None, ...] | None:
    columns = [(len(table), getattr(table, name)) for table in tables]
    if all(column is None for _, column in columns):
        return None
    return tuple(value for length, column in columns for value in (column or (None,) * length))


def _stack_cell_field(
    tables: Sequence[QTable], name: str, experts: tuple[str, ...]
) -> Float32Array | None:
    matrices = [getattr(table, name) for table in tables]
    if all(matrix is None for matrix in matrices):
        return None
    column = {expert: i for i, expert in enumerate(experts)}
    stacked_matrix = np.full((sum(map(len, tables)), len(experts)), np.nan, dtype=np.float32)
    start = 0
    for table, matrix in zip(tables, matrices, strict=True):
        if matrix is not None:
            rows = slice(start, start + len(table))
            stacked_matrix[rows, [column[expert] for expert in table.experts]] = matrix
        start += len(table)
    return stacked_matrix


def _equal_with_nan(value: object, other: object) -> bool:
    if isinstance(value, np.ndarray) and isinstance(other, np.ndarray):
        return value.shape == other.shape and bool(np.array_equal(value, other, equal_nan=True))
    return bool(value == other)


def _known_mean(matrix: Float32Array) -> FloatArray:
    """Average the known values of each column, `(n_columns,)`, NaN for a column without any."""
    count = np.count_nonzero(~np.isnan(matrix), axis=0)
    total = np.nansum(matrix, axis=0, dtype=np.float64)
    mean: FloatArray = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return mean


def _escape_formulas(texts: Iterable[str | None]) -> tuple[str | None, ...]:
    """Return texts with a ' before each that a spreadsheet would take for a formula."""
    return tuple(f"'{text}" if text and text[0] in _FORMULA_STARTS else text for text in texts)
