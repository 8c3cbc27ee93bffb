"""What each answer of the Hub means, from recorded shapes and by hand; nothing is sent."""

from __future__ import annotations

import json
import warnings
from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tryage import __version__
from tryage.errors import (
    HubAccessError,
    HubError,
    HubMissingError,
    HubOfflineError,
    HubQuotaError,
    HubReplyError,
)
from tryage.hub import endpoints
from tryage.hub.protocol import (
    MAX_REDIRECTS,
    DropFields,
    HubResponse,
    NoResponse,
    Redirect,
    RequestFlow,
    Retry,
    Send,
    Sleep,
    Success,
    backoff_seconds,
    classify_response,
)
from tryage.hub.settings import HubSettings

NOW = datetime(2026, 11, 21, tzinfo=timezone.utc)
TOKEN = "hf_" + "s3cret" * 5
SETTINGS = HubSettings(endpoint="https://hub.test", inference="https://served.test", token=TOKEN)
MODEL = endpoints.model_request(SETTINGS, "org/name")
LISTING = endpoints.list_models_request(SETTINGS)
# The Hub's own 400 for a field that it does not know, shortened to four valid ones.
UNKNOWN = {
    "error": '✖ Invalid option: expected one of "author"|"downloads"|"likes"|"tags"\n'
    "  → at expand[1]"
}


def reply(body=b"{}", status=200, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HubResponse(
        status, {name.replace("_", "-"): str(v) for name, v in headers.items()}, data, NOW
    )


def classify(answer, request=MODEL, *, attempt=0, jitter=0.0, token=False):
    return classify_response(request, answer, attempt=attempt, jitter=jitter, token_sent=token)


def params(request):
    return [f"{name}={value}" for name, value in request.params]


# Success


def test_a_good_answer_is_a_success_with_its_value():
    record = {"_id": "65", "id": "org/name", "gated": False, "née": "🤗"}
    assert classify(reply(record)) == Success(record)


# Retry


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"id": "or', b"\xff\xfe", b"[" * 100_000, b"[]", b"null", b"7"]
)
def test_an_answer_that_is_not_a_json_object_is_retried_and_then_an_error_of_the_reply(body):
    again = classify(reply(body), attempt=1, jitter=0.5)
    assert again.wait_seconds == backoff_seconds(1, 0.5)
    assert isinstance(again.error, HubReplyError)


@pytest.mark.parametrize("body", [{}, {"error": "x"}, [1], [[]], [None]])
def test_a_listing_of_the_wrong_shape_is_retried(body):
    assert isinstance(classify(reply(body), LISTING).error, HubReplyError)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_a_server_error_is_retried(status):
    again = classify(reply(b"<html>down</html>", status), attempt=2, jitter=0.0)
    assert again.wait_seconds == backoff_seconds(2, 0.0)
    assert f"answered {status}, at attempt 3" in str(again.error)


def test_a_retry_after_of_a_server_error_is_respected():
    assert classify(reply(status=503, retry_after=40)).wait_seconds == 40
    assert classify(reply(status=500, ratelimit='"api";r=9;t=200')).wait_seconds == backoff_seconds(
        0, 0.0
    )


def test_too_many_requests_wait_as_long_as_the_hub_says():
    stated = {"ratelimit": '"api";r=0;t=55'}
    assert classify(reply(status=429, **stated)).wait_seconds == 55
    again = classify(reply(status=429, retry_after=7, **stated))
    assert again.wait_seconds == 7
    assert isinstance(again.error, HubQuotaError)
    assert again.error.retry_after == 7


def test_too_many_requests_without_a_time_wait_a_growing_pause():
    again = classify(reply(status=429), attempt=3, jitter=0.0)
    assert (again.wait_seconds, again.error.retry_after) == (backoff_seconds(3, 0.0), None)


def test_a_retry_after_of_zero_still_pauses():
    assert classify(reply(status=429, retry_after=0)).wait_seconds == backoff_seconds(0, 0.0)


def test_a_missing_answer_is_retried_and_an_incomplete_one_is_an_error_of_the_reply():
    assert type(classify(NoResponse("refused")).error) is HubError
    assert type(classify(NoResponse("cut off", headers_received=True)).error) is HubReplyError


# Errors and other outcomes


@pytest.mark.parametrize(
    ("status", "code", "token", "error"),
    [
        (401, "", False, HubMissingError),  # deleted or private: the Hub does not say which
        (401, "", True, HubAccessError),  # with a token, the token is bad
        (401, "RepoNotFound", True, HubMissingError),
        (404, "RepoNotFound", True, HubMissingError),
        (404, "RevisionNotFound", False, HubMissingError),
        (401, "GatedRepo", False, HubAccessError),
        (403, "GatedRepo", True, HubAccessError),
        (403, "", True, HubAccessError),
        (400, "", True, HubError),
        (418, "", False, HubError),
        (304, "", False, HubError),
    ],
)
def test_a_refusal_is_the_error_that_says_what_to_do(status, code, token, error):
    with pytest.raises(HubError) as raised:
        classify(reply({"error": "no"}, status, x_error_code=code), token=token)
    assert type(raised.value) is error
    assert "https://hub.test/api/models/org/name" in str(raised.value)
    assert "(no)" in str(raised.value)


def test_a_401_without_a_token_on_a_listing_is_an_access_error():
    with pytest.raises(HubAccessError, match="HF_TOKEN"):
        classify(reply(status=401), LISTING)


def test_a_long_message_of_the_hub_becomes_one_short_line():
    with pytest.raises(HubError) as raised:
        classify(reply({"error": "word\n" * 10_000}, 400))
    assert len(str(raised.value)) < 300
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "place", ["/api/models/new/name", "https://hub.test/api/models/new/name?x=1#y"]
)
def test_a_renamed_repository_redirects_to_its_new_address(place):
    request = endpoints.model_request(SETTINGS, "org/name", expand=["sha"])
    assert classify(reply(status=307, location=place), request) == Redirect(
        "https://hub.test/api/models/new/name"
    )


