"""Tryage in LiteLLM: each request of a model group goes to the right one of its models."""

from tryage.core.validation import require_extra

require_extra("litellm", "litellm")

from tryage_litellm.callback import TryageCallback

__all__ = ["TryageCallback"]
