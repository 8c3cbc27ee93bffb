"""The words that names of models are made of beside the models: providers, efforts, states."""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Before a colon. "llama3:8b" has the same form as "openai:gpt-4o", so the form is not enough.
PROVIDERS = _words(
    """
    ai21 amazon anthropic anthropic_bedrock azure azure_ai azure_openai baseten bedrock
    bedrock_converse cerebras cloudflare cohere cohere_chat dashscope databricks deepinfra deepseek
    fireworks fireworks_ai gemini github github_copilot google google_anthropic_vertex google_genai
    google_vertexai groq hosted_vllm huggingface ibm litellm llamacpp llamafile lm_studio lmstudio
    meta minimax mistral mistralai moonshot moonshotai nebius novita nvidia nvidia_nim ollama
    ollama_chat openai openai_like openrouter perplexity replicate sagemaker sambanova together
    together_ai upstage vertex_ai vllm volcengine watsonx xai x-ai zai z-ai zhipuai
    """
)

# Hosts of other makers' models, in a name: "deepseek-fireworks-v3", "llama-4-scout-maas".
HOST_WORDS = _words("bedrock fireworks maas openrouter sambanova tee together")

# A maker that is written before or into its own name: "Meta-Llama-3.1", "googlegemini-3".
MAKER_PREFIX = re.compile(
    r"(?:c4ai[-_ ](?=command|aya)"
    r"|(?:labs|open)[-_](?=codestral|devstral|mistral|mixtral)"
    r"|databricks[-_](?=[a-z])"
    r"|(?:azure|bedrock|groq|snowflake|together|vertex)[-_]"
    r"(?=claude|dbrx|deepseek|gemini|gemma|gpt|llama|meta-llama|mistral|mixtral|qwen)"
    r"|(?P<maker>"
    r"ai21[-_ ]?(?=jamba)|amazon[-_ ]?(?=nova|titan)|arcee(?:-ai)?[-_ ]?(?=trinity)"
    r"|bytedance[-_ ](?=seed)"
    r"|cohere[-_ ]?(?=command|north)|google[-_ ]?(?=gemini|gemma)|ibm-granite(?=granite)"
    r"|inception(?=mercury)|inclusionai(?=ling|ring)|meituan(?=longcat)|poolside(?=laguna)"
    r"|tencent(?=hy\d|hunyuan)|meta[-_ ]?llama[-_ ]?(?=llama)|meta[-_ ]?(?=llama|muse)"
    r"|microsoft[-_ ]?(?=phi)|minimax[-_ ]?(?=minimax)|mistralai[-_ ]?(?=[a-z]+stral)"
    r"|moonshotai[-_ ]?(?=kimi)|nousresearch[-_ ]?(?=hermes)"
    r"|(?:nvidia){1,2}[-_ ]?(?=nemotron|llama)"
    r"|openai[-_ ]?(?=gpt|o\d)|anthropic[-_ ]?(?=claude)|deepseek(?=deepseek)"
    r"|prime-?intellect[-_ ]?(?=intellect)|qwen(?=qwen|qwq)|stepfun[-_ ]?(?=step)"
    r"|thinkingmachines[-_ ]?(?=inkling)|x-?ai[-_ ]?(?=grok)|xiaomi[-_ ]?(?=mimo)"
    r"|z-?ai(?:-org)?[-_ ]?(?=glm)|writer[-_ ]?(?=palmyra)))"
)

# An agent that calls the model: "droid_gpt-5".
AGENT_PREFIX = re.compile(r"[a-z][a-z-]*_(?=(?:claude|gemini|gpt|grok|qwen)-)")

# After a colon, or at the end: how a model is served, not which model it is.
DEPLOYMENT_TAGS = _words("free nitro floor online extended exacto beta latest cloud")

EFFORT_WORDS = _words(
    """
    none minimal low med medium high xhigh max default unknown think thinking reasoning
    nothink nothinking thinkhigh thinklow highthinking lowthinking adaptive
    """
)

# After an effort: "high-effort", "thinking-auto".
QUALIFIERS = _words("effort auto budget extended mode tokens")

NO_EFFORT_WORDS = frozenset(("none", "nothink", "nothinking"))

# Words of effort that are a size or other weights in a family.
WORDS_OF_MODELS = frozenset(
    (
        *(("phi", "medium"), ("phi3", "medium"), ("phi", "reasoning"), ("phi4", "reasoning")),
        *(("ministral", "reasoning"), ("mistral", "reasoning"), ("command", "reasoning")),
    )
)

# Families of which the names of chat models tell that they answer without reasoning.
CHAT_FAMILIES = frozenset(("gpt", "kimi"))

# Families of which "max" is an effort, and of which "16k" is a budget of reasoning tokens; in other
# families the one is a model (qwen3-max) and the other a context (gpt-3.5-turbo-16k).
MAX_EFFORT_FAMILIES = _words("claude deepseek glm gpt grok kimi")
BUDGET_FAMILIES = frozenset(("claude", "gemini"))

# Families that one maker serves: a word of effort before a date is no model of its own.
CLOSED_FAMILIES = _words("claude deepseek gemini gpt grok o1 o3 o4")

# Words that tell no two versions of a model apart: names of the newest one, kinds of tuning, and
# stages of a release. Each is dropped only where what is left still tells the version.
ALIAS_WORDS = _words("latest instruct hf new basic")
TUNING_WORDS = _words("instant chat it versatile")
RELEASE_WORDS = _words("preview exp experimental beta ga")
STATUS_WORDS = ALIAS_WORDS | TUNING_WORDS | RELEASE_WORDS

# Families whose tier is written before or after the version.
TIER_WORDS = {
    "claude": _words("opus sonnet haiku instant fable mythos"),
    "gemini": _words("flash pro ultra nano"),
    "nemotron": _words("nano super ultra"),
}

# The size that Ollama serves under a name without a tag, from its library.
OLLAMA_SIZES = {
    "aya-expanse": "8b",
    "codellama": "7b",
    "deepseek-r1": "8b",
    "dolphin3": "8b",
    "falcon3": "7b",
    "gemma2": "9b",
    "gemma3": "4b",
    "glm4": "9b",
    "gpt-oss": "20b",
    "granite3.1-dense": "8b",
    "granite3.2": "8b",
    "granite3.3": "8b",
    "hermes3": "8b",
    "llama2": "7b",
    "llama3": "8b",
    "llama3.1": "8b",
    "llama3.2": "3b",
    "llama3.3": "70b",
    "mistral": "7b",
    "mistral-nemo": "12b",
    "mixtral": "8x7b",
    "nemotron-mini": "4b",
    "olmo2": "7b",
    "qwen2": "7b",
    "qwen2.5": "7b",
    "qwen2.5-coder": "7b",
    "qwen3": "8b",
    "qwq": "32b",
    "smollm2": "1.7b",
    "tulu3": "8b",
}
