"""`HubClient` against a real server: the same answers, whatever goes wrong on the way."""

from __future__ import annotations

import base64
import gzip
import inspect
import itertools
import json
import threading
import time
from dataclasses import replace

import pytest

from tryage import errors
from tryage.hub import client as client_module
from tryage.hub.client import HubClient
from tryage.hub.settings import HubSettings
from tryage.testing.hub import (
    ConnectionDropped,
    FakeResponse,
    LocalHub,
    ServerError,
    Slow,
    TooManyRequests,
    Truncated,
    WrongJson,
    WrongShape,
)

NAMES = [f"org/model-{number:02}" for number in range(25)]
FAULTS = [
    TooManyRequests(after=3),
    TooManyRequests(after=3, retry_after=False),
    ServerError(500),
    ServerError(504),
    Truncated(),
    ConnectionDropped(),
    WrongJson(),
    WrongShape(),
]
ERRORS = (
    [errors.HubQuotaError] * 2
    + [errors.HubError] * 2
    + [errors.HubReplyError, errors.HubError]
    + [errors.HubReplyError] * 2
)
FAULT_IDS = [f"{index}-{type(fault).__name__}" for index, fault in enumerate(FAULTS)]


@pytest.fixture
def hub():
    with LocalHub() as local:
        local.load({"id": name, "downloads": 100 - n} for n, name in enumerate(NAMES))
        yield local


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now = 0.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def ask(settings, method, *args, clock=None, **options):
    """Call one method of a new client; a generator becomes a list."""
    clock = clock or Clock()
    with HubClient(settings, sleep=clock.sleep, clock=clock, jitter=lambda: 0.0) as client:
        answer = getattr(client, method)(*args, **options)
        return list(answer) if inspect.isgenerator(answer) else answer


def at(hub, **changed):
    return HubSettings(**{"endpoint": hub.url, "inference": hub.url, **changed})


def names(pages):
    return [record["id"] for page in pages for record in page.records]


# Answers


def test_the_pages_hold_every_model_once_in_order(hub):
    pages = ask(at(hub), "pages", page_size=10)
    assert [len(page.records) for page in pages] == [10, 10, 5]
    assert names(pages) == NAMES


def test_a_listing_goes_on_from_a_stored_cursor_even_at_another_address(hub):
    first = ask(at(hub), "pages", page_size=10)[0]
    with LocalHub() as moved:
        moved.load(hub.record(name) for name in hub)
        assert names(ask(at(moved), "pages", cursor=first.next_cursor)) == NAMES[10:]


def test_a_page_says_when_it_was_fetched_in_utc(hub):
    fetched = ask(at(hub), "pages")[0].fetched_at
    assert fetched.utcoffset().total_seconds() == 0
    assert abs(fetched.timestamp() - time.time()) < 60


def test_fields_that_a_hub_does_not_know_are_left_out_with_a_warning(hub):
    with pytest.warns(RuntimeWarning, match="does not know aura;"):
        pages = ask(at(hub), "pages", expand=["downloads", "aura"], page_size=10)
    assert pages[0].records[0].keys() == {"_id", "id", "downloads"}
    assert names(pages) == NAMES


def test_a_model_with_its_scans_the_served_models_and_a_leaderboard_are_returned(hub):
    hub.served.append({"id": NAMES[0], "providers": [{"provider": "p", "pricing": None}]})
    hub.leaderboards["org/bench"] = [{"rank": 1, "modelId": NAMES[0], "value": 0.5}]
    assert ask(at(hub), "model", NAMES[3])["id"] == NAMES[3]
    scans = ask(at(hub), "model", NAMES[3], security=True)["securityRepoStatus"]
    assert scans["filesWithIssues"] == []
    assert ask(at(hub), "served_models") == hub.served
    assert ask(at(hub), "leaderboard", "org/bench") == hub.leaderboards["org/bench"]


