"""The server's metrics for Prometheus, and the traces that its clients continue in it."""

from __future__ import annotations

import httpx
import pytest
from starlette.testclient import TestClient

pytest.importorskip("opentelemetry.exporter.prometheus")

from prometheus_client.parser import text_string_to_metric_families

from tryage.telemetry import instrument, uninstrument
from tryage_server import ServerSettings, create_app

KEY = "canary-key-0123456789"
QUESTION = {"model": "tryage", "messages": [{"role": "user", "content": "small talk"}]}


def samples(text):
    families = text_string_to_metric_families(text)
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in families
        for one in family.samples
    }


def value(text, name, **labels):
    found = [
        number
        for (sample, pairs), number in samples(text).items()
        if sample == name and labels.items() <= dict(pairs).items()
    ]
    return sum(found) if found else None


@pytest.mark.usefixtures("counted")
def test_a_scrape_shows_calls_tokens_and_decisions_in_the_format_of_prometheus(start_server, chat):
    url = start_server(chat, metrics=True)
    for _ in range(3):
        httpx.post(f"{url}/v1/chat/completions", json=QUESTION).raise_for_status()
    answer = httpx.get(f"{url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    calls = value(answer.text, "tryage_calls_total", gen_ai_response_model="small")
    assert calls >= 3
    assert value(answer.text, "tryage_decision_duration_seconds_count") >= 3
    tokens = {"gen_ai_token_type": "output"}
    assert value(answer.text, "gen_ai_client_token_usage_sum", **tokens) >= 15


def test_metrics_are_shown_only_if_they_are_asked_for(chat):
    with TestClient(create_app(chat)) as client:
        assert client.get("/metrics").status_code == 404


def test_metrics_need_a_key_where_answers_need_one(chat):
    settings = ServerSettings(keys=(KEY,), metrics=True)
    with TestClient(create_app(chat, settings)) as client:
        assert client.get("/metrics").status_code == 401
        answer = client.get("/metrics", headers={"Authorization": f"Bearer {KEY}"})
        assert answer.status_code == 200
        assert "canary" not in answer.text


def test_a_request_continues_the_trace_of_its_client(counted, chat):
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    headers = {"traceparent": f"00-{trace}-{span}-01"}
    with TestClient(create_app(chat)) as client:
        for path in ("/v1/chat/completions", "/v1/decide"):
            client.post(path, json=QUESTION, headers=headers).raise_for_status()
        stream = {**QUESTION, "stream": True}
        client.post("/v1/chat/completions", json=stream, headers=headers).raise_for_status()
    names = [
        one.name
        for one in counted.spans()
        if one.parent is not None and f"{one.parent.span_id:016x}" == span
    ]
    assert sorted(names) == ["invoke_workflow tryage"] * 2 + ["route tryage"]
    assert {f"{one.context.trace_id:032x}" for one in counted.spans("chat small")} == {trace}


def test_the_start_of_the_server_is_no_decision(counted, chat):
    with TestClient(create_app(chat)):
        assert counted.spans() == []


def test_a_request_without_a_trace_begins_one(counted, chat):
    with TestClient(create_app(chat)) as client:
        client.post("/v1/chat/completions", json=QUESTION).raise_for_status()
    (whole,) = counted.spans("invoke_workflow tryage")
    assert whole.parent is None


def test_within_the_span_of_an_instrumented_server_that_span_is_the_parent(counted, chat):
    app = create_app(chat)

    async def instrumented(scope, receive, send):
        with counted.caller("POST /v1/chat/completions"):
            await app(scope, receive, send)

    with TestClient(app):  # it loads the encoder
        client = TestClient(instrumented)
        headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        client.post("/v1/chat/completions", json=QUESTION, headers=headers).raise_for_status()
    (whole,), (request,) = (
        counted.spans(name) for name in ("invoke_workflow tryage", "POST /v1/chat/completions")
    )
    assert whole.parent.span_id == request.context.span_id


def test_spans_that_wait_are_exported_when_the_server_stops(chat):
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=600_000))
    instrument(provider)
    with TestClient(create_app(chat)) as client:
        client.post("/v1/chat/completions", json=QUESTION).raise_for_status()
        assert not exporter.get_finished_spans()
    uninstrument()
    assert "chat small" in {span.name for span in exporter.get_finished_spans()}
    provider.shutdown()
