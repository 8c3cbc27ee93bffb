"""Texts, errors and settings without credentials, for records, messages, logs and pickles.

Libraries that find secrets were measured on the same texts (`benchmarks/redaction.py`): they look
for keys in source code and miss most of what errors quote.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from tryage.core.printable import escape_line
from tryage.errors import ClientError

MASK = "***"

_MAX_REDACTED_CHARS = 10_000  # `redact` drops the rest of a longer text
_MAX_MESSAGE_CHARS = 300
_MAX_CAUSES = 8  # a cycle of causes ends
_MIN_KNOWN_CHARS = 6  # a shorter credential of a request is a word such as "none"
_MAX_BODY_BYTES = 2**20  # of a request, in which credentials and texts are looked for
_MIN_TEXT_CHARS, _TEXT_CHARS = 8, 24  # by so many characters a text of a request is known

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
_INNER_QUOTE = r"""(?: \\{0,4}["'](?=\w) | \\{1,4}(?![nrtu"'\s\\]) )"""  # in a key, not at its end
_NO_VALUE = rf"""
    (?! (?i:none|null|true|false|undefined|required|missing|invalid|expired|expected|not|is|must
        |may|was|the|a|an|and|or|for|to|of|in|with|\d{{1,6}})(?![\w-]|{_INNER_QUOTE})
        | [<>\[\]{{}}(|*]|\\n | /s )
"""
_SCHEME = r"(?i:(?:bearer|basic|digest|token|apikey|negotiate|aws4-hmac-sha256)(?:\s+|%20|\+))?"
_VALUE = rf"""
    (?: "[^"\n]+"? | '[^'\n]+'? | \\+["'][^"'\\\n]+ | \w+\(["'][^"'\n]*["']?
      | {_NO_VALUE} {_SCHEME} [^\s"',;}}\\&<)\]]+ (?:{_INNER_QUOTE} [^\s"',;}}\\&<)\]]*)* )
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
# Keys of dicts and of caches, and tokens of models: settings of LangChain and of providers.
_PLAIN_NAMES = re.compile(
    r"(?:prompt_cache|memory|(?:input|output|history)(?:_messages)?|messages|question|answer)_key"
    r"|(?:bos|eos|pad|unk|sep|mask)_token"
)
_WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z]+")


def redact(text: str, *secrets: str | None) -> str:
    """Return the first 10,000 characters with `***` for all that looks like a credential.

    `secrets` are credentials that are known, as for `mask_known`.
    """
    longest = max((len(secret) for secret in secrets if secret), default=0)
    text = mask_known(text[: _MAX_REDACTED_CHARS + 4 * longest], *secrets)  # none is cut in two
    return _SECRETS.sub(_mask, text[:_MAX_REDACTED_CHARS])


def mask_known(text: str, *secrets: str | None) -> str:
    """Return a text with `***` for credentials that are known, whatever they look like.

    They are also found as they stand in JSON, in addresses and in Base64, and where a text with
    them was quoted again: as text in JSON, or as a dict that Python prints.
    """
    forms = {form for secret in secrets if secret for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        if _ESCAPED.search(form):
            text = _quoted_again(form).sub(MASK, text)
        else:
            text = text.replace(form, MASK)
    return text


def describe_error(error: BaseException, *secrets: str | None) -> str:
    """Return an error in one line without secrets: its class and the start of its message.

    Whatever its request has carried as a credential is masked, too. A message that repeats a text
    of the request, such as the prompt, ends there. Control characters, with which a server could
    change what a terminal shows, are escapes.
    """
    return _describe(error, sent_texts(error), *secrets, *sent_credentials(error))


def _describe(error: BaseException, texts: Iterable[str], *secrets: str | None) -> str:
    name = type(error).__name__
    text = ""
    with suppress(Exception):  # a message that cannot be made
        text = str(error)[: 4 * _MAX_REDACTED_CHARS]
    forms = (form for one in texts for form in (one, json.dumps(one)[1:-1]))
    starts = [found.start() for form in forms if (found := _quoted_again(form).search(text))]
    if starts:
        text = text[: min(starts)] + MASK
    message = escape_line(" ".join(redact(text, *secrets).split()))[:_MAX_MESSAGE_CHARS]
    return f"{name}: {message}" if message else name


def redacted_error(error: BaseException, *secrets: str | None) -> ClientError:
    """Return what an error and its causes say, without credentials, to raise another error from.

    Logs and tracebacks print causes in full. The traceback is kept; a message that was redacted
    before stays as it is.
    """
    known, texts = (*secrets, *sent_credentials(error)), sent_texts(error)
    cause: ClientError | None = None
    for original in reversed(list(_causes(error))):
        redacted = ClientError(_describe(original, texts, *known))
        redacted.__cause__ = cause
        cause = redacted.with_traceback(original.__traceback__)
    assert cause is not None  # noqa: S101 - there is at least the error itself
    return cause


def _causes(error: BaseException, *, suppressed: bool = False) -> Iterator[BaseException]:
    """Yield an error and its causes; with `suppressed`, those that no traceback prints, too."""
    link: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if link is None:
            return
        yield link
        is_hidden = link.__suppress_context__ and not suppressed
        link = link.__cause__ or (None if is_hidden else link.__context__)


# Credentials of a request ------------------------------------------------------------------------

# Where errors of clients keep the request that has failed, or its response.
_REQUEST_NAMES = ("request", "response", "raw_response", "http_response")

# Headers and parameters of every client; all others may be of a gateway, and hold a credential.
_PLAIN_HEADERS = re.compile(
    r"accept.*|content-.*|connection|host|user-agent|transfer-encoding|x-stainless-.*|traceparent"
    r"|anthropic-.*|openai-.*|http-referer|x-title|.*-version|date|expect|te|via"
)
_TEXT_NAMES = frozenset(
    {"content", "text", "input", "inputs", "prompt", "system", "instructions", "query"}
)
_PLAIN_PARAMETERS = frozenset({"api-version", "version", "alt", "model", "beta"})

_ADDRESS_PARTS = re.compile(
    r"(?P<scheme>[A-Za-z][\w+.-]*://)(?:(?P<user>[^/?#]*)@)?(?P<place>[^?#]*)"
    r"(?:\?(?P<query>[^#]*))?(?P<fragment>#.*)?"
)
_ESCAPED = re.compile(r"""(\\+["'/]?|["'/])""")  # PHP escapes slashes, too
_RESERVED = re.compile(rb"[^A-Za-z0-9_.~-]")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")

# What people write where a server wants no key.
_PLACEHOLDERS = frozenset(
    {"ollama", "lm-studio", "not-needed", "not needed", "placeholder", "dummy"}
)


def sent_credentials(error: BaseException) -> frozenset[str]:
    """Return the credentials that the failed request of an error carried, whatever they look like.

    A server or a proxy that repeats what it was sent can repeat these alone. They are the values of
    headers and parameters that not every client sends, passwords in the address, and what is named
    as a credential in a JSON body; for requests of httpx, httpx2 and requests.
    """
    found = {one for request in _requests(error) for one in _credentials_of(request)}
    return frozenset(
        text for text in found if len(text) >= _MIN_KNOWN_CHARS and text not in _PLACEHOLDERS
    )


def sent_texts(error: BaseException) -> frozenset[str]:
    """Return the beginnings of the texts that the failed request of an error carried, as JSON.

    A provider may repeat a prompt in an error, whole or in part.
    """
    found = {one for request in _requests(error) for one in _texts_in(_json_body(request))}
    return frozenset(one[:_TEXT_CHARS] for one in found if len(one) >= _MIN_TEXT_CHARS)


def _requests(error: BaseException) -> Iterator[object]:
    """Yield the requests of an error and of its causes."""
    for link in _causes(error, suppressed=True):
        yield from _requests_of(link)


def _requests_of(error: object) -> Iterator[object]:
    """Yield the request of an error, and that of its response."""
    for name in _REQUEST_NAMES:
        with suppress(Exception):  # httpx raises where there is none
            found = getattr(error, name, None)
            if getattr(found, "headers", None) is not None and hasattr(found, "method"):
                yield found
            elif (inner := getattr(found, "request", None)) is not None:
                yield inner


def _credentials_of(request: object) -> Iterator[str]:
    with suppress(Exception):  # of another library, in another form
        for name, value in dict(getattr(request, "headers", None) or {}).items():
            if not _PLAIN_HEADERS.fullmatch(str(name).casefold()):
                yield from _header_credentials(_to_text(value))
        parts = _ADDRESS_PARTS.match(str(getattr(request, "url", "")))
        if parts is not None:
            yield _decoded((parts["user"] or "").partition(":")[2])
            yield from _parameters(parts["query"] or "")
    yield from _named_credentials(_json_body(request))


def _json_body(request: object) -> object:
    """Return the body of a request, None if it is no JSON, or a very long one."""
    with suppress(Exception):  # a stream that was not read, or another library
        body = getattr(request, "content", None) or getattr(request, "body", None) or b""
        if len(body) <= _MAX_BODY_BYTES:
            return json.loads(body)
    return None


def _parameters(query: str) -> Iterator[str]:
    """Yield the values of the parameters of an address that not every client sends."""
    for parameter in query.split("&"):
        name, _, value = parameter.partition("=")
        if name not in _PLAIN_PARAMETERS:
            yield _decoded(value)


def _header_credentials(value: str) -> Iterator[str]:
    """Yield the value of a header, what follows its scheme, and the user's part of Basic."""
    yield value
    scheme, _, rest = value.partition(" ")
    if rest:
        yield rest
    if scheme.casefold() == "basic":
        with suppress(ValueError):
            decoded = base64.b64decode(rest).decode()
            yield decoded
            yield decoded.partition(":")[2]


def _named_credentials(value: object) -> Iterator[str]:
    """Yield the texts in JSON whose name says that they are credentials."""
    for name, text in _named_texts(value):
        if _is_secret_name(name):
            yield text
        elif name == "arguments":  # of a tool, as a text with JSON
            with suppress(ValueError, RecursionError):
                yield from _named_credentials(json.loads(text))


def _texts_in(value: object) -> Iterator[str]:
    """Yield the texts in JSON that stand where the protocols of providers have prompts."""
    return (text.lstrip() for name, text in _named_texts(value) if name in _TEXT_NAMES)


def _named_texts(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts in JSON with their names; those of a list have the name of the list."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _named_texts(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _named_texts(inner, name)
    elif isinstance(value, str):
        yield name, value


def _forms(secret: str) -> Iterator[str]:
    """Yield how a credential may stand in a text: as it is, in JSON, in addresses, in Base64."""
    yield secret
    yield from (json.dumps(secret)[1:-1], repr(secret)[1:-1], repr(secret.encode())[2:-1])
    encoded = _encoded(secret)
    yield from (encoded, encoded.replace("%2F", "/"), encoded.replace("%20", "+"))
    if len(secret) >= _MIN_KNOWN_CHARS:
        base = base64.b64encode(secret.encode()).decode().rstrip("=")
        yield from (base, base.translate(str.maketrans("+/", "-_")))


def _quoted_again(form: str) -> re.Pattern[str]:
    """Return a pattern of a text whose quotes and backslashes were escaped up to three times."""
    parts = _ESCAPED.split(form)  # every second one is what was escaped
    return re.compile(
        "".join(_escapes(part) if i % 2 else re.escape(part) for i, part in enumerate(parts))
    )


def _escapes(part: str) -> str:
    """Return a pattern of backslashes and a quote: each escaping doubles them and adds one."""
    sign = part.lstrip("\\")
    n = len(part) - len(sign)
    return rf"\\{{{n},{8 * n + 7}}}{sign}"


def _encoded(text: str) -> str:
    """Return a text as it stands in an address (RFC 3986), every other character as %XX."""
    return _RESERVED.sub(lambda match: b"%%%02X" % match[0][0], text.encode()).decode()


def _decoded(text: str) -> str:
    plain = text.replace("+", " ").encode()
    return _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), plain).decode()


# Settings ----------------------------------------------------------------------------------------


def is_secret(name: str, value: object) -> bool:
    """Return whether a setting is a credential, judged by its type, its name and its value."""
    if hasattr(value, "get_secret_value"):  # pydantic's SecretStr
        return True
    if value is None or isinstance(value, (bool, int, float)):  # max_tokens, eos_token_id
        return False
    if _is_secret_name(name):
        return True
    return isinstance(value, (str, bytes)) and _looks_secret(_to_text(value))


def has_secrets(settings: Mapping[Any, Any]) -> bool:
    """Return whether any setting is a credential, at any depth."""
    return any(is_secret(str(name), one) or _holds_secret(one) for name, one in settings.items())


def without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without credentials, at any depth.

    Of an address with a password, the address stays: without it, a client would ask another server.
    """
    return {
        name: _without_nested_secrets(value)
        for name, value in settings.items()
        if not is_secret(str(name), value) or _is_plain_address(str(name), value)
    }


def without_credentials(address: str) -> str:
    """Return an address without user, password, and the parameters that look like credentials."""
    parts = _ADDRESS_PARTS.match(address)
    if parts is None:
        return address
    kept = [one for one in (parts["query"] or "").split("&") if not _looks_secret(f"?{one}")]
    query = f"?{'&'.join(kept)}" if any(kept) else ""
    return f"{parts['scheme']}{parts['place']}{query}{parts['fragment'] or ''}"


def _is_plain_address(name: str, value: object) -> bool:
    """Return whether a setting is an address that is no credential without its user's part."""
    if not isinstance(value, str) or "://" not in value or _is_secret_name(name):
        return False
    return not _looks_secret(without_credentials(value))


def _is_secret_name(name: str) -> bool:
    if _PLAIN_NAMES.fullmatch(name):
        return False
    words = [word.casefold() for word in _WORD_BOUNDARY.split(name)]
    return any(word.endswith(_SECRET_ENDINGS) or word in _SECRET_WORDS for word in words)


def _looks_secret(text: str) -> bool:
    return redact(text) != text[:_MAX_REDACTED_CHARS]


def _to_text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _mask(match: re.Match[str]) -> str:
    """Return what stays of a match: the name before a credential, or a harmless text."""
    kept = next((text for text in match.groups() if text is not None), None)
    if kept is None:
        return MASK
    return kept if match.lastgroup == "kept_harmless" else kept + MASK


def _without_nested_secrets(value: Any) -> Any:  # noqa: ANN401 - a setting may have any type
    if isinstance(value, Mapping):
        return without_secrets(value)
    if isinstance(value, str) and is_secret("", value):
        return without_credentials(value)
    if isinstance(value, (list, tuple)):
        kept = [_without_nested_secrets(inner) for inner in value if not _is_secret_item(inner)]
        return tuple(kept) if isinstance(value, tuple) else kept
    return value


def _holds_secret(value: object) -> bool:
    if isinstance(value, Mapping):
        return has_secrets(value)
    if isinstance(value, (list, tuple)):
        return any(_is_secret_item(inner) or _holds_secret(inner) for inner in value)
    return False


def _is_secret_item(value: Any) -> bool:  # noqa: ANN401 - as above
    """Return whether an item of a list is a credential; headers may be pairs of name and value."""
    if isinstance(value, (list, tuple)) and len(value) == 2 and isinstance(value[0], (str, bytes)):
        return is_secret(_to_text(value[0]), value[1])
    return is_secret("", value)