def test_a_renamed_model_is_found_and_has_its_new_name(hub):
    before = ask(at(hub), "model", NAMES[0])
    hub.rename(NAMES[0], "new-org/new-name")
    after = ask(at(hub), "model", NAMES[0])
    assert (after["_id"], after["id"]) == (before["_id"], "new-org/new-name")


def test_invalid_arguments_of_a_listing_are_refused_before_its_first_page(hub):
    with HubClient(at(hub)) as client, pytest.raises(errors.InputError, match="sort"):
        client.pages(sort="price")


# Many models at once


def test_each_of_many_models_comes_with_its_record_or_its_error(hub):
    hub.remove(NAMES[1])
    hub.fail(ServerError(500), when=lambda request: request.path.endswith(NAMES[2]), times=None)
    found = dict(ask(at(hub, retries=1), "iter_models", NAMES, concurrency=3))
    assert found.keys() == set(NAMES)
    assert type(found.pop(NAMES[1])) is errors.HubMissingError
    assert type(found.pop(NAMES[2])) is errors.HubError
    assert all(record["id"] == name for name, record in found.items())


def test_no_more_than_concurrency_models_are_asked_for_at_once(hub):
    active, counts = [], []

    def count(request, answer):
        active.append(request)
        counts.append(len(active))
        time.sleep(0.005)
        active.remove(request)
        return answer()

    hub.fail(count, times=None)
    assert len(ask(at(hub), "iter_models", NAMES, concurrency=3)) == len(NAMES)
    assert 1 < max(counts) <= 3


@pytest.mark.parametrize("concurrency", [0, -1, True, 1.5, "8"])
def test_a_concurrency_below_one_or_of_another_type_is_refused(hub, concurrency):
    with pytest.raises(errors.InputError, match="concurrency"):
        ask(at(hub), "iter_models", NAMES, concurrency=concurrency)


def test_an_invalid_name_among_many_is_refused(hub):
    with pytest.raises(errors.InputError, match="org/name"):
        ask(at(hub), "iter_models", [*NAMES, "../etc"])


def test_names_are_taken_only_when_there_is_room_for_them(hub):
    remaining = iter(NAMES)
    with HubClient(at(hub)) as client:
        found = client.iter_models(remaining, concurrency=2)
        next(found)
        assert next(remaining) == NAMES[2]


def test_leaving_many_models_early_leaves_no_thread_behind(hub):
    before = set(threading.enumerate())
    with HubClient(at(hub)) as client:
        found = client.iter_models(itertools.cycle(NAMES), concurrency=4)
        assert {next(found)[0] for _ in range(5)} <= set(NAMES)
        found.close()
    wait_for(lambda: not [t for t in set(threading.enumerate()) - before if "tryage" in t.name])


def test_one_client_serves_many_threads(hub):
    results = []
    with HubClient(at(hub)) as client:

        def work():
            results.extend(client.model(name)["id"] for name in NAMES)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(results) == sorted(NAMES * 6)


# Faults on the way


@pytest.mark.parametrize("fault", FAULTS, ids=FAULT_IDS)
@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_fault_that_passes_costs_time_and_changes_no_answer(hub, fault, step):
    hub.fail(fault, skip=step, times=2)
    clock = Clock()
    assert names(ask(at(hub), "pages", page_size=10, clock=clock)) == NAMES
    assert len(hub.requests) == 3 + 2
    assert sum(clock.slept) > 0


@pytest.mark.parametrize(
    ("fault", "error"),
    list(zip(FAULTS, ERRORS, strict=True)),
    ids=FAULT_IDS,
)
def test_a_fault_that_stays_is_its_own_clear_error(hub, fault, error):
    hub.fail(fault, times=None)
    with pytest.raises(errors.HubError) as raised:
        ask(at(hub, retries=2), "pages")
    assert type(raised.value) is error
    assert f"{hub.url}/api/models" in str(raised.value)
    assert "attempt 3" in str(raised.value)
    assert len(hub.requests) == 3


