"""What each answer of the Hub means, from recorded shapes and by hand; nothing is sent."""

from __future__ import annotations

import json
import warnings
from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tryage.errors import (
    HubAccessError,
    HubError,
    HubMissingError,
    HubOfflineError,
    HubQuotaError,
    HubReplyError,
    InputError,
)
from tryage.hub import endpoints as calls
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
MODEL = calls.model_request(SETTINGS, "org/name")
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


def verdict(answer, call=MODEL, *, attempt=0, luck=0.0, token=False):
    return classify_response(call, answer, attempt=attempt, jitter=luck, token_sent=token)


def params(call):
    return [f"{name}={value}" for name, value in call.params]


# What a good answer gives


def test_a_model_is_the_record_as_the_hub_sent_it():
    record = {"_id": "65", "id": "org/name", "gated": False, "née": "🤗"}
    assert verdict(reply(record)) == Success(record)


def test_a_page_holds_records_its_time_and_the_way_to_the_next():
    link = '<https://hub.test/api/models?limit=2&cursor=eyJfaWQ%3D>; rel="next"'
    page = verdict(
        reply([{"id": "a"}, {"id": "b"}], link=link), calls.list_models_request(SETTINGS)
    ).value
    assert page == calls.Page([{"id": "a"}, {"id": "b"}], "limit=2&cursor=eyJfaWQ%3D", NOW)
    again = calls.next_page_request(SETTINGS, page)
    assert again.params == (("limit", "2"), ("cursor", "eyJfaWQ="))
    assert again.params == calls.list_models_request(SETTINGS, cursor=page.next_cursor).params


def test_a_page_without_a_link_is_the_last():
    page = verdict(reply([]), calls.list_models_request(SETTINGS)).value
    assert page.next_cursor is None
    assert calls.next_page_request(SETTINGS, page) is None


def test_a_link_to_another_host_sends_nobody_there():
    link = '<https://evil.test/api/models?cursor=x>; rel="next"'
    page = verdict(reply([], link=link), calls.list_models_request(SETTINGS)).value
    assert calls.next_page_request(SETTINGS, page).url == "https://hub.test/api/models"


@pytest.mark.parametrize(
    "link", ['<https://hub.test/api/models>; rel="next"', '<?cursor=>; rel="next"']
)
def test_a_link_without_a_cursor_would_start_over_and_is_asked_again(link):
    assert isinstance(
        verdict(reply([], link=link), calls.list_models_request(SETTINGS)).error, HubReplyError
    )


def test_a_page_that_leads_to_itself_never_ends_and_is_asked_again():
    call = calls.list_models_request(SETTINGS, cursor="limit=9&cursor=abc")
    again = verdict(reply([], link='<https://hub.test/?cursor=abc>; rel="next"'), call)
    assert "never end" in str(again.error)


def test_links_to_other_pages_are_no_way_on():
    link = '<https://hub.test/?cursor=1>; rel="prev", <https://hub.test/?cursor=3>; rel="next"'
    assert (
        verdict(reply([], link=link), calls.list_models_request(SETTINGS)).value.next_cursor
        == "cursor=3"
    )


def test_security_is_the_state_of_the_scans_and_nothing_when_there_is_none():
    call = calls.security_request(SETTINGS, "org/name")
    scans = {"scansDone": True, "filesWithIssues": []}
    assert params(call) == ["securityStatus=true"]
    assert verdict(reply({"id": "x", "securityRepoStatus": scans}), call) == Success(scans)
    assert verdict(reply({"id": "x"}), call) == Success({})


def test_served_models_are_the_data_of_the_inference_router():
    call = calls.served_models_request(SETTINGS)
    assert call.url == "https://served.test/v1/models"
    assert verdict(reply({"object": "list", "data": [{"id": "m"}]}), call) == Success([{"id": "m"}])


def test_a_leaderboard_is_a_list_of_results():
    call = calls.leaderboard_request(SETTINGS, "org/bench", derived=True)
    assert call.url == "https://hub.test/api/datasets/org/bench/leaderboard"
    assert params(call) == ["base_model=false"]
    assert verdict(reply([{"rank": 1, "modelId": "m"}]), call).value[0]["rank"] == 1


