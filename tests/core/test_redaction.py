"""What counts as a credential, and texts and settings without them."""

from __future__ import annotations

import base64
import importlib.util
import json
import logging
import pickle
import time
import traceback
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import httpx
import pytest
from pydantic import SecretStr

from tryage.core.redaction import (
    describe_error,
    has_secrets,
    is_secret,
    mask_known,
    redact,
    redacted_error,
    sent_credentials,
    sent_texts,
    without_credentials,
    without_secrets,
)
from tryage.errors import ClientError

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def load_benchmark():
    """The script that counts what is masked has the texts, and fills in their placeholders."""
    spec = importlib.util.spec_from_file_location("redaction", BENCHMARKS / "redaction.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


benchmark = load_benchmark()
FORMS, HARMLESS = benchmark.read_texts()


@pytest.mark.parametrize(("text", "secrets"), FORMS, ids=range(len(FORMS)))
def test_of_a_credential_no_part_is_left(text, secrets):
    redacted = redact(f"The server said {text}")
    assert "***" in redacted
    assert not benchmark.leaks(redacted, secrets)
    assert redacted.startswith("The server said ")
    assert redact(redacted) == redacted


@pytest.mark.parametrize("text", HARMLESS, ids=range(len(HARMLESS)))
def test_a_text_without_credentials_stays_as_it_is(text):
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("/v1?h=Authorization%3A%20Bearer%20abc123def456&n=1", "/v1?h=Authorization%3A%20***&n=1"),
        ("/v1?h=authorization%3dBearer+abc123def456", "/v1?h=authorization%3d***"),
        ("/b?url=https%3A%2F%2Fa%3Fapi_key%3Dabc123", "/b?url=https%3A%2F%2Fa%3Fapi_key%3D***"),
        ("/search?q=max_tokens%3D300%20the%20token%20limit&page=2", None),
    ],
)  # fmt: skip
def test_credentials_in_an_address_that_is_encoded_are_masked(text, redacted):
    assert redact(text) == (redacted or text)
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("https://ghp123@host/v1 failed", "https://***@host/v1 failed"),
        ("git+https://TOKEN@github.com/a/b", "git+https://***@github.com/a/b"),
        ("api_key\uff1asecret-value", "api_key\uff1a***"),
        ("password\uff1d hunter2", "password\uff1d ***"),
        ("ssh://git@github.com/a/b", None),
        ("https://example.com/@User1", None),
    ],
)
def test_short_tokens_in_addresses_and_values_after_wide_signs_are_masked(text, redacted):
    assert redact(text) == (redacted or text)
    assert redact(redact(text)) == redact(text)


def test_enough_forms_are_tested():
    assert len(FORMS) >= 60
    assert len(HARMLESS) >= 200


def test_a_known_credential_is_masked_whatever_it_looks_like():
    assert redact("the server echoes plain words", "plain words") == "the server echoes ***"
    assert redact("nothing to mask", None, "") == "nothing to mask"


@pytest.mark.parametrize(
    "written",
    [
        lambda secret: secret,
        lambda secret: secret.replace("\\", "\\\\").replace('"', '\\"'),  # in JSON
        lambda secret: quote(secret, safe=""),
        lambda secret: quote(secret, safe="").replace("%20", "+"),
        lambda secret: base64.b64encode(secret.encode()).decode(),
        lambda secret: repr(secret.encode()),
    ],
    ids=["plain", "JSON", "address", "form", "Base64", "bytes"],
)
def test_a_known_credential_is_masked_in_every_way_of_writing(written):
    secret = 'p@ss/w: "rd\\%'  # noqa: S105 - made up
    text = f"We cannot serve {written(secret)} here."
    assert mask_known(text, secret) in (
        "We cannot serve *** here.", "We cannot serve b'***' here.", "We cannot serve ***= here.",
        "We cannot serve ***== here.",
    )  # fmt: skip


def in_json(text):
    return json.dumps(text)[1:-1]


def in_python(text):
    return repr(text)[1:-1]


@pytest.mark.parametrize("secret", ["a\"b\\8kC34xqxUzbS'c", 'abc"def\\ghi123', "tok'en\\\\99"])
@pytest.mark.parametrize("ending", ["", " next", ", next", "}", '", "code": 3}'])
def test_a_named_credential_with_quotes_in_it_is_masked_up_to_its_end(secret, ending):
    for written in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]):
        assert redact(f"no rating with api_key={written}{ending}") == (
            f"no rating with api_key=***{ending}"
        )


