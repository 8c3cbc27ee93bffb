"""Texts, errors and settings without credentials, for records, messages, logs and pickles.

Libraries that find secrets were measured on the same texts (`benchmarks/redaction.py`): they look
for keys in source code and miss most of what errors quote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tryage.errors import ClientError

MASK = "***"

_MAX_REDACTED_CHARS = 10_000  # `redact` drops the rest of a longer text
_MAX_MESSAGE_CHARS = 300
_MAX_CAUSES = 8  # a cycle of causes ends

# Each pattern reads a text once, from left to right: no part of it can match in two ways. What a
# group named `kept...` matches stays.

_HARMLESS = r"""
    (?P<kept_harmless>
        data:[\w/+.-]{1,100};base64,[A-Za-z0-9+/=]*                      # an image
      | (?<![A-Za-z])(?i:sha-?\d*|md5|digest|checksum|commit|revision|etag|id)
            ["']?[\s:=]{1,3}["']?[0-9a-f]{32,}
    )
"""

_KEY_BLOCKS = r"-----BEGIN[ A-Z]*PRIVATE\ KEY-----.*?(?:-----END[ A-Z]*PRIVATE\ KEY-----|\Z)"

# Keys that begin with letters of their provider, and tokens that begin as JSON does.
_KEYS_BY_PREFIX = r"""
    (?<![A-Za-z0-9])(?:
        (?:sk|pk|rk|csk|fw)[-_][\w*.-]{8,}                               # OpenAI and others, Stripe
      | (?:hf|gsk|r8|npm|tgp_v1|whsec|dop_v1|shp(?:at|ss|ca|pa))_[\w-]{12,}
      | (?:xai|sess)-[A-Za-z0-9]{12,} | pplx-[A-Za-z0-9]{20,} | nvapi-[\w-]{12,}
      | lsv2_[a-z]{2}_\w{12,} | key-[0-9a-f]{32}
      | AIza[\w-]{10,} | ya29\.[\w-]{10,} | GOCSPX-[\w-]{10,}            # Google
      | gh[opsur]_\w{12,} | github_pat_\w{12,} | gl(?:pat|dt|rt|cbt|ptt)-[\w-]{12,}
      | xox[a-z]-[\w-]{8,} | xapp-[\w-]{8,} | SG\.[\w-]{8,}\.[\w-]{8,} | pypi-[\w-]{16,}
      | (?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}(?:\W{1,4}[A-Za-z0-9/+]{40}=?)?
      | (?<!-)eyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)*                       # a JSON web token
    )