@pytest.mark.parametrize(
    "place",
    [
        "https://evil.test/api/models/org/name",
        "//evil.test/x",
        "http://hub.test/api/models/org/name",
        "https://hub.test:444/x",
        "https://hub.test@evil.test/x",
        "http://[",
        "file:///etc/passwd",
        "",
    ],
)
def test_a_redirect_to_another_host_is_refused(place):
    with pytest.raises(HubReplyError, match="another host"):
        classify(reply(status=302, location=place))


def test_fields_that_a_400_does_not_list_are_dropped():
    request = endpoints.list_models_request(SETTINGS, expand=["likes", "aura", "tags", "mood"])
    assert classify(reply(UNKNOWN, 400), request) == DropFields(frozenset({"aura", "mood"}))
    assert "expand=aura" not in params(request.without_expand(frozenset({"aura"})))
    assert "expand=tags" in params(request.without_expand(frozenset({"aura"})))


@pytest.mark.parametrize("message", ["expand is wrong", "expected something", "", UNKNOWN["error"]])
def test_a_400_that_names_no_unknown_field_is_an_error(message):
    with pytest.raises(HubError, match="answered 400"):
        classify(
            reply({"error": message}, 400),
            endpoints.list_models_request(SETTINGS, expand=["likes"]),
        )


@settings(deadline=None, max_examples=60)
@given(
    status=st.integers(100, 599),
    body=st.binary(max_size=40) | st.text(max_size=20).map(lambda text: json.dumps(text).encode()),
    headers=st.dictionaries(
        st.sampled_from(["link", "location", "retry-after", "ratelimit", "x-error-message"]),
        st.text(max_size=30),
    ),
    request=st.sampled_from([MODEL, LISTING, endpoints.served_models_request(SETTINGS)]),
)
def test_every_answer_is_an_outcome_or_a_hub_error(status, body, headers, request):
    try:
        made = classify_response(
            request, HubResponse(status, headers, body, NOW), attempt=0, jitter=0.0, token_sent=True
        )
    except HubError:
        return
    assert isinstance(made, (Success, Retry, Redirect, DropFields))


# One request, from its first attempt to its value


class ScriptedFlow:
    """Takes the steps of requests with prepared answers, and records them."""

    def __init__(self, settings=SETTINGS):
        self.flow = RequestFlow(settings, clock=lambda: self.now, jitter=lambda: 0.0)
        self.now = 0.0
        self.sent, self.waited = [], []

    def send(self, request, *answers):
        steps, prepared, answer = self.flow.steps(request), iter(answers), None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as done:
                return done.value
            answer = None
            if isinstance(step, Sleep):
                self.waited.append(step.seconds)
                self.now += step.seconds
            else:
                assert isinstance(step, Send)
                self.sent.append(step)
                answer = next(prepared)


def with_settings(**changed):
    return ScriptedFlow(HubSettings(**{"endpoint": "https://hub.test", "token": TOKEN, **changed}))


def test_pauses_between_attempts_grow_until_the_value_comes():
    flow = ScriptedFlow()
    value = flow.send(MODEL, reply(status=500), NoResponse("cut"), reply(b"{"), reply({"id": "x"}))
    assert value == {"id": "x"}
    assert flow.waited == [backoff_seconds(attempt, 0.0) for attempt in range(3)]