@pytest.mark.parametrize(
    "steps",
    [
        (in_json, in_python),
        (in_python, in_json),
        (in_json, in_json),
        (in_json, in_python, in_json),
        (lambda text: in_json(text).replace("/", "\\/"), in_json),  # as PHP writes JSON
    ],
    ids=["JSON in Python", "Python in JSON", "JSON twice", "three times", "slashes"],
)
@pytest.mark.parametrize("secret", ["a\"b\\kkC34xqxUzbS'c", "\"\\'/x/'\\\"yz8", "p@ss/w: é"])
def test_a_known_credential_is_masked_where_a_quotation_is_quoted_again(steps, secret):
    written = secret
    for step in steps:
        written = step(written)
    assert mask_known(f"We cannot serve {written} here.", secret) == "We cannot serve *** here."


def test_backslashes_without_end_are_searched_quickly():
    start = time.thread_time()
    for text in ("\\" * 10_000, "\\" * 10_000 + '"', 'a"b\\' * 3_000):
        assert mask_known(text, '\\\\"\\"\\\'x') == text
    assert time.thread_time() - start < 2.0


def test_a_known_credential_at_the_end_of_what_is_read_is_not_cut_in_two():
    assert "zq81kw" not in redact("x" * 9_995 + "zq81kw37mn", "zq81kw37mn")


@pytest.mark.parametrize("part", ["eyJ-", "://a:", 'token="', "--", "-----BEGIN", "data:", "sk-"])
def test_of_a_longer_text_ten_thousand_characters_are_read(part):
    assert len(redact(part * 10_000).replace("***", "")) <= 10_000
    assert redact("x" * 20_000) == "x" * 10_000


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnop",
        "sk-ant-api03-abcdefghijklmnop",
        "hf_abcdefghijklmnop",
        "Bearer abc.def-ghi",
        "api_key=abcdef",
        '"api-key": "abcdef"',
        "https://me:hunter2@host/v1",
        "https://host/v1?key=abcdef&x=1",
        "0123456789abcdef0123456789abcdef",
        "AIzaSyA1234567890abcdefghi",
    ],
)
def test_text_that_looks_like_a_credential_is_replaced(secret):
    text = redact(f"The server said {secret} and stopped")
    assert "***" in text
    assert not {"abcdef", "hunter2", "abc.def", "1234567890"} & {
        word for word in ("abcdef", "hunter2", "abc.def", "1234567890") if word in text
    }
    assert text.startswith("The server said ")
    assert text.endswith("and stopped")


def test_text_about_tokens_is_not_a_credential():
    assert redact("tokens per minute: the tokenization failed") == (
        "tokens per minute: the tokenization failed"
    )


def test_an_error_is_described_in_one_short_line():
    assert describe_error(ValueError("a\n b" + "x" * 1_000)) == "ValueError: a b" + "x" * 297
    assert describe_error(TimeoutError()) == "TimeoutError"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key", "anything"),
        ("openai_api_key", "x"),
        ("hf_token", "x"),
        ("apiKey", "x"),
        ("x-api-key", "x"),
        ("Authorization", "Bearer x"),
        ("aws_credentials", {"a": 1}),
        ("whatever", SecretStr("x")),
        ("api_base", "https://user:word@host/v1"),
        ("note", "sk-abcdefgh"),
    ],
)
def test_a_credential_is_recognised_by_its_name_its_type_or_its_form(name, value):
    assert is_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 5),
        ("tokenizer", "gpt2"),
        ("eos_token_id", 2),
        ("api_key", None),
        ("api_base", "https://host/v1"),
        ("model", "gpt-4o"),
    ],
)
def test_other_settings_are_not_credentials(name, value):
    assert not is_secret(name, value)


def test_credentials_are_removed_at_any_depth():
    given = {"a": {"Authorization": "x", "b": ["sk-abcdefgh", "kept"]}, "c": ({"token": "x"},)}
    assert without_secrets(given) == {"a": {"b": ["kept"]}, "c": ({},)}


def test_headers_in_pairs_and_bytes_are_judged_too():
    pairs = [("Authorization", "plain words"), (b"x-api-key", b"plain"), ("Accept", "*/*")]
    assert has_secrets({"headers": pairs})
    assert without_secrets({"headers": pairs}) == {"headers": [("Accept", "*/*")]}
    assert is_secret("note", b"sk-abcdefgh")
    assert not has_secrets({"stop": ["token", "secret"], "n": 5, "deep": [{"a": (1, "b")}]})


