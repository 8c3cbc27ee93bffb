"""The models that are tested: what is known about each, and what asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from tryage.core.expert import Expert
from tryage.errors import InputError
from tryage.models.lookup import look_up, to_expert
from tryage.scoring.replies import as_callable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.library import Library

ClientFactory: TypeAlias = Callable[[str], object]
"""Makes the client of a model from a string, such as LangChain's `init_chat_model`."""

ModelSource: TypeAlias = "Candidate | object"
"""A LangChain model, a LlamaIndex LLM, a function from text to text, or a string for a factory."""

_NAME_ATTRIBUTES = ("model_name", "model", "model_id", "deployment_name", "__name__")

_NO_NAMES = ("<lambda>", "unknown")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that is tested: the facts about it, and the `client` that asks it.

    The client is a LangChain runnable, a LlamaIndex LLM, or a function from text to text (or to a
    `tryage.scoring.Answer`).

    Raises:
        InputError: the expert is no `Expert`, or the client cannot be asked.
    """

    expert: Expert
    client: object

    def __post_init__(self) -> None:
        """Check both parts."""
        if not isinstance(self.expert, Expert):
            raise InputError(
                f"A candidate needs an Expert and a client, got a {type(self.expert).__name__}."
            )
        as_callable(self.client)

    @property
    def name(self) -> str:
        """The name of the expert."""
        return self.expert.name

    @property
    def is_priced(self) -> bool:
        """Whether the prices of its tokens are known."""
        return self.expert.input_price is not None and self.expert.output_price is not None


def find_candidates(
    models: Mapping[str, ModelSource] | Iterable[ModelSource],
    library: Library | None = None,
    make_client: ClientFactory | None = None,
) -> list[Candidate]:
    """Return the models with what is known about them, from the library or from public tables.

    Args:
        models: Clients by name, or a list of clients, `Candidate`s or strings.
        library: Its facts come first.
        make_client: Makes a client from a string.

    Raises:
        InputError: there is no model, two have one name, one has no name or cannot be asked.
    """
    if isinstance(models, (str, bytes)) or not isinstance(models, Iterable):
        raise InputError(f"The models are {models!r:.80}; give a list, or a dict of name -> model.")
    pairs = models.items() if isinstance(models, Mapping) else ((None, one) for one in models)
    candidates = [_to_candidate(name, source, library, make_client) for name, source in pairs]
    names = [one.name.casefold() for one in candidates]
    if not names or len(set(names)) != len(names):
        raise InputError(
            "Give at least one model, and each its own name (ignoring case); got "
            f"{[one.name for one in candidates]}. A dict of name -> model gives names."
        )
    return candidates


def _to_candidate(
    name: object, source: object, library: Library | None, make_client: ClientFactory | None
) -> Candidate:
    """Return a model of the user with its facts."""
    if name is not None and not isinstance(name, str):
        raise InputError(f"A model has the name {name!r:.80}; expected a string.")
    if isinstance(source, Candidate):
        expert = source.expert if name is None else replace(source.expert, name=name)
        return Candidate(with_known_facts(expert, library), source.client)
    name = name or model_name(source)
    client = _make(source, make_client) if isinstance(source, str) else source
    return Candidate(with_known_facts(Expert(name), library, source), client)


def _make(source: str, make_client: ClientFactory | None) -> object:
    """Return the client that a string means."""
    if make_client is None:
        raise InputError(
            f"{source!r:.80} is a string, and nothing here makes a client of one. Pass the client "
            "itself, or make_client=init_chat_model of langchain.chat_models."
        )
    return make_client(source)


def model_name(model: object) -> str:
    """Return the name under which a client says that it calls its model.

    Raises:
        InputError: it says none.
    """
    if isinstance(model, str):
        return model
    metadata = getattr(model, "metadata", None)  # LlamaIndex
    spellings = [getattr(model, name, None) for name in _NAME_ATTRIBUTES]
    spellings.append(getattr(metadata, "model_name", None))
    for name in spellings:
        if isinstance(name, str) and name.strip() and name not in _NO_NAMES:
            return name
    raise InputError(
        f"A {type(model).__name__} does not say which model it calls. Give it a name: "
        '{"my-model": client}, or Candidate(Expert("my-model"), client).'
    )


def with_known_facts(
    expert: Expert, library: Library | None = None, source: object = None
) -> Expert:
    """Fill what is unknown about an expert from the library, else from public tables."""
    name = expert.name
    spellings = [name, *expert.aliases, *([source] if isinstance(source, str) else [])]
    if library is not None and name in library:
        known = library[name]  # an alias is the name of the same expert
        return _fill(replace(expert, name=known.name), known)
    for spelling in spellings:
        found = look_up(spelling)
        if found is not None:
            return _fill(expert, to_expert(found, name))
    return expert


def _fill(expert: Expert, known: Expert) -> Expert:
    """Return the expert with the facts of another where it has none."""
    missing: dict[str, Any] = {
        one.name: getattr(known, one.name)
        for one in fields(Expert)
        if getattr(expert, one.name) in (None, (), {}) and one.name != "about_as_good_as"
    }
    return replace(expert, **missing)


def check_prices(candidates: Sequence[Candidate]) -> None:
    """Check that the price of every model is known, which a budget needs.

    Raises:
        InputError: a price is unknown; the message names the models.
    """
    unknown = [one.name for one in candidates if not one.is_priced]
    if unknown:
        raise InputError(
            f"The prices of {', '.join(unknown)} are unknown, so no budget can be kept. Give each "
            "its input_price and output_price in USD per million tokens (0 if it is free), or go "
            "without a budget."
        )
