"""
Traces, with OpenTelemetry's own instrumentation, when an endpoint to send them to is configured.

Without one nothing here is imported but this module, and no request passes through it. With one, a request's span
continues the caller's ``traceparent``; the gRPC call to Triton is its child and carries ``traceparent`` on. A call that
was merged from several requests belongs to the trace of the first.

What a caller wrote isn't traced: `_spare` takes out queries, where keys are put by mistake, and the messages of errors,
where a model may quote its input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp


QUERY_ATTRIBUTES = frozenset({"http.url", "http.target", "url.full", "url.query"})
"""What OpenTelemetry calls a request's URL, now and before."""


class TracingUnavailable(Exception):
    """An endpoint is configured, and OpenTelemetry's packages aren't installed."""


@dataclass(frozen=True)
class Tracing:
    """Where spans go."""

    provider: Any
    """OpenTelemetry's ``TracerProvider``."""

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """
        Give each HTTP request a span.

        Args:
            app: The outermost layer.

        Returns:
            A layer around it.
        """
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware  # noqa: PLC0415

        traced: ASGIApp = OpenTelemetryMiddleware(
            app,
            excluded_urls="/health/live,/health/ready,/metrics",
            tracer_provider=self.provider,
            exclude_spans=["receive", "send"],
        )
        return traced

    def interceptors(self) -> Sequence[Any]:
        """
        Give each gRPC call a span, and its ``traceparent``.

        Returns:
            Interceptors for a ``grpc.aio`` channel.
        """
        from opentelemetry.instrumentation.grpc import aio_client_interceptors  # noqa: PLC0415

        found: Sequence[Any] = aio_client_interceptors(tracer_provider=self.provider)
        return found

    def flush(self) -> None:
        """Send what waits."""
        self.provider.shutdown()


def set_up_tracing(endpoint: str | None, service_version: str) -> Tracing | None:
    """
    Start sending spans.

    Args:
        endpoint: OTLP over HTTP, such as ``http://collector:4318``; None for no tracing.

        service_version: What the spans say of the service.

    Returns:
        The way to instrument; None without an endpoint.

    Raises:
        TracingUnavailable: If the packages are missing.
    """
    if endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        raise TracingUnavailable(
            "FACADE_OTLP_ENDPOINT is set, but OpenTelemetry isn't installed: pip install 'triton-facade[otel]'"
        ) from None
    resource = Resource.create({"service.name": "triton-facade", "service.version": service_version})
    provider = TracerProvider(resource=resource)
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")
    # Spans that have ended can't be changed, so what goes out are copies.
    send = exporter.export
    exporter.export = lambda spans: send([_spare(span) for span in spans])
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider)


def _spare(span: Any) -> Any:
    """Copy a span without what a caller wrote."""
    from opentelemetry.sdk.trace import Event, ReadableSpan  # noqa: PLC0415
    from opentelemetry.trace.status import Status  # noqa: PLC0415

    attributes = dict(span.attributes or {})
    for name in QUERY_ATTRIBUTES & attributes.keys():
        attributes[name] = "" if name == "url.query" else str(attributes[name]).partition("?")[0]
    events = [
        Event(
            event.name,
            {"exception.type": (event.attributes or {}).get("exception.type", "")},
            event.timestamp,
        )
        for event in span.events
    ]
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=events,
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