# What is asked again


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"id": "or', b"\xff\xfe", b"[" * 100_000, b"[]", b"null", b"7"]
)
def test_what_is_no_json_object_is_asked_again_and_then_an_error_of_the_reply(body):
    again = verdict(reply(body), attempt=1, luck=0.5)
    assert again.wait_seconds == backoff_seconds(1, 0.5)
    assert isinstance(again.error, HubReplyError)


@pytest.mark.parametrize("body", [{}, {"error": "x"}, [1], [[]], [None]])
def test_a_listing_of_the_wrong_shape_is_asked_again(body):
    assert isinstance(
        verdict(reply(body), calls.list_models_request(SETTINGS)).error, HubReplyError
    )


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_a_server_at_fault_is_asked_again(status):
    again = verdict(reply(b"<html>down</html>", status), attempt=2, luck=0.0)
    assert again.wait_seconds == backoff_seconds(2, 0.0)
    assert f"answered {status}, at attempt 3" in str(again.error)


def test_a_server_that_says_when_it_is_back_is_believed():
    assert verdict(reply(status=503, retry_after=40)).wait_seconds == 40
    assert verdict(reply(status=500, ratelimit='"api";r=9;t=200')).wait_seconds == backoff_seconds(
        0, 0.0
    )


def test_too_many_requests_wait_as_long_as_the_hub_says():
    stated = {"ratelimit": '"api";r=0;t=55'}
    assert verdict(reply(status=429, **stated)).wait_seconds == 55
    again = verdict(reply(status=429, retry_after=7, **stated))
    assert again.wait_seconds == 7
    assert isinstance(again.error, HubQuotaError)
    assert again.error.retry_after == 7


def test_too_many_requests_without_a_time_wait_a_growing_pause():
    again = verdict(reply(status=429), attempt=3, luck=0.0)
    assert (again.wait_seconds, again.error.retry_after) == (backoff_seconds(3, 0.0), None)


def test_a_wait_of_no_time_still_pauses():
    assert verdict(reply(status=429, retry_after=0)).wait_seconds == backoff_seconds(0, 0.0)


def test_a_lost_answer_is_asked_again_and_half_of_one_is_an_error_of_the_reply():
    assert type(verdict(NoResponse("refused")).error) is HubError
    assert type(verdict(NoResponse("cut off", headers_received=True)).error) is HubReplyError


# What is not


