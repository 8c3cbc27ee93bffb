"""LLMs for models of the Hugging Face Hub: at inference providers, or run here."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tryage.chat.secrets import without_secrets
from tryage.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llama_index.core.llms import LLM

_SERVED, _LOCAL = "llama_index.llms.huggingface_api", "llama_index.llms.huggingface"


@dataclass(frozen=True)
class HubModel:
    """Makes the LLM of one model of the Hub, when it is first chosen.

    Neither of LlamaIndex's LLMs for such models calls functions, whatever the model itself can. A
    pickle leaves out the settings that are secrets, such as a token.
    """

    name: str
    local: bool = False
    settings: dict[str, Any] = field(default_factory=dict, repr=False)

    def __call__(self) -> LLM:
        """Return the LLM."""
        make = _local if self.local else _served
        return make(self.name, **self.settings)

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep what is no secret."""
        return type(self), (self.name, self.local, without_secrets(self.settings))


def hub_models(
    names: Iterable[str],
    *,
    local: bool,
    **settings: Any,  # noqa: ANN401 - of the LLM
) -> dict[str, Callable[[], LLM]]:
    """Return what makes an LLM per model id.

    Args:
        names: Ids such as "Qwen/Qwen2.5-7B-Instruct".
        local: Run the weights here, with transformers, instead of asking an inference provider.
        settings: For `HuggingFaceInferenceAPI`, or for `HuggingFaceLLM`.

    Raises:
        MissingExtraError: the package of these LLMs is not installed.
    """
    module = _LOCAL if local else _SERVED
    if not _installed(module):
        package = module.replace(".", "-").replace("_", "-")
        raise MissingExtraError(
            f"{module} is not installed. Install it with: pip install {package}"
        )
    return {name: HubModel(name, local, settings) for name in names}


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # llama_index.llms is there once any LLM's package is
        return False


def _served(name: str, **settings: Any) -> LLM:  # noqa: ANN401 - as above
    from tryage_llamaindex._served import Served

    model: LLM = Served(**{"model": name, "provider": "auto", **settings})
    return model


def _local(name: str, **settings: Any) -> LLM:  # noqa: ANN401 - as above
    from llama_index.llms.huggingface import HuggingFaceLLM  # type: ignore[import-not-found, import-untyped, unused-ignore]  # as above

    model: LLM = HuggingFaceLLM(**{"model_name": name, "tokenizer_name": name, **settings})
    return model
