"""Health and metrics, for probes and for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

if TYPE_CHECKING:
    from facade.inference.catalogue import Catalogue
    from facade.server import Drain
    from facade.telemetry import Metrics


def build_router(catalogue: Catalogue, metrics: Metrics, drain: Drain) -> APIRouter:
    """
    Make the routes.

    Args:
        catalogue: Which models there are.

        metrics: What is measured.

        drain: Whether this process is on its way out.

    Returns:
        The router.
    """
    router = APIRouter(tags=["operations"])

    @router.head("/health/live", include_in_schema=False)
    @router.get("/health/live")
    async def live() -> Response:
        """Answer while the process runs; a failing answer means: restart it."""
        return Response(b'{"status":"live"}', media_type="application/json")

    @router.head("/health/ready", include_in_schema=False)
    @router.get("/health/ready")
    async def ready() -> Response:
        """Say whether requests can be answered now; a failing answer means: send them elsewhere."""
        reason = "ready"
        if drain.is_draining:
            reason = "The façade is shutting down."
        elif not catalogue.is_current:
            reason = "Triton does not answer."
        elif not catalogue.described:
            reason = "Triton serves no model; export one with triton-export."
        is_ready = reason == "ready"
        body = {
            "status": "ready" if is_ready else "not ready",
            "reason": reason,
            "models": sorted(catalogue.models),
        }
        return Response(orjson.dumps(body), 200 if is_ready else 503, media_type="application/json")

    @router.get("/metrics")
    async def read_metrics() -> Response:
        """Give all metrics in Prometheus's text format."""
        return Response(metrics.expose(), media_type=CONTENT_TYPE_LATEST)

    return router
