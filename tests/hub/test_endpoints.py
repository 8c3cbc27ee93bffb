"""The addresses and parameters of requests, and how their answers are read; nothing is sent."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from tryage.errors import HubReplyError, InputError
from tryage.hub import endpoints
from tryage.hub.protocol import HubResponse
from tryage.hub.settings import HubSettings

NOW = datetime(2026, 11, 21, tzinfo=timezone.utc)
SETTINGS = HubSettings(endpoint="https://hub.test", inference="https://served.test")
LISTING = endpoints.list_models_request(SETTINGS)


def parse(request, data, **headers):
    """Return what the request makes of a good answer with this JSON."""
    return request.parse(HubResponse(200, headers, b"", NOW), data)


def params(request):
    return [f"{name}={value}" for name, value in request.params]


# Pages


def test_a_page_holds_records_its_time_and_the_cursor_of_the_next_page():
    link = '<https://hub.test/api/models?limit=2&cursor=eyJfaWQ%3D>; rel="next"'
    page = parse(LISTING, [{"id": "a"}, {"id": "b"}], link=link)
    assert page == endpoints.Page([{"id": "a"}, {"id": "b"}], "limit=2&cursor=eyJfaWQ%3D", NOW)
    following = endpoints.next_page_request(SETTINGS, page)
    assert following.params == (("limit", "2"), ("cursor", "eyJfaWQ="))
    resumed = endpoints.list_models_request(SETTINGS, cursor=page.next_cursor)
    assert resumed.params == following.params


def test_a_page_without_a_link_is_the_last():
    page = parse(LISTING, [])
    assert page.next_cursor is None
    assert endpoints.next_page_request(SETTINGS, page) is None


def test_a_link_to_another_host_leads_to_the_own_endpoint():
    page = parse(LISTING, [], link='<https://evil.test/api/models?cursor=x>; rel="next"')
    assert endpoints.next_page_request(SETTINGS, page).url == "https://hub.test/api/models"


@pytest.mark.parametrize(
    "link", ['<https://hub.test/api/models>; rel="next"', '<?cursor=>; rel="next"']
)
def test_a_link_without_a_cursor_would_start_over_and_is_an_error(link):
    with pytest.raises(HubReplyError, match="no cursor"):
        parse(LISTING, [], link=link)


def test_a_page_whose_next_page_is_itself_is_an_error():
    request = endpoints.list_models_request(SETTINGS, cursor="limit=9&cursor=abc")
    with pytest.raises(HubReplyError, match="never end"):
        parse(request, [], link='<https://hub.test/?cursor=abc>; rel="next"')


def test_of_several_links_the_one_to_the_next_page_counts():
    link = '<https://hub.test/?cursor=1>; rel="prev", <https://hub.test/?cursor=3>; rel="next"'
    assert parse(LISTING, [], link=link).next_cursor == "cursor=3"


@pytest.mark.parametrize("body", [{}, {"error": "x"}, [1], [[]], [None]])
def test_a_listing_of_another_shape_is_an_error(body):
    with pytest.raises(HubReplyError, match="expected a JSON"):
        parse(LISTING, body)


# Other answers


def test_a_model_is_the_record_as_the_hub_sent_it():
    record = {"_id": "65", "id": "org/name", "gated": False, "née": "🤗"}
    assert parse(endpoints.model_request(SETTINGS, "org/name"), record) == record


def test_served_models_are_the_data_of_the_inference_router():
    request = endpoints.served_models_request(SETTINGS)
    assert request.url == "https://served.test/v1/models"
    assert parse(request, {"object": "list", "data": [{"id": "m"}]}) == [{"id": "m"}]


def test_a_leaderboard_is_a_list_of_results():
    request = endpoints.leaderboard_request(SETTINGS, "org/bench")
    assert request.url == "https://hub.test/api/datasets/org/bench/leaderboard"
    assert parse(request, [{"rank": 1, "modelId": "m"}])[0]["rank"] == 1


# Parameters


def test_a_listing_has_the_hubs_own_names_for_its_filters():
    request = endpoints.list_models_request(
        SETTINGS,
        filters=["license:mit", "en"],
        search="llämä",
        author="org",
        task="text-generation",
        sort="lastModified",
        ascending=True,
        gated=False,
        expand=["sha", "tags"],
        page_size=50,
    )
    assert params(request) == [
        "filter=license:mit", "filter=en", "search=llämä", "author=org",
        "pipeline_tag=text-generation", "gated=false", "sort=lastModified", "direction=1",
        "limit=50", "expand=sha", "expand=tags",
    ]  # fmt: skip


def test_the_security_status_is_asked_for_by_its_parameter():
    request = endpoints.model_request(SETTINGS, "org/name", security=True)
    assert params(request) == ["securityStatus=true"]


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
        {"cursor": ""},
        {"cursor": "limit=3"},
        {"cursor": b"cursor=x"},
    ],
)
def test_a_wrong_argument_of_a_listing_is_refused(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} must be"):
        endpoints.list_models_request(SETTINGS, **wrong)


@pytest.mark.parametrize("name", ["", "a/b/c", "../etc", "a b", "a/..", "a?x=1", "é/x", 7, None])
def test_a_name_that_no_repository_can_have_is_refused(name):
    for request in (endpoints.model_request, endpoints.leaderboard_request):
        with pytest.raises(InputError, match="org/name"):
            request(SETTINGS, name)


def test_security_and_expand_cannot_be_asked_for_together():
    with pytest.raises(InputError, match="one of them"):
        endpoints.model_request(SETTINGS, "gpt2", security=True, expand=["sha"])