@pytest.mark.parametrize(
    ("status", "code", "token", "error"),
    [
        (401, "", False, HubMissingError),  # gone or private: the Hub does not say which
        (401, "", True, HubAccessError),  # with a token it is the token that is bad
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
        verdict(reply({"error": "no"}, status, x_error_code=code), token=token)
    assert type(raised.value) is error
    assert "https://hub.test/api/models/org/name" in str(raised.value)
    assert "(no)" in str(raised.value)


def test_an_anonymous_401_on_a_listing_is_no_vanished_repository():
    with pytest.raises(HubAccessError, match="HF_TOKEN"):
        verdict(reply(status=401), calls.list_models_request(SETTINGS))


def test_a_long_message_of_the_hub_becomes_one_short_line():
    with pytest.raises(HubError) as raised:
        verdict(reply({"error": "word\n" * 10_000}, 400))
    assert len(str(raised.value)) < 300
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "place", ["/api/models/new/name", "https://hub.test/api/models/new/name?x=1#y"]
)
def test_a_renamed_repository_is_where_the_hub_says(place):
    call = calls.model_request(SETTINGS, "org/name", expand=["sha"])
    assert verdict(reply(status=307, location=place), call) == Redirect(
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
def test_nobody_is_sent_to_another_host(place):
    with pytest.raises(HubReplyError, match="another host"):
        verdict(reply(status=302, location=place))


def test_what_the_hub_does_not_know_is_left_out_the_next_time():
    call = calls.list_models_request(SETTINGS, expand=["likes", "aura", "tags", "mood"])
    assert verdict(reply(UNKNOWN, 400), call) == DropFields(frozenset({"aura", "mood"}))
    assert "expand=aura" not in params(call.without_expand(frozenset({"aura"})))
    assert "expand=tags" in params(call.without_expand(frozenset({"aura"})))


@pytest.mark.parametrize("message", ["expand is wrong", "expected something", "", UNKNOWN["error"]])
def test_a_400_that_names_nothing_unknown_is_an_error(message):
    with pytest.raises(HubError, match="answered 400"):
        verdict(
            reply({"error": message}, 400), calls.list_models_request(SETTINGS, expand=["likes"])
        )


@settings(deadline=None, max_examples=60)
@given(
    status=st.integers(100, 599),
    body=st.binary(max_size=40) | st.text(max_size=20).map(lambda text: json.dumps(text).encode()),
    headers=st.dictionaries(
        st.sampled_from(["link", "location", "retry-after", "ratelimit", "x-error-message"]),
        st.text(max_size=30),
    ),
    call=st.sampled_from(
        [MODEL, calls.list_models_request(SETTINGS), calls.served_models_request(SETTINGS)]
    ),
)
def test_whatever_comes_is_a_verdict_or_an_error_of_the_hub(status, body, headers, call):
    try:
        made = classify_response(
            call, HubResponse(status, headers, body, NOW), attempt=0, jitter=0.0, token_sent=True
        )
    except HubError:
        return
    assert isinstance(made, (Success, Retry, Redirect, DropFields))


# What is asked


def test_a_listing_asks_with_the_names_that_the_hub_has_for_its_filters():
    call = calls.list_models_request(
        SETTINGS,
        filters=["license:mit", "en"],
        search="llämä",
        author="org",
        task="text-generation",
        sort="lastModified",
        ascending=True,
        gated=False,
        parameters=(6e9, 6_500_000_000),
        inference_provider="all",
        expand=["sha", "tags"],
        page_size=50,
    )
    assert params(call) == [
        "filter=license:mit", "filter=en", "search=llämä", "author=org",
        "pipeline_tag=text-generation", "gated=false", "num_parameters=min:6B,max:6500M",
        "inference_provider=all", "sort=lastModified", "direction=1", "limit=50", "expand=sha",
        "expand=tags",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "asked"),
    [
        ((None, 1e12), "max:1T"),
        ((0, None), "min:0K"),
        ((1_234_567, None), "min:1235K"),
        ((None, None), None),
    ],
)
def test_parameters_are_asked_for_in_the_largest_exact_unit(limits, asked):
    assert (
        dict(calls.list_models_request(SETTINGS, parameters=limits).params).get("num_parameters")
        == asked
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"sort": "price"},
        {"page_size": 0},
        {"page_size": 1001},
        {"page_size": True},
        {"filters": "en"},
        {"filters": [1]},
        {"expand": "tags"},
        {"parameters": (9, 3)},
        {"parameters": (-1, None)},
        {"parameters": (float("nan"), None)},
        {"cursor": ""},
        {"cursor": "limit=3"},
        {"cursor": b"cursor=x"},
    ],
)
def test_a_listing_that_cannot_be_is_refused_before_it_is_asked(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} must be"):
        calls.list_models_request(SETTINGS, **wrong)


@pytest.mark.parametrize("name", ["", "a/b/c", "../etc", "a b", "a/..", "a?x=1", "é/x", 7, None])
def test_a_name_that_no_repository_can_have_is_refused_before_it_is_asked(name):
    with pytest.raises(InputError, match="org/name"):
        calls.model_request(SETTINGS, name)


def test_a_revision_with_a_slash_stays_one_part_of_the_address():
    assert calls.model_request(SETTINGS, "gpt2", revision="refs/pr/1").url == (
        "https://hub.test/api/models/gpt2/revision/refs%2Fpr%2F1"
    )
    with pytest.raises(InputError, match="revision"):
        calls.model_request(SETTINGS, "gpt2", revision="../../x")


def test_security_and_expand_cannot_be_asked_for_together():
    with pytest.raises(InputError, match="one of them"):
        calls.model_request(SETTINGS, "gpt2", security=True, expand=["sha"])


# One question from its first attempt to its value


class Play:
    """Takes the steps of one question with prepared answers, and remembers them."""

    def __init__(self, settings=SETTINGS):
        self.exchange = RequestFlow(settings, clock=lambda: self.now, jitter=lambda: 0.0)
        self.now = 0.0
        self.asked, self.waited = [], []

    def ask(self, call, *answers):
        steps, prepared, answer = self.exchange.steps(call), iter(answers), None
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
                self.asked.append(step)
                answer = next(prepared)


def with_settings(**changed):
    return Play(HubSettings(**{"endpoint": "https://hub.test", "token": TOKEN, **changed}))


