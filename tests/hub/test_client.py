"""Both clients against a real server: the same answers, whatever goes wrong on the way."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import itertools
import threading
import time
from contextlib import aclosing
from dataclasses import replace

import pytest

from tryage import errors
from tryage.hub import client as transport
from tryage.hub.async_client import AsyncHubClient
from tryage.hub.client import HubClient, LimitedBodyReader
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


class Time:
    """A clock that only sleeping moves, for both kinds of client."""

    def __init__(self):
        self.now = 0.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds):
        self.sleep(seconds)


def through_threads(settings, method, *args, clock=None, **options):
    """Ask through the client for threads; a walk becomes a list."""
    clock = clock or Time()
    with HubClient(settings, sleep=clock.sleep, clock=clock, jitter=lambda: 0.0) as client:
        answer = getattr(client, method)(*args, **options)
        return list(answer) if inspect.isgenerator(answer) else answer


def through_loop(settings, method, *args, clock=None, **options):
    """Ask through the client for an event loop; a walk becomes a list."""
    clock = clock or Time()

    async def run():
        async with AsyncHubClient(
            settings, sleep=clock.sleep_async, clock=clock, luck=lambda: 0.0
        ) as client:
            answer = getattr(client, method)(*args, **options)
            if inspect.isasyncgen(answer):
                return [item async for item in answer]
            return await answer

    return asyncio.run(run())


@pytest.fixture(params=[through_threads, through_loop], ids=["threads", "loop"])
def ask(request):
    return request.param


def at(hub, **changed):
    return HubSettings(**{"endpoint": hub.url, "inference": hub.url, **changed})


def names(pages):
    return [record["id"] for page in pages for record in page.records]


# What they give


def test_a_walk_finds_every_model_once_in_order(hub, ask):
    pages = ask(at(hub), "pages", page_size=10)
    assert [len(page.records) for page in pages] == [10, 10, 5]
    assert names(pages) == NAMES


def test_a_stored_page_is_gone_on_from_even_at_another_address(hub, ask):
    first = ask(at(hub), "pages", page_size=10)[0]
    with LocalHub() as moved:
        moved.load(hub.record(name) for name in hub)
        assert names(ask(at(moved), "pages", cursor=first.next_cursor)) == NAMES[10:]


def test_a_page_says_when_it_was_fetched_in_utc(hub, ask):
    fetched = ask(at(hub), "pages")[0].fetched_at
    assert fetched.utcoffset().total_seconds() == 0
    assert abs(fetched.timestamp() - time.time()) < 60


def test_a_hub_that_knows_fewer_fields_is_asked_for_those_that_it_knows(hub, ask):
    with pytest.warns(RuntimeWarning, match="does not know aura;"):
        pages = ask(at(hub), "pages", expand=["downloads", "aura"], page_size=10)
    assert pages[0].records[0].keys() == {"_id", "id", "downloads"}
    assert names(pages) == NAMES


def test_one_model_its_scans_the_served_and_a_leaderboard(hub, ask):
    hub.served.append({"id": NAMES[0], "providers": [{"provider": "p", "pricing": None}]})
    hub.leaderboards["org/bench"] = [{"rank": 1, "modelId": NAMES[0], "value": 0.5}]
    assert ask(at(hub), "model", NAMES[3])["id"] == NAMES[3]
    assert ask(at(hub), "security", NAMES[3])["filesWithIssues"] == []
    assert ask(at(hub), "served") == hub.served
    assert ask(at(hub), "leaderboard", "org/bench") == hub.leaderboards["org/bench"]


def test_a_renamed_model_is_found_and_says_its_new_name(hub, ask):
    before = ask(at(hub), "model", NAMES[0])
    hub.rename(NAMES[0], "new-org/new-name")
    after = ask(at(hub), "model", NAMES[0])
    assert (after["_id"], after["id"]) == (before["_id"], "new-org/new-name")


def test_many_models_come_with_their_record_or_the_reason_why_not(hub, ask):
    hub.remove(NAMES[1])
    hub.fail(ServerError(500), when=lambda request: request.path.endswith(NAMES[2]), times=None)
    found = dict(ask(at(hub, retries=1), "models", NAMES, concurrency=3))
    assert found.keys() == set(NAMES)
    assert type(found.pop(NAMES[1])) is errors.HubMissingError
    assert type(found.pop(NAMES[2])) is errors.HubError
    assert all(record["id"] == name for name, record in found.items())


def test_of_many_models_no_more_than_agreed_are_asked_for_at_once(hub, ask):
    under_way, seen = [], []

    def count(request, answer):
        under_way.append(request)
        seen.append(len(under_way))
        time.sleep(0.005)
        under_way.remove(request)
        return answer()

    hub.fail(count, times=None)
    assert len(ask(at(hub), "models", NAMES, concurrency=3)) == len(NAMES)
    assert 1 < max(seen) <= 3


@pytest.mark.parametrize("concurrency", [0, -1, True, 1.5, "8"])
def test_a_concurrency_that_asks_for_nothing_is_refused(hub, ask, concurrency):
    with pytest.raises(errors.InputError, match="concurrency"):
        ask(at(hub), "models", NAMES, concurrency=concurrency)


def test_a_name_that_cannot_be_is_refused_among_many_too(hub, ask):
    with pytest.raises(errors.InputError, match="org/name"):
        ask(at(hub), "models", [*NAMES, "../etc"])


# What goes wrong on the way


@pytest.mark.parametrize("fault", FAULTS, ids=FAULT_IDS)
@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_fault_at_any_page_changes_nothing_but_the_time(hub, ask, fault, step):
    hub.fail(fault, skip=step, times=2)
    clock = Time()
    assert names(ask(at(hub), "pages", page_size=10, clock=clock)) == NAMES
    assert len(hub.requests) == 3 + 2
    assert sum(clock.slept) > 0


@pytest.mark.parametrize(
    ("fault", "error"),
    list(zip(FAULTS, ERRORS, strict=True)),
    ids=FAULT_IDS,
)
def test_a_fault_that_stays_is_its_own_clear_error(hub, ask, fault, error):
    hub.fail(fault, times=None)
    with pytest.raises(errors.HubError) as raised:
        ask(at(hub, retries=2), "pages")
    assert type(raised.value) is error
    assert f"{hub.url}/api/models" in str(raised.value)
    assert "attempt 3" in str(raised.value)
    assert len(hub.requests) == 3


def test_the_hubs_own_wait_is_waited(hub, ask):
    hub.fail(TooManyRequests(after=40))
    clock = Time()
    ask(at(hub), "model", NAMES[0], clock=clock)
    assert clock.slept == [40]


def test_a_small_quota_is_kept_to_without_one_refusal(ask):
    clock = Time()
    with LocalHub(quota=10, window=100) as hub:
        hub._rate_limit.clock = clock
        hub.load({"id": name} for name in NAMES)
        assert len(ask(at(hub), "models", NAMES, clock=clock, concurrency=1)) == len(NAMES)
        assert len(hub.requests) == len(NAMES)
    assert clock.now >= 200  # 10 in each window: the third has begun


@pytest.mark.parametrize("inside", [False, True])
def test_an_answer_that_takes_too_long_is_given_up(hub, ask, inside):
    hub.fail(Slow(0.6, inside=inside))
    with pytest.raises(errors.HubError, match=r"no answer within 0\.1 s"):
        ask(at(hub, timeout=0.1, retries=0), "pages")


def test_bytes_that_drip_for_longer_than_an_answer_may_are_given_up():
    intake = LimitedBodyReader(timeout=0.0)
    with pytest.raises(TimeoutError):
        intake.add(b"x")
    assert intake.to_no_response(TimeoutError()).reason == "no answer within 0 s"


def test_an_answer_without_end_is_given_up(hub, ask, monkeypatch):
    monkeypatch.setattr(transport, "MAX_BODY_BYTES", 1000)
    with pytest.raises(errors.HubReplyError, match="more than 1000 bytes"):
        ask(at(hub, retries=0), "pages")


def test_a_packed_answer_is_unpacked_and_a_badly_packed_one_asked_for_again(hub, ask):
    def packed(_, answer):
        reply = answer()
        return replace(reply, body=gzip.compress(reply.body), headers={"Content-Encoding": "gzip"})

    def badly(_, answer):
        return replace(answer(), headers={"Content-Encoding": "gzip"})

    hub.fail(badly)
    hub.fail(packed)
    assert names(ask(at(hub), "pages")) == NAMES
    assert len(hub.requests) == 2


def test_nobody_there_is_an_error_that_says_where(ask):
    with pytest.raises(errors.HubError, match=r"http://127\.0\.0\.1:1/api/models.*attempt 2"):
        ask(HubSettings(endpoint="http://127.0.0.1:1", retries=1), "model", "org/name")


# Secrets and doors


def test_the_token_opens_what_is_private(hub, ask):
    hub.update(NAMES[0], private=True)
    with pytest.raises(errors.HubMissingError):
        ask(at(hub), "model", NAMES[0])
    assert ask(at(hub, token=hub.token), "model", NAMES[0])["private"] is True


def test_a_token_that_the_hub_does_not_know_is_an_access_error(hub, ask):
    with pytest.raises(errors.HubAccessError, match="token"):
        ask(at(hub, token="hf_wrong"), "model", NAMES[0])  # noqa: S106 - opens nothing


def test_a_redirect_to_another_host_is_not_followed_and_gets_no_token(hub, ask):
    with LocalHub() as other:
        place = {"Location": f"{other.url}/api/models/{NAMES[0]}"}
        hub.fail(lambda *_: FakeResponse(307, b"", place))
        with pytest.raises(errors.HubReplyError, match="another host"):
            ask(at(hub, token=hub.token), "model", NAMES[0])
        assert other.requests == []


def test_the_token_stays_with_the_hub_when_providers_are_asked(hub, ask):
    with LocalHub() as other:
        ask(at(hub, token=hub.token, inference=other.url), "served")
        ask(at(hub, token=hub.token, inference=other.url), "pages")
        assert [request.token for request in other.requests] == [None]
        assert [request.token for request in hub.requests] == [hub.token]


def test_the_way_to_ones_own_machine_leads_through_no_proxy(hub, ask, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for host in ("127.0.0.1", "localhost"):
        settings = at(hub, endpoint=hub.url.replace("127.0.0.1", host))
        assert ask(settings, "model", NAMES[0])["id"] == NAMES[0]


def test_offline_no_socket_is_opened(hub, ask, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings = replace(HubSettings.from_environment(), endpoint=hub.url)
    for method in ("pages", "served"):
        with pytest.raises(errors.HubOfflineError, match="HF_HUB_OFFLINE"):
            ask(settings, method)
    [(_, error)] = ask(settings, "models", [NAMES[0]])
    assert type(error) is errors.HubOfflineError
    assert hub.requests == []


# Many at once, and the end


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


def test_leaving_many_models_early_leaves_no_thread_behind(hub):
    before = set(threading.enumerate())
    with HubClient(at(hub)) as client:
        found = client.iter_models(itertools.cycle(NAMES), concurrency=4)
        assert {next(found)[0] for _ in range(5)} <= set(NAMES)
        found.close()
    wait_for(lambda: not [t for t in set(threading.enumerate()) - before if "tryage" in t.name])


async def test_leaving_many_models_early_cancels_those_under_way(hub):
    hub.fail(Slow(0.3), when=lambda request: not request.path.endswith(NAMES[0]), times=None)
    async with AsyncHubClient(at(hub)) as client:
        async with aclosing(client.models(NAMES, concurrency=4)) as found:
            assert (await anext(found))[0] == NAMES[0]
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert len(client._http._transport._pool.connections) == 1


def test_names_are_taken_only_as_there_is_room_for_them(hub):
    names = iter(NAMES)
    with HubClient(at(hub)) as client:
        found = client.iter_models(names, concurrency=2)
        next(found)
        assert next(names) == NAMES[2]


async def test_names_are_taken_only_as_there_is_room_for_them_in_the_loop(hub):
    names = iter(NAMES)
    async with (
        AsyncHubClient(at(hub)) as client,
        aclosing(client.models(names, concurrency=2)) as found,
    ):
        await anext(found)
        assert next(names) == NAMES[2]


async def test_a_cancelled_question_gives_its_connection_back(hub):
    hub.fail(Slow(0.5), times=3)
    async with AsyncHubClient(at(hub)) as client:
        tasks = [asyncio.create_task(client.model(name)) for name in NAMES[:3]]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError] * 3
        assert client._http._transport._pool.connections == []
        assert (await client.model(NAMES[5]))["id"] == NAMES[5]


async def test_a_question_cancelled_while_it_waits_for_quota_stops_waiting(hub):
    hub.fail(TooManyRequests(after=300))
    async with AsyncHubClient(at(hub)) as client:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.model(NAMES[0]), 0.2)


def test_closing_wakes_whoever_waits_for_quota(hub):
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


def test_closing_lets_an_answer_that_is_under_way_arrive_and_then_closes(hub):
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


async def test_closing_ends_the_questions_that_are_under_way_in_the_loop(hub):
    hub.fail(Slow(0.3))
    client = AsyncHubClient(at(hub, retries=0))
    task = asyncio.create_task(client.model(NAMES[0]))
    while not hub.requests:
        await asyncio.sleep(0.01)
    await client.aclose()
    with pytest.raises(errors.HubError):
        await task


def test_a_closed_client_says_so(hub):
    client = HubClient(at(hub))
    client.close()
    client.close()
    with pytest.raises(errors.HubError, match="closed"):
        client.model(NAMES[0])


async def test_a_closed_client_of_the_loop_says_so(hub):
    client = AsyncHubClient(at(hub))
    await client.aclose()
    with pytest.raises(errors.HubError, match="closed"):
        await client.model(NAMES[0])


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_closed_client_has_no_open_connection(hub):
    client = HubClient(at(hub))
    client.model(NAMES[0])
    pool = client._http._transport._pool
    assert [connection.is_idle() for connection in pool.connections] == [True]
    client.close()
    assert pool.connections == []


def test_both_clients_have_the_same_questions_with_the_same_words():
    def public(client):
        return {name for name in dir(client) if not name.startswith("_")} - {"close", "aclose"}

    assert public(HubClient) == public(AsyncHubClient)
    assert "most parameters" in HubClient.pages.__doc__
    options = inspect.signature(HubClient(HubSettings()).model).parameters
    assert list(options) == ["name", "security", "expand", "revision"]


def wait_for(condition, seconds=5.0):
    """Wait until a thread of the client has come so far."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this never happened"
        time.sleep(0.01)
