"""The composition root: reads the settings once, makes every part, and puts the layers in their order."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, NoReturn

from starlette.exceptions import HTTPException as StarletteHTTPException

from facade import __version__, problems
from facade.callers import Callers, build_cache
from facade.errors import FacadeError, InvalidInput, MethodNotAllowed, RouteNotFound
from facade.heartbeats import INTERVAL_S, Heartbeats
from facade.inference.catalogue import Catalogue
from facade.inference.encode import Encode
from facade.inference.generate import Generate
from facade.inference.infer import Infer
from facade.inference.release_split import ReleaseSplit
from facade.inference.runner import Limits, one_endpoint
from facade.inference.writer import GenerationLimits
from facade.middleware.body_limit import BodyLimit
from facade.middleware.deadline import Deadline
from facade.middleware.observe import Observe
from facade.openapi.document import DescribedApi
from facade.request_log import RequestLog, drop_line
from facade.routes import (
    chat,
    classify,
    completions,
    embeddings,
    models,
    operations,
    plain_generation,
    plain_tasks,
    predict,
    rerank,
    ui,
    ui_state,
    v2,
    v2_about,
)
from facade.routes import generate as generate_routes
from facade.routes.direct import Direct, build_documented_router, first_of
from facade.routes.templates import build_namer
from facade.server import Drain
from facade.telemetry import Metrics
from facade.tracing import set_up_tracing
from facade.triton.backend import open_backend
from facade.triton.channel import TlsFiles, certificate_end
from facade.triton.pool import EndpointPool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection
    from contextlib import AbstractAsyncContextManager

    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from facade.routes.direct import Endpoint
    from facade.settings import Settings
    from facade.triton.interface import TritonBackend

SAMPLE_INTERVAL_S = 1.0
"""How often watched gauges are looked up, in seconds; scrapes come every 15."""

DOCUMENTED = (
    predict.DOCUMENTED,
    embeddings.DOCUMENTED,
    classify.DOCUMENTED,
    rerank.DOCUMENTED,
    rerank.DOCUMENTED_V2,
    chat.DOCUMENTED,
    completions.DOCUMENTED,
)
"""The endpoints of the short way, in the order of the documentation."""

DOCS_PATHS = frozenset({"/docs", "/openapi.json"})


def build_app(
    settings: Settings,
    *,
    drain: Drain | None = None,
    metrics: Metrics | None = None,
) -> ASGIApp:
    """
    Make the whole façade.

    Args:
        settings: What the operator chose.

        drain: Says when the process is on its way out.

        metrics: Where things are counted.

    Returns:
        The ASGI application.

    Raises:
        KeysInvalid: If there are no keys, or they can't be used as they are written.

        TracingUnavailable: If traces are wanted and can't be had.

        TlsUnusable: If a certificate or a key for Triton can't be used.
    """
    metrics = metrics or Metrics()
    drain = drain or Drain()
    request_log = RequestLog()
    tracing = set_up_tracing(settings.otlp_endpoint, __version__)
    triton = open_backend(
        settings.triton_url,
        observer=metrics,
        has_hedges=settings.hedge,
        interceptors=tracing.interceptors() if tracing else (),
        tls=_tls_files(settings),
    )
    catalogue = Catalogue(triton, settings.catalogue_interval_s)
    callers = Callers(settings, metrics)
    cache = build_cache(settings, metrics)
    split = ReleaseSplit(metrics)
    encode = Encode(
        triton,
        catalogue,
        cache=cache,
        limits=_limits(settings),
        observer=metrics,
        split=split,
        width=_width_of(triton),
    )
    generate = Generate(
        triton,
        catalogue,
        cache=cache,
        limits=_generation_limits(settings),
        observer=metrics,
        split=split,
    )
    _watch(metrics, catalogue, encode, generate, _tls_files(settings))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # No connection is accepted before: one of several workers would refuse what the others, already ready, invited.
        await catalogue.look()
        background = [
            asyncio.create_task(catalogue.follow()),
            asyncio.create_task(_sample_often(metrics)),
            asyncio.create_task(_give_signs_of_life(settings)),
        ]
        if cache is not None:
            background.append(asyncio.create_task(cache.follow_purges()))
        callers.start()
        try:
            yield
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await encode.aclose()
            await generate.aclose()
            if cache is not None:
                await cache.aclose()
            await callers.aclose()
            await triton.aclose()
            _write_out(request_log, metrics)
            if tracing is not None:
                await asyncio.to_thread(tracing.flush)

    endpoints = _build_endpoints(settings, metrics, catalogue, encode, generate)
    has_docs = settings.environment == "development"
    app = _make_api(lifespan, has_docs=has_docs)
    app.include_router(operations.build_router(catalogue, metrics, drain))
    app.include_router(build_documented_router(endpoints, DOCUMENTED))
    app.include_router(models.build_router(catalogue))
    infer = Infer(triton, catalogue, encode, split)
    app.include_router(v2_about.build_router(infer, catalogue, drain))
    page = _add_page(app, catalogue, infer, split, settings)

    public_paths = settings.public_paths | (DOCS_PATHS if has_docs else frozenset())
    layers: ASGIApp = Direct(app, endpoints, _add_kserve(app, infer, generate, settings.body_limit_bytes))
    layers = Deadline(layers, settings.default_timeout_s, settings.max_timeout_s)
    layers = callers.guard(layers, public_paths, page)
    layers = BodyLimit(layers, settings.body_limit_bytes)
    write_line = request_log.write if settings.log_level in {"debug", "info"} else drop_line
    layers = Observe(layers, metrics, drain, write_line, build_namer(app.router.routes))
    return tracing.wrap(layers) if tracing else layers


def _build_endpoints(
    settings: Settings, metrics: Metrics, catalogue: Catalogue, encode: Encode, generate: Generate
) -> dict[str, Endpoint]:
    """Make what answers POST requests, by exact path."""
    plain = {**plain_tasks.build_tasks(encode), "text-generation": plain_generation.build_task(generate)}
    order_documents = rerank.build_endpoint(encode)
    return {
        "/predict": predict.build_endpoint(catalogue, plain, settings.default_model),
        "/v1/embeddings": embeddings.build_endpoint(encode, metrics.observe_stage),
        "/v1/classify": classify.build_endpoint(encode),
        "/v1/rerank": order_documents,
        "/v2/rerank": order_documents,
        "/v1/chat/completions": chat.build_endpoint(generate, max_prompt_bytes=settings.max_text_bytes),
        "/v1/completions": completions.build_endpoint(generate),
    }


def _add_kserve(
    app: FastAPI, infer: Infer, generate: Generate, body_limit_bytes: int
) -> Callable[[str], tuple[Endpoint, str] | None]:
    """Add the V2 protocol's inference; returns the look-up of its endpoints, whose paths name a model."""
    find_generate = generate_routes.build_finder(generate)
    app.include_router(generate_routes.build_router(find_generate))
    find_infer = v2.build_finder(infer, body_limit_bytes)
    app.include_router(v2.build_router(find_infer))
    return first_of(find_infer, find_generate)