def test_a_person_who_waits_is_told_why_from_the_second_failure_on(hub, caplog):
    hub.fail(ServerError(503), times=None)
    with pytest.raises(errors.HubError):
        ask(at(hub, retries=3), "pages")
    told = [record.getMessage() for record in caplog.records if record.name == "tryage.hub"]
    assert len(told) == 2
    assert all("503" in text and "the next attempt is in" in text for text in told)
    assert all(at(hub).token is None or at(hub).token not in text for text in told)


@pytest.mark.parametrize("before", [0, 180, 190], ids=["whole", "near the cut", "at the cut"])
@pytest.mark.parametrize("status", [400, 401, 429, 503])
def test_a_hub_that_repeats_the_token_shows_no_part_of_it(hub, status, before):
    token = "kwozqmtr37zq81bw"  # noqa: S105 - opens nothing
    written = [token, base64.b64encode(token.encode()).decode()]

    def repeat(_, __):
        words = "x" * before + f" {' and '.join(written)} are wrong"
        return FakeResponse(status, json.dumps({"error": words}).encode())

    hub.fail(repeat, times=None)
    with pytest.raises(errors.HubError) as info:
        ask(at(hub, token=token, retries=1), "pages")
    assert not [part for one in written for part in (one, one[:8]) if part in str(info.value)]


def test_a_person_who_waits_for_the_quota_is_told_so(hub, caplog):
    hub.fail(TooManyRequests(after=40), times=2)
    ask(at(hub), "model", NAMES[0])
    assert any("the next attempt is in 40.0 s" in record.getMessage() for record in caplog.records)


def test_the_client_waits_as_long_as_the_hub_says(hub):
    hub.fail(TooManyRequests(after=40))
    clock = Clock()
    ask(at(hub), "model", NAMES[0], clock=clock)
    assert clock.slept == [40]


def test_a_small_quota_is_never_exceeded():
    clock = Clock()
    with LocalHub(quota=10, window=100) as hub:
        hub._rate_limit.clock = clock
        hub.load({"id": name} for name in NAMES)
        assert len(ask(at(hub), "iter_models", NAMES, clock=clock, concurrency=1)) == len(NAMES)
        assert len(hub.requests) == len(NAMES)
    assert clock.now >= 200  # 10 in each window: the third has begun


@pytest.mark.parametrize("inside", [False, True])
def test_an_answer_that_takes_too_long_is_given_up(hub, inside):
    hub.fail(Slow(0.6, inside=inside))
    with pytest.raises(errors.HubError, match=r"no answer within 0\.1 s"):
        ask(at(hub, timeout=0.1, retries=0), "pages")


def test_a_body_that_arrives_too_slowly_is_given_up_although_each_chunk_is_quick():
    reader = client_module._LimitedBodyReader(timeout=0.0)
    with pytest.raises(TimeoutError):
        reader.add(b"x")
    assert reader.to_no_response(TimeoutError(), None).reason == "no answer within 0 s"


def test_a_body_that_is_too_long_is_given_up(hub, monkeypatch):
    monkeypatch.setattr(client_module, "MAX_BODY_BYTES", 1000)
    with pytest.raises(errors.HubReplyError, match="more than 1000 bytes"):
        ask(at(hub, retries=0), "pages")


def test_a_compressed_body_is_decompressed_and_a_damaged_one_asked_for_again(hub):
    def compressed(_, answer):
        reply = answer()
        return replace(reply, body=gzip.compress(reply.body), headers={"Content-Encoding": "gzip"})

    def damaged(_, answer):
        return replace(answer(), headers={"Content-Encoding": "gzip"})

    hub.fail(damaged)
    hub.fail(compressed)
    assert names(ask(at(hub), "pages")) == NAMES
    assert len(hub.requests) == 2


