"""What providers say when they refuse a request: their codes and words, and what each concerns.

Most are from real answers, which `tests/fixtures/provider_errors.json` has with their sources; some
are from the code of servers and of clients. A new one is a row here and a row there.
"""

from __future__ import annotations

import re
from enum import Enum

_MAX_CHARS = 4_000  # of a message; what follows is mostly an echo of the request


class ErrorScope(Enum):
    """What an error of a model concerns, and so whom else it would meet."""

    MODEL = "model"
    """The model, whatever it is asked: down, overloaded, out of quota, without a valid key."""

    PAIR = "pair"
    """This request to this model: too long, an unsupported parameter, an answer that is unusable.
    Another model may answer this request, and this model another request."""

    REQUEST = "request"
    """The request, whichever model is asked: malformed messages."""

    FINAL = "final"
    """A judgement or a mistake that no other model may get around: a content filter, a bug."""


# Codes are compared without case and without all but letters and digits; a part is enough.
CODES: tuple[tuple[ErrorScope, tuple[str, ...]], ...] = (
    (
        ErrorScope.FINAL,
        (
            "contentfilter",
            "contentpolicy",
            "responsibleai",
            "moderation",
            "invalidprompt",  # OpenAI's reasoning models: flagged by its usage policy
            "datainspectionfailed",  # Alibaba
        ),
    ),
    (
        ErrorScope.MODEL,
        (
            "billinghardlimitreached",
            "insufficientquota",
            "budgetexceeded",  # LiteLLM: of a key, a user or a team
            "apikeyinvalid",
            "apikeyexpired",
            "invalidapikey",
            "modeldecommissioned",
            "modelnotfound",
            "modelnotavailable",
            "modelnotsupported",  # Hugging Face: by no provider of this account
            "unknownmodel",
            "invalidmodel",
            "operationnotsupported",  # Azure: the deployment's model has no chat
            "unsupportedcountryregionterritory",
            "overloaded",
        ),
    ),
    (
        ErrorScope.PAIR,
        (
            "contextlengthexceeded",
            "contextwindowexceeded",
            "contextoverflow",
            "exceedcontextsize",  # llama.cpp
            "stringabovemaxlength",
            "requesttoolarge",
            "unsupportedparameter",
            "unsupportedvalue",
            "extraforbidden",  # Mistral: a parameter that it does not know
            "jsonvalidatefailed",  # Groq: the model wrote no valid JSON
            "toolusefailed",  # Groq: the model wrote no valid tool call
        ),
    ),
)

