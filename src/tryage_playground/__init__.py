"""A page to try prompts, preferences and policies on: `tryage playground`, or `create_app()`."""

from tryage.core.validation import require_extra

for _module in ("fastapi", "jinja2", "python_multipart", "pydantic"):
    require_extra(_module, "playground")

from tryage_playground.app import create_app
from tryage_playground.settings import PlaygroundSettings

__all__ = ["PlaygroundSettings", "create_app"]
