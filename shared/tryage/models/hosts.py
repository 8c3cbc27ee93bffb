"""Where a model is served: one name for each host, and which servers run on this machine."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

# How LangChain, LiteLLM, OpenRouter and the public tables call one host.
_SPELLINGS = {
    "alibaba": "alibaba-cn dashscope qwen qwencloud qwen_ai_platform",
    "anthropic": "google_anthropic_vertex",
    "arcee": "arcee-ai",
    "aws": "amazon amazon-bedrock anthropic_bedrock bedrock bedrock_converse sagemaker",
    "azure": "azure_ai azure_openai azure-cognitive-services",
    "cohere": "cohere_chat coherelabs",
    "deepseek": "deepseek-ai",
    "fireworks": "accounts fireworks-ai fireworks_ai",
    "github": "github-copilot github_copilot github-models",
    "google": "gemini google_genai google-genai models",
    "inception": "inceptionlabs",
    "meta": "llama meta_llama meta-llama",
    "minimax": "minimaxai minimax-cn",
    "mistral": "mistralai",
    "moonshotai": "moonshot moonshotai-cn",
    "novita": "novita-ai",
    "nvidia": "nvidia_nim",
    "ollama": "ollama_chat",
    "stepfun": "stepfun-ai",
    "together": "together_ai togetherai",
    "vertex": "google-vertex google_vertexai vertex_ai vertex_ai-anthropic_models"
    " vertex_ai-language-models vertex_ai-mistral_models vertex_ai-llama_models publishers",
    "volcengine": "byteplus bytedance",
    "xai": "x-ai xai-org",
    "zai": "z-ai zai-org zhipuai",
}

_HOST_OF = {
    spelling: host for host, spellings in _SPELLINGS.items() for spelling in spellings.split()
}

# The host of the one who made a model, by the beginning of its name.
_MAKERS = (
    (r"gpt-oss|gemma|llama|nemotron|phi|olmo", None),  # open weights that their makers do not serve
    (r"gpt|o\d|chatgpt|codex|computer-use|davinci|babbage", "openai"),
    (r"claude", "anthropic"),
    (r"gemini|learnlm", "google"),
    (r"grok", "xai"),
    (
        r"mistral|mixtral|ministral|magistral|codestral|devstral|pixtral|voxtral|open-mi|labs-",
        "mistral",
    ),
    (r"deepseek", "deepseek"),
    (r"qwen|qwq|qvq|wan", "alibaba"),
    (r"kimi|moonshot", "moonshotai"),
    (r"glm", "zai"),
    (r"minimax|abab", "minimax"),
    (r"command|aya|north", "cohere"),
    (r"nova|titan", "aws"),
    (r"mimo", "xiaomi"),
    (r"step", "stepfun"),
    (r"jamba", "ai21"),
    (r"sonar", "perplexity"),
    (r"mercury", "inception"),
    (r"solar", "upstage"),
    (r"seed|doubao", "volcengine"),
    (r"hunyuan|hy\d", "tencent"),
    (r"inkling", "thinkingmachines"),
    (r"trinity|virtuoso|spotlight|coder-large", "arcee"),
    (r"longcat", "longcat"),
    (r"laguna", "poolside"),
    (r"muse", "meta"),
)

_MAKER_PATTERN = re.compile("|".join(f"({pattern})" for pattern, _ in _MAKERS))

_DEARER_REGIONS = frozenset(("eu", "au", "jp", "apac", "ca", "sa", "in", "us-gov", "regional"))

# Clients of these call a server on this machine unless they are told an address.
_LOCAL_PROVIDERS = frozenset(("ollama", "llamacpp", "llamafile", "lm_studio", "lmstudio"))


def host_of(provider: str | None) -> str | None:
    """Return the host that the provider of a name means: "openrouter" of "openrouter/anthropic".

    Bedrock has other prices in some regions, so "bedrock/eu" is the host "aws/eu".
    """
    if not provider:
        return None
    first, _, region = provider.lower().partition("/")
    host = _HOST_OF.get(first, first)
    return f"{host}/{region}" if host == "aws" and region in _DEARER_REGIONS else host


def maker_host(model: str) -> str | None:
    """Return the host of a model's own maker; None if it has none, or it is unknown."""
    found = _MAKER_PATTERN.match(model)
    return None if found is None else _MAKERS[(found.lastindex or 1) - 1][1]


def is_local(provider: str | None = None, base_url: str | None = None) -> bool:
    """Return whether a model is served by this machine, so that its tokens cost nothing.

    Args:
        provider: The provider of its name; Ollama, llama.cpp and LM Studio are local by default.
        base_url: The address of its server; only a loopback address is this machine, or one
            that means all of its own.
    """
    if base_url:
        return _is_loopback(base_url)
    return host_of(provider) in _LOCAL_PROVIDERS


_LOCAL_NAMES = frozenset(("localhost", "host.docker.internal"))  # the latter in a container


def _is_loopback(base_url: str) -> bool:
    address = base_url if "//" in base_url else f"//{base_url}"
    try:
        hostname = urlsplit(address).hostname or ""
    except ValueError:
        return False
    if hostname in _LOCAL_NAMES or hostname.endswith(".localhost"):
        return True
    try:
        address_of_host = ipaddress.ip_address(hostname)
    except ValueError:
        return False
    return address_of_host.is_loopback or address_of_host.is_unspecified  # OLLAMA_HOST=0.0.0.0