def test_where_no_server_answers_the_error_names_the_address():
    with pytest.raises(errors.HubError, match=r"http://127\.0\.0\.1:1/api/models.*attempt 2"):
        ask(HubSettings(endpoint="http://127.0.0.1:1", retries=1), "model", "org/name")


# Tokens, hosts and proxies


def test_the_token_opens_a_private_repository(hub):
    hub.update(NAMES[0], private=True)
    with pytest.raises(errors.HubMissingError):
        ask(at(hub), "model", NAMES[0])
    assert ask(at(hub, token=hub.token), "model", NAMES[0])["private"] is True


def test_an_unknown_token_is_an_access_error(hub):
    with pytest.raises(errors.HubAccessError, match="token"):
        ask(at(hub, token="hf_wrong"), "model", NAMES[0])  # noqa: S106 - opens nothing


def test_a_redirect_to_another_host_is_not_followed(hub):
    with LocalHub() as other:
        place = {"Location": f"{other.url}/api/models/{NAMES[0]}"}
        hub.fail(lambda *_: FakeResponse(307, b"", place))
        with pytest.raises(errors.HubReplyError, match="another host"):
            ask(at(hub, token=hub.token), "model", NAMES[0])
        assert other.requests == []


def test_the_token_is_not_sent_to_the_inference_host(hub):
    with LocalHub() as other:
        ask(at(hub, token=hub.token, inference=other.url), "served_models")
        ask(at(hub, token=hub.token, inference=other.url), "pages")
        assert [request.token for request in other.requests] == [None]
        assert [request.token for request in hub.requests] == [hub.token]


def test_requests_to_the_own_machine_use_no_proxy(hub, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for host in ("127.0.0.1", "localhost"):
        settings = at(hub, endpoint=hub.url.replace("127.0.0.1", host))
        assert ask(settings, "model", NAMES[0])["id"] == NAMES[0]


def test_offline_nothing_is_sent(hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings = replace(HubSettings.from_environment(), endpoint=hub.url)
    for method in ("pages", "served_models"):
        with pytest.raises(errors.HubOfflineError, match="HF_HUB_OFFLINE"):
            ask(settings, method)
    [(_, error)] = ask(settings, "iter_models", [NAMES[0]])
    assert type(error) is errors.HubOfflineError
    assert hub.requests == []


# Closing


def test_closing_wakes_a_thread_that_waits_for_quota(hub):
    hub.fail(TooManyRequests(after=300))
    client, ends = HubClient(at(hub)), []

    def wait():
        with pytest.raises(errors.HubError, match="closed") as raised:
            client.model(NAMES[0])
        ends.append(raised.value)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_for(lambda: hub.requests)
    time.sleep(0.05)
    client.close()
    thread.join(5)
    assert len(ends) == 1


def test_closing_lets_an_active_request_end_and_then_closes_its_connection(hub):
    hub.fail(Slow(0.3))
    client, answers = HubClient(at(hub, retries=0)), []
    thread = threading.Thread(target=lambda: answers.append(client.model(NAMES[0])))
    thread.start()
    wait_for(lambda: hub.requests)
    client.close()
    pool = client._http._transport._pool
    with pytest.raises(errors.HubError, match="closed"):
        client.model(NAMES[1])
    thread.join(5)
    assert answers[0]["id"] == NAMES[0]
    assert pool.connections == []


def test_a_closed_client_says_so_and_closing_twice_does_no_harm(hub):
    client = HubClient(at(hub))
    client.close()
    client.close()
    with pytest.raises(errors.HubError, match="closed"):
        client.model(NAMES[0])


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_closed_client_has_no_open_connection(hub):
    client = HubClient(at(hub))
    client.model(NAMES[0])
    pool = client._http._transport._pool
    assert [connection.is_idle() for connection in pool.connections] == [True]
    client.close()
    assert pool.connections == []


def wait_for(condition, seconds=5.0):
    """Wait until another thread made this true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this never happened"
        time.sleep(0.01)
