"""Clients of LangChain from the tables of `tryage.toml`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tryage.chat.configured_model import client_settings
from tryage.config.code import import_object
from tryage.core.redaction import describe_error
from tryage.core.validation import require_extra
from tryage.errors import InputError, TryageError

if TYPE_CHECKING:
    from tryage.config.load import LoadedConfig
    from tryage.config.schema import ModelTable


def make_client(table: ModelTable, loaded: LoadedConfig, i: int) -> Any:
    """Return the chat model of a table, or what makes one.

    A string alone is made into a client when it is first chosen; one with settings of its own is
    made now, so that a missing key is known before anybody asks.

    Raises:
        InputError: the table has neither a model nor a client, or the client cannot be made.
        MissingExtraError: LangChain, which makes clients of strings, is not installed.
    """
    if table.client is not None:
        return import_object(table.client, loaded.folder_of("models", i))
    if table.model is None:
        raise InputError('a name alone cannot be asked; write model = "openai:gpt-5.6", or client.')
    settings = client_settings(table, loaded, i)
    if not settings:
        return table.model
    require_extra("langchain.chat_models", "agents")
    from langchain.chat_models import init_chat_model

    try:
        return init_chat_model(table.model, **settings)
    except TryageError:
        raise
    except Exception as error:  # noqa: BLE001 - each client's package raises its own
        key = settings.get("api_key")
        raise InputError(f"{table.model} cannot be made: {describe_error(error, key)}") from None
