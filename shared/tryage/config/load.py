"""Read the settings: all files, every problem at once, and where each value is from."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from tryage.config.document import Document, Overrides, read_document
from tryage.config.find import find_config
from tryage.config.stamps import file_stamp
from tryage.config.variables import expand_variables, find_secrets
from tryage.core.validation import require_extra
from tryage.errors import ConfigError, InputError, TryageError
from tryage.files import path_exists

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tryage.config.positions import KeyPath
    from tryage.config.schema import Config
    from tryage.config.stamps import FileStamp
    from tryage.config.table import Table
    from tryage.errors import ConfigProblem

_ROUTER_FILE = "router.json"

_SHARED = ("models", "rules")  # what files that are included may add


@dataclass(frozen=True)
class LoadedConfig:
    """Settings that are checked, and the files that they are from.

    `config` has the models and rules of all files, and `document` is the first one. `origins` says
    where the tables of arrays are from: ("models", 2) -> the file, and the place in it. `files` are
    all that were read, and `router_stamp` tells whether a saved router has changed.
    """

    config: Config
    document: Document
    origins: Mapping[KeyPath, tuple[Document, KeyPath]] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    router_stamp: FileStamp | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    @property
    def path(self) -> Path:
        """The file."""
        return self.document.path

    @property
    def folder(self) -> Path:
        """The folder that paths are relative to."""
        return self.path.parent

    def folder_of(self, *place: str | int) -> Path:
        """Return the folder that the paths of one table are relative to."""
        return self.origins.get(place, (self.document, place))[0].path.parent

    def problem(self, place: KeyPath, message: str) -> ConfigProblem:
        """Return a problem at a place of the joint settings."""
        document, own = self.origins.get(place[:2], (self.document, place[:2]))
        return document.problem((*own, *place[2:]), message)

    @contextmanager
    def at(self, *place: str | int) -> Iterator[None]:
        """Say for an error inside the block which part of the file it is about.

        Raises:
            ConfigError: the block raises an error of Tryage.
        """
        try:
            yield
        except ConfigError:
            raise
        except TryageError as error:
            raise ConfigError.of(self.problem(place, str(error))) from error

    def expanded(self, *place: str | int, text: str) -> str:
        """Return a text with its variables of the environment.

        Raises:
            ConfigError: a variable is not set.
        """
        with self.at(*place):
            return expand_variables(text, self.environment)


def load_config(
    path: str | Path | None = None,
    *,
    overrides: Overrides | None = None,
    environment: Mapping[str, str] = os.environ,
) -> LoadedConfig:
    """Read and check the settings of a file, as `find_config` finds it.

    Args:
        path: The file.
        overrides: Tables whose keys replace those of the file: {"router": {"strict": True}}; None
            takes a key out.
        environment: The variables that values may name.

    Raises:
        ConfigError: there is no file, or it is wrong; the error has all problems, with their lines.
        InputError: the path or the overrides are of another type.
        MissingExtraError: the extra `config` is not installed.
    """
    require_extra("pydantic", "config")
    document = read_document(find_config(path, environment=environment)).replaced(overrides or {})
    documents, problems = _included(document)
    for one in (document, *documents):
        problems += document_problems(one, environment, is_root=one is document)
    if problems:
        raise ConfigError.of(*problems)
    loaded = _joined(document, documents, environment)
    if problems := list(_name_problems(loaded)):
        raise ConfigError.of(*problems)
    return loaded


def document_problems(
    document: Document, environment: Mapping[str, str], *, is_root: bool = True
) -> list[ConfigProblem]:
    """Return all that is wrong with one file by itself, in the order of its lines."""
    from pydantic import ValidationError

    from tryage.config.problems import schema_problems
    from tryage.config.schema import Config, IncludedFile

    root: type[Table] = Config if is_root else IncludedFile
    found = dict(find_secrets(document.tables))
    try:
        root.model_validate(document.tables)
    except ValidationError as error:
        for place, message in schema_problems(document.tables, error.errors(), root):
            found.setdefault(place, message)
    for place, message in _value_problems(document, environment):
        found.setdefault(place, message)
    problems = [document.problem(place, message) for place, message in found.items()]
    return sorted(problems, key=lambda one: one.line or 0)


def _included(document: Document) -> tuple[list[Document], list[ConfigProblem]]:
    """Read the files that a file includes; return problems with those that cannot be read."""
    names = document.tables.get("include", [])
    found: list[Document] = []
    problems: list[ConfigProblem] = []
    for i, name in enumerate(names if isinstance(names, list) else []):
        if isinstance(name, str):
            path = document.path.parent / name
            if path_exists(path):
                try:
                    found.append(read_document(path))
                except ConfigError as error:
                    problems += error.problems
            else:
                problems.append(document.problem(("include", i), f"there is no file {path}."))
    return found, problems


def _joined(
    document: Document, documents: list[Document], environment: Mapping[str, str]
) -> LoadedConfig:
    """Return the settings of all files together."""
    from tryage.config.schema import Config, IncludedFile

    config = Config.model_validate(document.tables)
    parts = [(document, config)]
    parts += [(one, IncludedFile.model_validate(one.tables)) for one in documents]  # type: ignore[misc]  # a Config is an IncludedFile
    origins: dict[KeyPath, tuple[Document, KeyPath]] = {}
    joined: dict[str, list[Any]] = {name: [] for name in _SHARED}
    for one, part in parts:
        for name in _SHARED:
            for i, table in enumerate(getattr(part, name)):
                origins[name, len(joined[name])] = (one, (name, i))
                joined[name].append(table)
    whole = config.model_copy(update={name: rows for name, rows in joined.items() if rows})
    files = [document.path, *(one.path for one in documents), *_named_files(config, document)]
    router_file = _router_file(config, document)
    if router_file is not None:
        files.append(router_file)
    return LoadedConfig(
        whole,
        document,
        origins,
        files=tuple(dict.fromkeys(files)),
        router_stamp=None if router_file is None else file_stamp(router_file),
        environment=environment,
    )


def _named_files(config: Config, document: Document) -> Iterator[Path]:
    """Yield the files that tables name."""
    for table in config.policies:
        name = getattr(table, "file", None) or getattr(table, "table", None)
        if isinstance(name, str):
            yield document.path.parent / name


def _router_file(config: Config, document: Document) -> Path | None:
    """Return the file of a router that is saved on this machine, None of any other."""
    if config.router.path is None:
        return None
    path = document.path.parent / config.router.path / _ROUTER_FILE
    return path if path_exists(path) else None


def _name_problems(loaded: LoadedConfig) -> Iterator[ConfigProblem]:
    """Yield the models whose name another one has."""
    from tryage.config.values import model_name

    first: dict[str, int] = {}
    for i, table in enumerate(loaded.config.models):
        name = model_name(table) or ""
        earlier = first.setdefault(name.casefold(), i)
        if earlier != i:
            other = loaded.problem(("models", earlier), "")
            yield loaded.problem(
                ("models", i, "name"),
                f'another model is called "{name}", too ({other.file}:{other.line}); give each its '
                "own name.",
            )


def _value_problems(
    document: Document, environment: Mapping[str, str]
) -> Iterator[tuple[KeyPath, str]]:
    """Yield values of the right type that are out of range, or contradict each other."""
    from tryage.config import schema, values
    from tryage.config.policies import make_policy, make_rule

    def policy(table: Any) -> object:  # noqa: ANN401 - a table of any kind of policy
        return make_policy(table, document.path.parent)

    def rule(table: schema.RuleTable) -> object:
        return make_rule(table.given())

    tables = document.tables
    yield from _table_problems(tables, "models", schema.ModelTable, _checked_model(environment))
    yield from _table_problems(
        tables, "preferences", schema.PreferencesTable, values.make_preferences
    )
    yield from _table_problems(
        tables, "exploration", schema.ExplorationTable, values.make_exploration
    )
    yield from _table_problems(tables, "rules", schema.RuleTable, rule)
    yield from _policy_problems(tables, policy)
    yield from _table_problems(tables, "traffic", schema.TrafficTable, _checked_url(environment))


def _checked_model(environment: Mapping[str, str]) -> Callable[[Any], object]:
    def check(table: Any) -> object:  # noqa: ANN401 - a ModelTable
        from tryage.config.values import make_expert, model_name

        if table.model is not None and table.client is not None:
            raise InputError("client and model are both given; expected one of them.")
        if model_name(table) is None:
            raise InputError('a model needs model = "openai:gpt-5.6", a client, or a name.')
        if table.effort is not None and table.efforts:
            raise InputError("effort and efforts are both given; expected one of them.")
        if table.efforts and "@" in str(model_name(table)):
            raise InputError("efforts are given, and the name ends with one; expected one of both.")
        if table.base_url is not None:
            _expand("base_url", table.base_url, environment)
        return make_expert(table)

    return check


def _checked_url(environment: Mapping[str, str]) -> Callable[[Any], object]:
    return lambda table: _expand("url", table.url, environment)


def _expand(key: str, text: str, environment: Mapping[str, str]) -> str:
    try:
        return expand_variables(text, environment)
    except InputError as error:
        raise InputError(f"{key}: {error}") from error


def _table_problems(
    tables: Mapping[str, Any], name: str, cls: type[Table], make: Callable[[Any], object]
) -> Iterator[tuple[KeyPath, str]]:
    """Yield the problems of one table, or of each table of an array, that fits its class."""
    value = tables.get(name)
    rows = enumerate(value) if isinstance(value, list) else [(None, value)]
    for i, row in rows:
        place: KeyPath = (name,) if i is None else (name, i)
        yield from _row_problems(place, row, cls, make)


def _policy_problems(
    tables: Mapping[str, Any], make: Callable[[Any], object]
) -> Iterator[tuple[KeyPath, str]]:
    from tryage.config.policy_schema import POLICY_TABLES, policy_kind

    rows = tables.get("policies")
    for i, row in enumerate(rows if isinstance(rows, list) else ()):
        cls = POLICY_TABLES.get(policy_kind(row) or "")
        if cls is not None:
            yield from _row_problems(("policies", i), row, cls, make)


def _row_problems(
    place: KeyPath, row: object, cls: type[Table], make: Callable[[Any], object]
) -> Iterator[tuple[KeyPath, str]]:
    from tryage.config.values import value_problems

    table = _fitting_table(row, cls)
    if table is None:
        return
    required = [name for name, one in cls.model_fields.items() if one.is_required()]
    words = {**table.given(), **(table.model_extra or {})}
    is_whole = set(words) == set(row) if isinstance(row, dict) else False
    for key, message in value_problems(partial(_made, cls, make), words, required):
        if key is not None or is_whole:  # what is missing may be what does not fit the schema
            yield place if key is None else (*place, key), message


def _fitting_table(row: object, cls: type[Table]) -> Table | None:
    """Return the table of the keys that fit the schema, None if that needs others, too."""
    from pydantic import ValidationError

    try:
        return cls.model_validate(row)
    except ValidationError as error:
        wrong = {one["loc"][0] for one in error.errors() if one["loc"]}
    if not isinstance(row, dict) or not wrong & set(row):
        return None
    return _fitting_table({name: value for name, value in row.items() if name not in wrong}, cls)


def _made(cls: type[Table], make: Callable[[Any], object], words: Mapping[str, Any]) -> object:
    return make(cls.model_construct(set(words), **words))