def _add_page(
    app: FastAPI, catalogue: Catalogue, infer: Infer, split: ReleaseSplit, settings: Settings
) -> Collection[str]:
    """Add the page to look at, if it is wanted; returns the paths that need no key."""
    if not (settings.environment == "development" if settings.ui is None else settings.ui):
        return ()
    files = ui.load_files()
    # Before the files: of two routes that a path fits, the first answers.
    app.include_router(
        ui_state.build_router(catalogue, infer, split, max_image_bytes=settings.max_image_bytes)
    )
    app.include_router(ui.build_router(files))
    return files.keys()


def _make_api(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]], *, has_docs: bool) -> FastAPI:
    """Make FastAPI, without what we don't need of it."""
    app = DescribedApi(
        title="triton-facade",
        version=__version__,
        lifespan=lifespan,
        docs_url="/docs" if has_docs else None,
        openapi_url="/openapi.json" if has_docs else None,
        redoc_url=None,
        # By default `/predict/` is sent on, by a Location made of what the caller called us, and with it the key.
        redirect_slashes=False,
        # On by default since 0.165, and a cost on every request.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.add_exception_handler(FacadeError, _answer_error)
    app.add_exception_handler(StarletteHTTPException, _answer_http_exception)
    app.add_exception_handler(Exception, _answer_error)
    return app


def _tls_files(settings: Settings) -> TlsFiles | None:
    if settings.triton_tls_ca_file is None:
        return None
    return TlsFiles(settings.triton_tls_ca_file, settings.triton_tls_cert_file, settings.triton_tls_key_file)


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_inputs=settings.max_inputs,
        max_item_bytes=settings.max_text_bytes,
        max_image_bytes=settings.max_image_bytes,
        calls_in_flight=settings.calls_in_flight,
        max_queued_items=settings.max_queued_items,
    )