"""

_ADDRESS = r"""
    (?<=://) [^\s/@:"']*:[^\s/"']*(?=@)                                  # user:password@host
  | (?<=://) (?:[^\s/@:"']{16,} | [^\s/@:"'0-9A-Z]*[0-9A-Z][^\s/@:"']*)(?=@)  # not git@host
  | (?P<kept_query>[?&](?i:key|sig|code|auth|signature|x-amz-(?:signature|credential))=)[^&\s"'#]+
"""

# After such a name comes a credential: in headers, assignments, JSON, YAML, XML and arguments.
_NAME = r"""
    (?i:
        (?:api|access|secret|private|account|subscription|master|encryption|signing|license|auth|app
            |consumer|shared|storage|service|session|client|\bx(?:-\w{1,20}){0,3})
            [-_ ]?key(?:[-_ ]?id)?
      | token | secret | password | passwd | passphrase | authorization | credentials?
      | (?<![A-Za-z])(?:pass|pwd|pw|auth|jwt|bearer|dsn|sid|session[-_]?id)
    )
"""
_SEPARATOR = r"""
    (?: ["']\s*,\s*b?(?=["']) | (?i:\s+provided:\s+)
      | \\*["']?\s*(?:=>|:=|[:=\uff1a\uff1d])\s*(?:b(?=["']))?            # with wide signs
      | %3[ADad](?:%20|\+|(?!%20|\+)) )                                  # in an address
"""
_NO_VALUE = r"""
    (?! (?i:none|null|true|false|undefined|required|missing|invalid|expired|expected|not|is|must
        |may|was|the|a|an|and|or|for|to|of|in|with|\d{1,6})(?![\w-]) | [<>\[\]{}(|*]|\\n | /s )
"""
_SCHEME = r"(?i:(?:bearer|basic|digest|token|apikey|negotiate|aws4-hmac-sha256)(?:\s+|%20|\+))?"
_VALUE = rf"""
    (?: "[^"\n]+"? | '[^'\n]+'? | \\+["'][^"'\\\n]+ | \w+\(["'][^"'\n]*["']?
      | {_NO_VALUE} {_SCHEME} [^\s"',;}}\\&<)\]]+ )
"""
_NAMED = rf"""
    (?<![Uu]nexpected\ )(?P<kept_name>{_NAME}{_SEPARATOR}) {_VALUE} (?:,\s*\w+=[^\s,"']+)*
  | (?P<kept_option>--[\w-]{{0,40}}?(?i:key|token|secret|password|pass)[ =])(?!-){_VALUE}
  | (?P<kept_user>\s(?:-u|--user)[ =])[^\s:]+:\S+
  | (?P<kept_element><(?i:\w{{0,40}}?(?:key|token|secret|password))>)[^<\n]+
  | (?P<kept_cookie>(?i:\b(?:set-)?cookie["']?\s*:\s*))[^\r\n]+
"""

_SCHEMES = r"""
    (?P<kept_bearer>\b(?i:bearer)\s+)(?=[^\s"',;]*(?:\d|[._~+/=]\w))[^\s"',;]{6,}
  | (?P<kept_basic>\b(?i:basic)\s+)(?=[A-Za-z0-9+/]*(?:\d|=|[a-z][A-Z]))[A-Za-z0-9+/]{12,}={0,2}
"""

# Azure's keys; as long as an MD5 sum, which is masked too unless it is called one.
_HEX_KEY = r"(?<![\w-])[0-9a-f]{32}(?![\w-])"

_SECRETS = re.compile(
    "|".join((_KEY_BLOCKS, _HARMLESS, _NAMED, _SCHEMES, _KEYS_BY_PREFIX, _ADDRESS, _HEX_KEY)),
    re.VERBOSE | re.DOTALL,
)

# A setting is a credential if a part of its name ends with one of these, or is one of those.
_SECRET_ENDINGS = (
    "key",
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "credentials",
    "authorization",
)
_SECRET_WORDS = frozenset(
    {"pass", "pwd", "pw", "auth", "cookie", "cookies", "bearer", "dsn", "jwt"}
)
_WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z]+")


def redact(text: str, *secrets: str | None) -> str:
    """Return the first 10,000 characters with `***` for all that looks like a credential.

    `secrets` are credentials that are known, whatever they look like.
    """
    shown = text[:_MAX_REDACTED_CHARS]
    for secret in secrets:
        if secret:
            shown = shown.replace(secret, MASK)
    return _SECRETS.sub(_mask, shown)


def describe_error(error: BaseException, *secrets: str | None) -> str:
    """Return an error in one line without secrets: its class and the start of its message."""
    name = type(error).__name__
    text = ""
    with suppress(Exception):  # a message that cannot be made
        text = str(error)
    message = " ".join(redact(text, *secrets).split())[:_MAX_MESSAGE_CHARS]
    return f"{name}: {message}" if message else name


def redacted_error(error: BaseException, *secrets: str | None) -> ClientError:
    """Return what an error and its causes say, without credentials, to raise another error from.

    Logs and tracebacks print causes in full. The traceback is kept; a message that was redacted
    before stays as it is.
    """
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and len(links) < _MAX_CAUSES:
        links.append(link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    cause: ClientError | None = None
    for original in reversed(links):
        redacted = ClientError(describe_error(original, *secrets))
        redacted.__cause__ = cause
        cause = redacted.with_traceback(original.__traceback__)
    assert cause is not None  # noqa: S101 - there is at least the error itself
    return cause


def is_secret(name: str, value: object) -> bool:
    """Return whether a setting is a credential, judged by its type, its name and its value."""
    if hasattr(value, "get_secret_value"):  # pydantic's SecretStr
        return True
    if value is None or isinstance(value, (bool, int, float)):  # max_tokens, eos_token_id
        return False
    words = [word.casefold() for word in _WORD_BOUNDARY.split(name)]
    if any(word.endswith(_SECRET_ENDINGS) or word in _SECRET_WORDS for word in words):
        return True
    return isinstance(value, str) and redact(value) != value[:_MAX_REDACTED_CHARS]


def without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without credentials, at any depth."""
    return {
        name: _without_nested_secrets(value)
        for name, value in settings.items()
        if not is_secret(str(name), value)
    }


def _mask(match: re.Match[str]) -> str:
    """Return what stays of a match: the name before a credential, or a harmless text."""
    kept = next((text for text in match.groups() if text is not None), None)
    if kept is None:
        return MASK
    return kept if match.lastgroup == "kept_harmless" else kept + MASK


def _without_nested_secrets(value: Any) -> Any:  # noqa: ANN401 - a setting may have any type
    if isinstance(value, Mapping):
        return without_secrets(value)
    if isinstance(value, (list, tuple)):
        kept = [_without_nested_secrets(inner) for inner in value if not is_secret("", inner)]
        return tuple(kept) if isinstance(value, tuple) else kept
    return value