def test_of_an_address_with_a_password_the_address_stays():
    given = {"base_url": "https://me:hunter2@host:8000/v1?api-version=2&key=abcdef", "token": "x"}
    assert without_secrets(given) == {"base_url": "https://host:8000/v1?api-version=2"}
    assert without_credentials("http://host/v1") == "http://host/v1"


@pytest.mark.parametrize(
    "name",
    ["pass", "passwd", "db_pwd", "auth", "Cookie", "bearer", "sentryDsn", "jwt", "passphrase"],
)
def test_short_names_of_credentials_are_known(name):
    assert is_secret(name, "hunter")


@pytest.mark.parametrize(
    "name", ["bypass", "author", "compass", "authority", "tokenizer", "passes"]
)
def test_names_that_only_contain_such_a_word_are_not_credentials(name):
    assert not is_secret(name, "hunter")


# Errors and their causes ------------------------------------------------------------------------

KEY = "corp-7f3k29"


def raise_like_a_client():
    """Raise an error with a key, as a client does while it handles another with the key."""
    try:
        int(f"Authorization: Bearer {KEY}")
    except ValueError as cause:
        raise ConnectionError(f"api_key={KEY} was refused") from cause


def raise_without_cause():
    try:
        int(f"token={KEY}")
    except ValueError:
        raise KeyError("choices")  # noqa: B904 - as some clients do


def caught(function):
    with pytest.raises(Exception) as info:  # noqa: PT011 - of any client
        function()
    return info.value


def raise_from_redacted(error):
    raise RuntimeError("all failed") from redacted_error(error)


def test_a_redacted_error_says_class_and_message_of_the_error_and_its_causes():
    error = redacted_error(caught(raise_like_a_client))
    assert str(error) == "ConnectionError: api_key=*** was refused"
    assert "Bearer" not in str(error.__cause__)
    assert str(error.__cause__).startswith("ValueError: invalid literal for int()")
    assert error.__cause__.__cause__ is None


def test_a_log_of_an_error_with_a_redacted_cause_shows_no_credential(caplog):
    original = caught(raise_like_a_client)
    error = caught(lambda: raise_from_redacted(original))
    logging.getLogger("test").error("failed", exc_info=error)
    printed = "".join(traceback.format_exception(error)) + caplog.text
    assert KEY not in printed
    assert "ConnectionError: api_key=***" in printed
    assert "raise_like_a_client" in printed  # where the error came from is still there


def test_the_context_of_an_error_is_redacted_too():
    error = redacted_error(caught(raise_without_cause))
    assert "***" in str(error.__cause__)
    assert KEY not in str(error.__cause__)


def test_causes_in_a_circle_end():
    first, second = ValueError("one"), ValueError("two")
    first.__cause__, second.__cause__ = second, first
    assert isinstance(redacted_error(first), ClientError)


def test_a_redacted_error_can_be_pickled():
    error = redacted_error(caught(raise_like_a_client))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - own bytes


def test_an_error_of_a_server_controls_no_terminal():
    error = ValueError("no \x1b]0;title\x07\x9b2J\u202e such\nmodel")
    assert describe_error(error) == r"ValueError: no \x1b]0;title\x07\x9b2J\u202e such model"


# What the request of an error has carried ---------------------------------------------------------


