"""Tryage as a server of OpenAI's protocol: `tryage serve`, or `create_app(ChatTryage(...))`."""

from tryage.core.validation import require_extra

require_extra("fastapi", "server")

from tryage_server.app import create_app
from tryage_server.settings import ServerSettings

__all__ = ["ServerSettings", "create_app"]
