"""
Traces, with OpenTelemetry's own instrumentation, when an endpoint to send them to is configured.

Without one nothing here is imported but this module, and no request passes through it. With one, a request's span
continues the caller's ``traceparent``; the gRPC call to Triton is its child and carries ``traceparent`` on. A call that
was merged from several requests belongs to the trace of the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp


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
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
    return Tracing(provider)