def failed_request(url="https://host/v1/chat", content=b"", **headers):
    """Return the error of a server that has refused a request with these headers."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = httpx.Request("POST", url, headers=names, content=content)
    response = httpx.Response(400, request=request)
    return httpx.HTTPStatusError("refused", request=request, response=response)


@pytest.mark.parametrize(
    ("error", "secret"),
    [
        (failed_request(Authorization="Bearer plain words"), "plain words"),
        (failed_request(x_api_key="kwozqmtr"), "kwozqmtr"),
        (failed_request(X_Corp_Route="kwozqmtr"), "kwozqmtr"),
        (failed_request(Authorization="Basic bWU6a3dvenFtdHI="), "kwozqmtr"),
        (failed_request("https://me:kwozqmtr@host/v1"), "kwozqmtr"),
        (failed_request("https://host/v1?subscription=kwozqmtr"), "kwozqmtr"),
        (failed_request(content=b'{"extra": [{"user_key": "kwozqmtr"}]}'), "kwozqmtr"),
    ],
)
def test_what_a_request_carried_as_a_credential_is_masked_whatever_it_looks_like(error, secret):
    assert secret in sent_credentials(error)
    repeated = RuntimeError(f"We cannot serve {secret} here.")
    repeated.response = error.response
    assert describe_error(repeated) == "RuntimeError: We cannot serve *** here."
    assert secret not in str(redacted_error(repeated))


def test_what_every_client_sends_is_no_credential():
    error = failed_request(
        "https://host/v1?api-version=2026-10-21",
        content=b'{"model": "m", "messages": [{"role": "user", "content": "Hello there"}]}',
        User_Agent="OpenAI/Python 3.1", X_Stainless_Lang="python", Accept="application/json",
        anthropic_version="2023-06-01", Authorization="Bearer none", X_Api_Key="ollama",
    )  # fmt: skip
    assert sent_credentials(error) <= {"Bearer none"}


def test_a_request_behind_a_hidden_cause_is_found():
    repeated = RuntimeError("We cannot serve kwozqmtr here.")
    repeated.__context__ = failed_request(x_api_key="kwozqmtr")
    repeated.__suppress_context__ = True  # as Ollama's client raises it
    assert "kwozqmtr" not in describe_error(repeated)


@pytest.mark.parametrize(
    "request_",
    [
        SimpleNamespace(headers=5, method="GET", url=None),
        SimpleNamespace(headers={"a": None}, method="GET", url="http://[", content=b"{"),
        None,
        5,
    ],
)
def test_an_odd_request_breaks_nothing(request_):
    error = ValueError("wrong")
    error.request = request_
    assert describe_error(error) == "ValueError: wrong"


PROMPT = "My name is Zacharias Quendolin, and my knee hurts."


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages": [{"role": "user", "content": "%s"}]}',
        b'{"messages": [{"role": "user", "content": [{"type": "text", "text": "%s"}]}]}',
        b'{"contents": [{"parts": [{"text": "%s"}]}]}',
        b'{"input": "%s"}',
    ],
    ids=["OpenAI", "parts", "Gemini", "responses"],
)
@pytest.mark.parametrize("quoted", [PROMPT, PROMPT[:30] + "..."], ids=["whole", "in part"])
def test_a_message_ends_where_it_repeats_the_prompt(body, quoted):
    error = RuntimeError(f"flagged: {quoted} Change it.")
    error.response = failed_request(content=body.replace(b"%s", PROMPT.encode())).response
    assert describe_error(error) == "RuntimeError: flagged: ***"
    assert str(redacted_error(error)) == "RuntimeError: flagged: ***"


def test_a_message_ends_where_it_repeats_a_prompt_of_one_word():
    error = RuntimeError("flagged: Quendolin. Change it.")
    error.response = failed_request(content=b'{"input": "Quendolin"}').response
    assert describe_error(error) == "RuntimeError: flagged: ***"


@pytest.mark.parametrize("steps", [(in_json,), (in_json, in_python), (in_json, in_json)])
def test_a_message_ends_where_it_repeats_a_prompt_with_quotes_that_was_quoted_again(steps):
    prompt = 'My "friend" says\nthat it\'s over.'
    quoted = prompt
    for step in steps:
        quoted = step(quoted)
    error = RuntimeError(f"flagged: {quoted} Change it.")
    error.response = failed_request(content=json.dumps({"input": prompt}).encode()).response
    assert describe_error(error) == "RuntimeError: flagged: ***"


def test_words_of_an_error_that_are_no_text_of_the_request_stay():
    body = b'{"model": "gpt-5.4-mini", "messages": [{"role": "user", "content": "Hello"}]}'
    error = RuntimeError("Hello, the model gpt-5.4-mini does not exist")
    error.response = failed_request(content=body).response
    assert sent_texts(error) == frozenset()
    assert describe_error(error) == "RuntimeError: Hello, the model gpt-5.4-mini does not exist"


def test_the_password_among_the_arguments_of_a_tool_is_masked():
    call = b'{"function": {"name": "f", "arguments": "{\\"password\\": \\"kwozqmtr\\"}"}}'
    assert sent_credentials(failed_request(content=b'{"tool_calls": [%s]}' % call)) == {"kwozqmtr"}


@pytest.mark.parametrize("name", ["prompt_cache_key", "memory_key", "input_key", "eos_token"])
def test_a_name_that_is_no_credential_of_its_own_is_judged_by_its_value(name):
    assert not is_secret(name, "team-7")
    assert is_secret(name, "sk-proj-" + "aB3" * 12)