def _generation_limits(settings: Settings) -> GenerationLimits:
    return GenerationLimits(
        max_generations=settings.max_generations,
        max_prompt_bytes=settings.max_text_bytes,
        max_call_s=2 * settings.max_timeout_s,
    )


def _watch(
    metrics: Metrics, catalogue: Catalogue, encode: Encode, generate: Generate, tls: TlsFiles | None
) -> None:
    """Add the gauges that are looked up."""
    metrics.watch("facade_triton_up", lambda: catalogue.is_current)
    metrics.watch("facade_generations_running", lambda: generate.running)
    metrics.watch("facade_tasks", lambda: len(asyncio.all_tasks()))
    metrics.watch_each("facade_queue_depth", encode.queue_depths)
    if isinstance(catalogue.backend, EndpointPool):
        _watch_endpoints(metrics, catalogue.backend)
    if tls is not None:
        _watch_certificate(metrics, tls)


def _watch_certificate(metrics: Metrics, tls: TlsFiles) -> None:
    """Add the end of the certificate that Triton is shown: it is read once, and one that is over ends every call."""
    end = certificate_end(tls)
    if end is not None:
        metrics.watch("facade_triton_certificate_end_timestamp_seconds", lambda: end)


def _width_of(triton: TritonBackend) -> Callable[[], int]:
    """Say what tells how many Tritons share the calls."""
    return (lambda: triton.width) if isinstance(triton, EndpointPool) else one_endpoint


def _watch_endpoints(metrics: Metrics, pool: EndpointPool) -> None:
    """Add the gauges of several Tritons."""
    metrics.watch("facade_triton_endpoints", lambda: pool.known_count)
    metrics.watch("facade_triton_endpoints_up", lambda: pool.up_count)
    metrics.watch_each("facade_triton_endpoint_ejected", pool.ejected)
    metrics.watch_each("facade_triton_endpoint_calls_in_flight", pool.in_flight)


def _write_out(request_log: RequestLog, metrics: Metrics) -> None:
    """Lose nothing that was only noted yet."""
    request_log.flush()
    metrics.hand_on()


async def _sample_often(metrics: Metrics) -> NoReturn:
    while True:
        metrics.sample()
        await asyncio.sleep(SAMPLE_INTERVAL_S)


async def _give_signs_of_life(settings: Settings) -> None:
    """Count up for the parent, if there is one, as long as the event loop turns."""
    if settings.heartbeats_file is None:
        return
    heartbeats = Heartbeats(settings.heartbeats_file)
    while True:
        heartbeats.beat(settings.worker_index)
        await asyncio.sleep(INTERVAL_S)


async def _answer_error(request: Request, error: Exception) -> Response:
    return problems.to_response(request.scope, error)


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's router speaks in `HTTPException`; the table speaks in `FacadeError`."""
    path = request.url.path
    found: FacadeError
    status = error.status_code if isinstance(error, StarletteHTTPException) else 500
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        found = MethodNotAllowed(f"{request.method} is not possible on {path}.")
        found.headers.update((error.headers or {}) if isinstance(error, StarletteHTTPException) else {})
    elif status == HTTPStatus.NOT_FOUND:
        found = RouteNotFound(f"There is nothing at {path}.")
    else:
        found = InvalidInput(str(getattr(error, "detail", error)))
    return problems.to_response(request.scope, found)
