"""How many real answers of providers are judged right, through the providers' own client packages.

    python benchmarks/provider_errors.py                           # this revision
    PYTHONPATH=OTHER/shared python benchmarks/provider_errors.py   # another revision

Right means: the next model is tried if and only if the error concerns one model. A loopback server
sends the answers of `tests/fixtures/provider_errors.json`. Botocore is not installed: for Bedrock
an error is made as botocore makes it.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import threading
import warnings
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Call = Callable[[], Any]

ROWS = json.loads(
    (Path(__file__).resolve().parents[1] / "tests/fixtures/provider_errors.json").read_text("utf-8")
)
MESSAGES = [{"role": "user", "content": "hi"}]
KEY = "not-a-key"

# Whose bodies go through which clients; all others speak OpenAI's protocol.
CLIENTS_OF = {
    "Anthropic": ("anthropic", "ChatAnthropic"),
    "Azure": ("azure", "AzureChatOpenAI"),
    "DeepSeek": ("openai", "ChatDeepSeek"),
    "Google": ("google.genai", "ChatGoogleGenerativeAI"),
    "Groq": ("groq", "ChatGroq"),
    "Mistral": ("mistralai", "ChatMistralAI"),
    "Ollama": ("ollama", "ChatOllama"),
    "Together": ("openai", "ChatTogether"),
}
OPENAI_CLIENTS = ("openai", "ChatOpenAI")
PACKAGES = {
    "azure": "openai",
    "mistralai": "mistralai.client",
    "AzureChatOpenAI": "langchain_openai",
    "ChatAnthropic": "langchain_anthropic",
    "ChatDeepSeek": "langchain_deepseek",
    "ChatGoogleGenerativeAI": "langchain_google_genai",
    "ChatGroq": "langchain_groq",
    "ChatMistralAI": "langchain_mistralai",
    "ChatOllama": "langchain_ollama",
    "ChatOpenAI": "langchain_openai",
    "ChatTogether": "langchain_together",
}
CHAT_MODELS = tuple(name for name in PACKAGES if name[0].isupper())
CHAT_MODEL_SETTINGS = {
    "AzureChatOpenAI": {"azure_deployment": "m", "api_version": "2024-10-21", "max_retries": 0},
    "ChatGoogleGenerativeAI": {"model": "m", "max_retries": 1},
    "ChatMistralAI": {"model": "m", "max_retries": 1},
    "ChatOllama": {"model": "m"},
}
ADDRESS_SETTINGS = {"AzureChatOpenAI": "azure_endpoint", "ChatDeepSeek": "api_base"}


def package_of(client: str) -> str:
    """Return the package that has a client."""
    return PACKAGES.get(client, client)


@cache
def chat_model(client: str, url: str) -> Any:  # noqa: ANN401 - a model of any package
    """Return a LangChain chat model of the server."""
    settings = dict(CHAT_MODEL_SETTINGS.get(client, {"model": "m", "max_retries": 0}))
    settings[ADDRESS_SETTINGS.get(client, "base_url")] = url
    if client != "ChatOllama":
        settings["api_key"] = KEY
    return getattr(importlib.import_module(package_of(client)), client)(**settings)


@cache
def caller(client: str, url: str) -> Call:
    """Return what sends one message to the server through a client."""
    if client[0].isupper():
        model = chat_model(client, url)
        return lambda: model.invoke("hi")
    return RAW_CALLERS[client](importlib.import_module(package_of(client)), url)


def call_openai(openai: Any, url: str) -> Call:  # noqa: ANN401 - a module
    """Return what asks openai's client."""
    client = openai.OpenAI(api_key=KEY, base_url=url, max_retries=0)
    return lambda: client.chat.completions.create(model="m", messages=MESSAGES)


def call_azure(openai: Any, url: str) -> Call:  # noqa: ANN401 - a module
    """Return what asks openai's client for Azure."""
    client = openai.AzureOpenAI(
        api_key=KEY, azure_endpoint=url, api_version="2024-10-21", max_retries=0
    )
    return lambda: client.chat.completions.create(model="m", messages=MESSAGES)