def test_when_no_attempt_is_left_the_last_error_is_raised():
    with pytest.raises(HubError, match="answered 504, at attempt 3"):
        with_settings(retries=2).send(MODEL, *[reply(status=504)] * 3)


def test_without_retries_there_is_one_attempt():
    flow = with_settings(retries=0)
    with pytest.raises(HubReplyError, match="expected JSON"):
        flow.send(MODEL, reply(b"<html>"))
    assert len(flow.sent) == 1


def test_a_wait_longer_than_max_wait_is_an_error_that_says_how_long():
    flow = with_settings(max_wait=60)
    with pytest.raises(HubQuotaError) as raised:
        flow.send(MODEL, reply(status=429, retry_after=61))
    assert raised.value.retry_after == 61
    assert flow.waited == []


def test_after_a_used_up_quota_the_next_request_waits():
    flow = ScriptedFlow()
    used_up = {"ratelimit": '"api";r=0;t=120', "ratelimit-policy": "q=500;w=300"}
    flow.send(MODEL, reply(**used_up))
    assert flow.waited == []
    flow.send(MODEL, reply())
    assert flow.waited == [120]


def test_a_quota_used_up_for_longer_than_max_wait_is_an_error_before_anything_is_sent():
    flow = with_settings(max_wait=60)
    flow.send(MODEL, reply(ratelimit='"api";r=0;t=120'))
    with pytest.raises(HubQuotaError, match="not asked"):
        flow.send(MODEL)
    assert len(flow.sent) == 1


def test_each_host_has_its_own_quota():
    flow = ScriptedFlow()
    flow.send(MODEL, reply(ratelimit='"api";r=0;t=120'))
    flow.send(endpoints.served_models_request(SETTINGS), reply({"data": []}))
    assert flow.waited == []


def test_a_rename_is_followed_with_the_token_and_the_same_parameters():
    flow = ScriptedFlow()
    request = endpoints.model_request(SETTINGS, "org/old", expand=["sha"])
    flow.send(request, reply(status=307, location="/api/models/org/new"), reply({"id": "org/new"}))
    assert [step.url for step in flow.sent] == [
        "https://hub.test/api/models/org/old",
        "https://hub.test/api/models/org/new",
    ]
    assert flow.sent[1].params == (("expand", "sha"),)
    assert flow.sent[1].headers["Authorization"] == f"Bearer {TOKEN}"


def test_redirects_in_a_circle_are_an_error():
    around = reply(status=307, location="/api/models/org/name")
    with pytest.raises(HubReplyError, match="in a circle"):
        ScriptedFlow().send(MODEL, *[around] * (MAX_REDIRECTS + 1))


def test_a_request_names_the_version_of_tryage():
    flow = ScriptedFlow()
    flow.send(MODEL, reply())
    assert flow.sent[0].headers["User-Agent"] == f"tryage/{__version__}"


def test_the_token_is_sent_to_the_endpoint_alone():
    flow = ScriptedFlow()
    flow.send(endpoints.served_models_request(SETTINGS), reply({"data": []}))
    assert "Authorization" not in flow.sent[0].headers
    assert TOKEN not in repr(flow.sent)


def test_an_error_never_shows_the_token_even_when_the_server_does():
    with pytest.raises(HubAccessError) as raised:
        ScriptedFlow().send(MODEL, reply({"error": f"Invalid token {TOKEN}"}, 401))
    assert TOKEN not in str(raised.value)
    assert "***" in str(raised.value)


def test_offline_nothing_is_sent():
    flow = with_settings(offline=True)
    with pytest.raises(HubOfflineError, match="HF_HUB_OFFLINE"):
        flow.send(MODEL)
    assert flow.sent == []


def test_an_unknown_field_is_warned_of_once_and_never_sent_again():
    flow, request = (
        ScriptedFlow(),
        endpoints.list_models_request(SETTINGS, expand=["likes", "aura"]),
    )
    with pytest.warns(RuntimeWarning, match="does not know aura"):
        flow.send(request, reply(UNKNOWN, 400), reply([]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flow.send(request, reply([]))
    assert [params(step).count("expand=aura") for step in flow.sent] == [1, 0, 0]


def test_a_field_unknown_to_a_listing_is_still_asked_of_a_model():
    flow = ScriptedFlow()
    with pytest.warns(RuntimeWarning, match="aura"):
        flow.send(
            endpoints.list_models_request(SETTINGS, expand=["aura"]), reply(UNKNOWN, 400), reply([])
        )
    flow.send(endpoints.model_request(SETTINGS, "org/name", expand=["aura"]), reply())
    assert params(flow.sent[-1]) == ["expand=aura"]