def test_attempts_pause_longer_each_time_until_the_value_comes():
    play = Play()
    value = play.ask(MODEL, reply(status=500), NoResponse("cut"), reply(b"{"), reply({"id": "x"}))
    assert value == {"id": "x"}
    assert play.waited == [backoff_seconds(attempt, 0.0) for attempt in range(3)]


def test_when_no_attempt_is_left_the_last_error_is_raised():
    with pytest.raises(HubError, match="answered 504, at attempt 3"):
        with_settings(retries=2).ask(MODEL, *[reply(status=504)] * 3)


def test_without_retries_there_is_one_attempt():
    play = with_settings(retries=0)
    with pytest.raises(HubReplyError, match="expected JSON"):
        play.ask(MODEL, reply(b"<html>"))
    assert len(play.asked) == 1


def test_a_wait_longer_than_patience_is_an_error_that_says_how_long():
    play = with_settings(max_wait=60)
    with pytest.raises(HubQuotaError) as raised:
        play.ask(MODEL, reply(status=429, retry_after=61))
    assert raised.value.retry_after == 61
    assert play.waited == []


def test_a_used_up_quota_is_waited_for_before_the_next_question():
    play, used_up = Play(), {"ratelimit": '"api";r=0;t=120', "ratelimit-policy": "q=500;w=300"}
    play.ask(MODEL, reply(**used_up))
    assert play.waited == []
    play.ask(MODEL, reply())
    assert play.waited == [120]


def test_a_quota_used_up_for_longer_than_patience_is_an_error_before_anything_is_sent():
    play = with_settings(max_wait=60)
    play.ask(MODEL, reply(ratelimit='"api";r=0;t=120'))
    with pytest.raises(HubQuotaError, match="not asked"):
        play.ask(MODEL)
    assert len(play.asked) == 1


def test_each_host_has_its_own_quota():
    play = Play()
    play.ask(MODEL, reply(ratelimit='"api";r=0;t=120'))
    play.ask(calls.served_models_request(SETTINGS), reply({"data": []}))
    assert play.waited == []


def test_a_rename_is_followed_with_the_token_and_the_same_question():
    play = Play()
    call = calls.model_request(SETTINGS, "org/old", expand=["sha"])
    play.ask(call, reply(status=307, location="/api/models/org/new"), reply({"id": "org/new"}))
    assert [ask.url for ask in play.asked] == [
        "https://hub.test/api/models/org/old",
        "https://hub.test/api/models/org/new",
    ]
    assert play.asked[1].params == (("expand", "sha"),)
    assert play.asked[1].headers["Authorization"] == f"Bearer {TOKEN}"


def test_renames_in_circles_end():
    around = reply(status=307, location="/api/models/org/name")
    with pytest.raises(HubReplyError, match="in circles"):
        Play().ask(MODEL, *[around] * (MAX_REDIRECTS + 1))


def test_the_token_goes_to_the_endpoint_alone():
    play = Play()
    play.ask(calls.served_models_request(SETTINGS), reply({"data": []}))
    assert "Authorization" not in play.asked[0].headers
    assert TOKEN not in repr(play.asked)


def test_an_error_never_shows_the_token_even_when_the_server_does():
    with pytest.raises(HubAccessError) as raised:
        Play().ask(MODEL, reply({"error": f"Invalid token {TOKEN}"}, 401))
    assert TOKEN not in str(raised.value)
    assert "***" in str(raised.value)


def test_offline_no_question_has_a_first_step():
    play = with_settings(offline=True)
    with pytest.raises(HubOfflineError, match="HF_HUB_OFFLINE"):
        play.ask(MODEL)
    assert play.asked == []


def test_what_the_hub_does_not_know_is_said_once_and_never_asked_again():
    play, call = Play(), calls.list_models_request(SETTINGS, expand=["likes", "aura"])
    with pytest.warns(RuntimeWarning, match="does not know aura"):
        play.ask(call, reply(UNKNOWN, 400), reply([]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        play.ask(call, reply([]))
    assert [params(ask).count("expand=aura") for ask in play.asked] == [1, 0, 0]


def test_what_a_listing_does_not_know_a_model_may():
    play = Play()
    with pytest.warns(RuntimeWarning, match="aura"):
        play.ask(
            calls.list_models_request(SETTINGS, expand=["aura"]), reply(UNKNOWN, 400), reply([])
        )
    play.ask(calls.model_request(SETTINGS, "org/name", expand=["aura"]), reply())
    assert params(play.asked[-1]) == ["expand=aura"]
