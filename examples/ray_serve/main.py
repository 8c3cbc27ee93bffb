"""`tryage serve` in several replicas on Ray Serve, with one log, one budget and what all learn.

serve run main:application models=openai:gpt-5.6,openai:gpt-5.6-luna \
    traffic=postgresql://me@db/tryage usd_per_day=100
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, field_validator
from ray import serve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI
    from ray.serve import Application
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Settings(BaseModel):
    """What `serve run` may say.

    `models` are divided by commas. `traffic` is the URL of a log that all replicas reach: on one
    machine a file of SQLite will do. `usd_per_day` is what all replicas together may spend.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    models: str
    traffic: str
    replicas: int = 2
    usd_per_day: float | None = None
    cpus: float = 1.0

    @field_validator("traffic")
    @classmethod
    def without_password(cls, url: str) -> str:
        """Refuse a password: Ray Serve keeps these words in its tables, and `ps` shows them."""
        parts = urlsplit(url)
        if parts.password or "password" in parse_qs(parts.query):
            raise ValueError("it has a password; put that into PGPASSWORD or ~/.pgpass")
        return url


def application(words: Mapping[str, object]) -> Application:
    """Return the application of Ray Serve; each replica makes its own chat model.

    `words` are those of `serve run`: the fields of `Settings` with their values.
    """
    settings = Settings.model_validate(words)

    def make() -> ASGIApp:
        return ProcessHeader(make_app(settings))

    deployment = serve.deployment(
        serve.ingress(make)(),
        name="tryage",
        num_replicas=settings.replicas,
        max_ongoing_requests=200,  # as many as ServerSettings.max_requests
        health_check_period_s=2,
        graceful_shutdown_timeout_s=30,  # as long as ServerSettings.stop_seconds
        ray_actor_options={"num_cpus": settings.cpus},
    )
    return deployment.bind()


def make_app(settings: Settings) -> FastAPI:
    """Return the server over the models; its keys come from the environment."""
    from tryage.policies import Budget
    from tryage_langchain import ChatTryage
    from tryage_server import ServerSettings, create_app
    from tryage_server.settings import keys_from_environment

    budget = None
    if settings.usd_per_day is not None:
        budget = Budget(usd_per_day=settings.usd_per_day, hard=True, label="all replicas")
    chat = ChatTryage.from_models(
        settings.models.split(","), traffic=settings.traffic, policy=budget
    )
    return create_app(chat, ServerSettings(keys=keys_from_environment()))


class ProcessHeader:
    """Names the process that answers in the header `x-process`, to see how replicas share work."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the header."""

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                name = (b"x-process", str(os.getpid()).encode())
                message = {**message, "headers": [*message.get("headers", ()), name]}
            await send(message)

        await self._app(scope, receive, send_named)

    def __getattr__(self, name: str) -> object:
        """Let Ray Serve see the routes of the application."""
        return getattr(self._app, name)