def call_anthropic(anthropic: Any, url: str) -> Call:  # noqa: ANN401 - a module
    """Return what asks anthropic's client."""
    client = anthropic.Anthropic(api_key=KEY, base_url=url, max_retries=0)
    return lambda: client.messages.create(model="m", max_tokens=5, messages=MESSAGES)


def call_groq(groq: Any, url: str) -> Call:  # noqa: ANN401 - a module
    """Return what asks groq's client."""
    client = groq.Groq(api_key=KEY, base_url=url, max_retries=0)
    return lambda: client.chat.completions.create(model="m", messages=MESSAGES)


def call_google(genai: Any, url: str) -> Call:  # noqa: ANN401 - a module
    """Return what asks google-genai's client."""
    once = genai.types.HttpRetryOptions(attempts=1)
    options = genai.types.HttpOptions(base_url=url, retry_options=once)
    client = genai.Client(api_key=KEY, http_options=options)
    return lambda: client.models.generate_content(model="m", contents="hi")


def call_mistral(mistralai: Any, url: str) -> Call:  # noqa: ANN401 - a module
    """Return what asks mistralai's client."""
    client = mistralai.Mistral(api_key=KEY, server_url=url)
    return lambda: client.chat.complete(model="m", messages=MESSAGES)


def call_ollama(ollama: Any, url: str) -> Call:  # noqa: ANN401 - a module
    """Return what asks ollama's client."""
    client = ollama.Client(host=url)
    return lambda: client.chat(model="m", messages=MESSAGES)


RAW_CALLERS = {
    "anthropic": call_anthropic,
    "azure": call_azure,
    "google.genai": call_google,
    "groq": call_groq,
    "mistralai": call_mistral,
    "ollama": call_ollama,
    "openai": call_openai,
}


# What they raise ------------------------------------------------------------------------------


class ClientError(Exception):
    """As botocore raises it: the parsed answer is in `response`."""

    def __init__(self, row: dict[str, Any]) -> None:
        error = row["body"]["Error"]
        super().__init__(
            f"An error occurred ({error['Code']}) when calling the Converse operation: "
            f"{error['Message']}"
        )
        self.response = {**row["body"], "ResponseMetadata": {"HTTPStatusCode": row["status"]}}


def clients_of(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the clients to which an answer is sent."""
    if row["provider"] == "Bedrock":
        return ("botocore",)
    return CLIENTS_OF.get(row["provider"], OPENAI_CLIENTS)


class Handler(BaseHTTPRequestHandler):
    """Sends the `row` of the server, whatever is asked."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer with the row."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        row = self.server.row  # type: ignore[attr-defined]  # set below
        body = json.dumps(row["body"]).encode()
        self.send_response(row["status"])
        fixed = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for name, value in (fixed | row.get("headers", {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def errors(server: ThreadingHTTPServer, row: dict[str, Any]) -> list[tuple[str, Exception]]:
    """Return what each client raises for a row."""
    server.row = row  # type: ignore[attr-defined]  # the handler reads it
    raised: list[tuple[str, Exception]] = []
    for client in clients_of(row):
        if client == "botocore":
            raised.append((client, ClientError(row)))
            continue
        try:
            caller(client, f"http://127.0.0.1:{server.server_port}")()
        except Exception as error:  # noqa: BLE001 - of any client package
            raised.append((client, error))
    return raised


def main() -> None:
    """Print the counts by provider, and what is judged wrong."""
    from tryage.core import client_errors

    warnings.simplefilter("ignore")
    logging.disable()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    right, total, waits, waits_total = 0, 0, 0, 0
    for row in ROWS:
        for client, error in errors(server, row):
            expected = row["scope"] in {"model", "pair"}
            is_right = client_errors.should_fall_back(error) is expected
            right, total = right + is_right, total + 1
            if "retry_after" in row:
                retry_after = getattr(client_errors, "retry_after", lambda _: None)
                waits, waits_total = (
                    waits + (retry_after(error) == row["retry_after"]),
                    waits_total + 1,
                )
            if not is_right and "--verbose" in sys.argv:
                print(f"wrong: {row['provider']} {client} {row['status']} {row['scope']}: {error}")
    print(f"{len(ROWS)} answers through {total} calls: {right} judged right")
    print(f"{waits} of {waits_total} waits read to the second")


if __name__ == "__main__":
    main()