# Whose words, what they concern, and a pattern, compared without case. The first match counts.
PHRASES: tuple[tuple[str, ErrorScope, str], ...] = (
    # A filter judged the content. These come first: such a prompt goes to nobody else.
    ("Azure", ErrorScope.FINAL, r"content management polic"),
    ("Anthropic", ErrorScope.FINAL, r"content (filter|polic)"),
    ("OpenAI, xAI", ErrorScope.FINAL, r"usage (polic|guideline)"),
    ("OpenAI", ErrorScope.FINAL, r"safety (system|filter)"),
    ("OpenAI, OpenRouter", ErrorScope.FINAL, r"(prompt|input|content|request) was flagged"),
    ("OpenRouter", ErrorScope.FINAL, r"requires moderation"),
    ("Xiaomi", ErrorScope.FINAL, r"moderation block|considered high risk"),
    ("DeepSeek", ErrorScope.FINAL, r"content exists risk"),
    ("Google", ErrorScope.FINAL, r"responsible ai|prohibited[_ ]content"),
    ("Alibaba", ErrorScope.FINAL, r"inappropriate content"),
    # The account pays nothing, the key is refused, or the place is not served.
    ("Anthropic", ErrorScope.MODEL, r"credit balance is too low|api usage limits"),
    ("OpenAI", ErrorScope.MODEL, r"billing hard limit|exceeded your current quota"),
    ("DeepSeek", ErrorScope.MODEL, r"insufficient balance"),
    ("LiteLLM", ErrorScope.MODEL, r"budget has been exceeded|exceeded ?budget"),
    ("Fireworks", ErrorScope.MODEL, r"account \S+ is suspended|spending limit"),
    ("Anthropic, Groq", ErrorScope.MODEL, r"organization has been (disabled|restricted)"),
    ("Google, xAI", ErrorScope.MODEL, r"api[_ ]?key"),
    ("Google", ErrorScope.MODEL, r"user location is not supported|not available in your country"),
    # The model is gone, unknown, or not served in this way.
    ("Groq", ErrorScope.MODEL, r"decommissioned|no longer (supported|available)"),
    ("OpenAI, DeepSeek", ErrorScope.MODEL, r"\bmodel\b.{0,100}\b(does )?not (exist|found)\b"),
    ("LM Studio", ErrorScope.MODEL, r"no models loaded"),
    ("Mistral", ErrorScope.MODEL, r"invalid model\b"),
    ("OpenRouter", ErrorScope.MODEL, r"not a valid model"),
    ("Together", ErrorScope.MODEL, r"unable to access (non-serverless )?model"),
    ("Azure", ErrorScope.MODEL, r"operation does not work with the specified model"),
    ("Bedrock", ErrorScope.MODEL, r"model identifier is invalid|on-demand throughput"),
    # A package of a client says that the answer was no answer.
    ("LangChain", ErrorScope.MODEL, r"no generation chunks were returned|no data received"),
    ("LangChain", ErrorScope.MODEL, r"unexpected response type|null value for 'choices'"),
    ("LangChain", ErrorScope.MODEL, r"'(nonetype|list|str)' object has no attribute 'model_dump'"),
    # The input is too long.
    ("OpenAI, vLLM", ErrorScope.PAIR, r"(maximum|model'?s) context (length|limit|window)"),
    ("OpenAI", ErrorScope.PAIR, r"exceeds? the (available )?context (window|size|length|limit)"),
    ("OpenAI", ErrorScope.PAIR, r"input tokens exceed the configured limit|string too long"),
    ("Anthropic", ErrorScope.PAIR, r"prompt is too long|exceed context limit"),
    ("Anthropic", ErrorScope.PAIR, r"long context requests"),
    ("Anthropic", ErrorScope.PAIR, r"maximum allowed number of output tokens"),
    ("OpenAI", ErrorScope.PAIR, r"max_tokens is too large"),
    ("Google", ErrorScope.PAIR, r"token count\b.{0,40}\bexceeds"),
    ("OpenAI, Groq", ErrorScope.PAIR, r"request too large|reduce the length of the messages"),
    ("Mistral", ErrorScope.PAIR, r"too large for model"),
    ("Bedrock", ErrorScope.PAIR, r"input is too long"),
    ("xAI", ErrorScope.PAIR, r"maximum prompt length is"),
    ("Hugging Face", ErrorScope.PAIR, r"max_new_tokens|must have less than \d+ tokens"),
    ("Cohere", ErrorScope.PAIR, r"too many tokens: total number"),
    # The model cannot do what is asked.
    (
        "all",
        ErrorScope.PAIR,
        r"(\bnot|n.t) support|\bunsupported\b|endpoints found that support",
    ),
    ("all", ErrorScope.PAIR, r"extra inputs are not permitted"),
    ("OpenAI", ErrorScope.PAIR, r"unrecognized request argument"),
    ("Mistral", ErrorScope.PAIR, r"input should be (less|greater) than"),  # a parameter
    ("Google", ErrorScope.PAIR, r"is not enabled for"),
    ("Anthropic", ErrorScope.PAIR, r"(specified|deprecated) for this model"),
    ("Anthropic", ErrorScope.PAIR, r"thinking\.signature|`signature` in `thinking`"),
    ("vLLM", ErrorScope.PAIR, r"tool choice requires|at most \d+ (image|video|audio)"),
    ("vLLM", ErrorScope.PAIR, r"not a multimodal model|roles must alternate"),
    ("DeepSeek", ErrorScope.PAIR, r"unknown variant `\w+`, expected `text`"),
    ("DeepSeek", ErrorScope.PAIR, r"messages\[\d+\]: invalid type: sequence, expected a string"),
    ("Mistral", ErrorScope.PAIR, r"role 'user' after role 'tool'|expected last role user"),
    ("Groq", ErrorScope.PAIR, r"failed to (generate json|call a function)"),
    ("Groq", ErrorScope.PAIR, r"tool call validation failed"),
)

_NON_CODE = re.compile(r"[^a-z0-9]+")
_SCOPES = (ErrorScope.FINAL, ErrorScope.MODEL, ErrorScope.PAIR)
_PATTERNS = {
    scope: re.compile("|".join(f"(?:{pattern})" for _, of, pattern in PHRASES if of is scope))
    for scope in _SCOPES
}
_CODES = dict(CODES)


def scope_of_words(codes: list[str], text: str) -> ErrorScope | None:
    """Return what an error with these codes and this message concerns, None if they are unknown."""
    normalized_codes = [_NON_CODE.sub("", code.casefold()) for code in codes]
    folded_text = text[:_MAX_CHARS].casefold()
    for scope in _SCOPES:
        known = any(code in given for given in normalized_codes for code in _CODES[scope])
        if known or _PATTERNS[scope].search(folded_text):
            return scope
    return None
