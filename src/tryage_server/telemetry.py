"""Telemetry of the server: metrics for Prometheus, and the traces that clients continue here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from tryage.core.validation import require_extra
from tryage.telemetry.observer import TELEMETRY

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send

METRICS_PATH = "/metrics"


def add_metrics(app: FastAPI) -> None:
    """Add the route with the metrics of this process, in the text format of Prometheus.

    Raises:
        MissingExtraError: prometheus_client is not installed.
    """
    require_extra("prometheus_client", "otel")
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    @app.get(METRICS_PATH, include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


class TraceContextMiddleware:
    """Lets the spans of a request belong to the trace that its headers name.

    An instrumentation of FastAPI does so itself, and adds a span of the request; then this does
    nothing. Without telemetry, it costs one look.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer within the context of the client."""
        if scope["type"] != "http" or TELEMETRY.observer is None:
            await self._app(scope, receive, send)
            return
        from opentelemetry import context, propagate, trace

        if trace.get_current_span().get_span_context().is_valid:
            await self._app(scope, receive, send)
            return
        headers = {key.decode("latin-1"): text.decode("latin-1") for key, text in scope["headers"]}
        token = context.attach(propagate.extract(headers))
        try:
            await self._app(scope, receive, send)
        finally:
            context.detach(token)
