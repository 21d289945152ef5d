"""
The one table that turns `facade.errors` into HTTP, and the shapes that each surface gives them.

Which shape a caller gets depends on the path alone, so that a refusal in a middleware looks like one in a route:
OpenAI's error object under ``/v1/``, the V2 protocol's under ``/v2``, problem+json (RFC 9457) elsewhere.
"""

from __future__ import annotations

import logging
import math
import random
from typing import TYPE_CHECKING, NamedTuple

import orjson
from starlette.responses import Response

from facade import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Message, Scope

log = logging.getLogger(__name__)


class Problem(NamedTuple):
    """How one class of errors looks over HTTP."""

    status: int
    """HTTP status code."""

    openai_type: str
    """``error.type`` of OpenAI's error object."""

    code: str
    """``error.code`` and the problem's ``code`` where the error brings none of its own."""

    title: str
    """RFC 9457: "a short, human-readable summary of the problem type"."""


PROBLEMS: Mapping[type[errors.FacadeError], Problem] = {
    errors.InvalidInput: Problem(400, "invalid_request_error", "invalid_input", "Invalid input"),
    errors.Unauthenticated: Problem(401, "invalid_request_error", "invalid_api_key", "Unauthenticated"),
    errors.PermissionDenied: Problem(403, "invalid_request_error", "permission_denied", "Permission denied"),
    errors.RouteNotFound: Problem(404, "invalid_request_error", "not_found", "Not found"),
    errors.ModelNotFound: Problem(404, "invalid_request_error", "model_not_found", "Model not found"),
    errors.MethodNotAllowed: Problem(
        405, "invalid_request_error", "method_not_allowed", "Method not allowed"
    ),
    errors.BodyTooLarge: Problem(413, "invalid_request_error", "body_too_large", "Body too large"),
    # RFC 6585, 5: "It can be used both when the set of request header fields in total is too large, and …"
    errors.HeadTooLarge: Problem(431, "invalid_request_error", "head_too_large", "Head too large"),
    errors.RateLimited: Problem(429, "rate_limit_error", "rate_limit_exceeded", "Rate limit exceeded"),
    # RFC 9111, 5.2.1.7: "a 504 (Gateway Timeout) status code" for only-if-cached without a stored answer.
    errors.NotCached: Problem(504, "invalid_request_error", "not_cached", "Not cached"),
    # Only ever the last frame of a stream; as a status it would be RFC 9110's word for a client that took too long.
    errors.ReadTooSlowly: Problem(408, "invalid_request_error", "read_too_slowly", "Read too slowly"),
    # Nobody reads it; 499 is nginx's word for it in logs and metrics.
    errors.CallerLeft: Problem(499, "invalid_request_error", "caller_left", "Caller left"),
    errors.BackendFailed: Problem(502, "server_error", "backend_failed", "Model server failed"),
    errors.Overloaded: Problem(503, "server_error", "overloaded", "Overloaded"),
    errors.BackendUnavailable: Problem(
        503, "server_error", "backend_unavailable", "Model server unavailable"
    ),
    errors.VersionNotReady: Problem(503, "server_error", "version_not_ready", "Model version not ready"),
    errors.DeadlineExceeded: Problem(504, "server_error", "deadline_exceeded", "Deadline exceeded"),
}

UNEXPECTED = Problem(500, "server_error", "internal_error", "Internal error")

RETRY_JITTER = 0.25
"""Waits differ by up to this share, so that refused callers don't all come back at once."""

SHOWN_CHARACTERS = 1_000
"""Most of a text that an answer repeats: a caller's mistake can be megabytes long, a model's name for one."""


def find_problem(error: Exception) -> Problem:
    """
    Look an error up in the table, by its class and then its bases.

    Args:
        error: What ended the request.

    Returns:
        Its row; `UNEXPECTED` for what isn't one of ours.
    """
    for cls in type(error).__mro__:
        if cls in PROBLEMS:
            return PROBLEMS[cls]
    return UNEXPECTED


def code_of(error: Exception) -> str:
    """The word that a program can switch on."""
    own = error.code if isinstance(error, errors.FacadeError) else None
    return own or find_problem(error).code


def to_response(scope: Scope, error: Exception) -> Response:
    """
    Write an error in the shape of the surface that was called.

    Args:
        scope: The request's ASGI scope.

        error: What ended the request.

    Returns:
        The response, with ``Retry-After`` and ``retry-after-ms`` where waiting helps.
    """
    problem = find_problem(error)
    content, media_type = _to_body(scope.get("path", ""), error, problem)
    return Response(content, problem.status, headers=_headers(error, problem), media_type=media_type)


def to_answer(scope: Scope, error: Exception) -> tuple[Message, Message]:
    """
    Write an error as `to_response` does, as the two messages of ASGI: under overload nearly all answers are refusals.

    Args:
        scope: The request's ASGI scope.

        error: What ended the request.

    Returns:
        The start and the body.
    """
    problem = find_problem(error)
    content, media_type = _to_body(scope.get("path", ""), error, problem)
    headers = [(name.encode(), value.encode("latin-1")) for name, value in _headers(error, problem).items()]
    headers += [(b"content-length", b"%d" % len(content)), (b"content-type", media_type.encode())]
    return (
        {"type": "http.response.start", "status": problem.status, "headers": headers},
        {"type": "http.response.body", "body": content},
    )


def to_frame(scope: Scope, error: Exception) -> bytes:
    """
    Write an error as the last event of a stream that has begun, in the shape of the surface that was called.

    Args:
        scope: The request's ASGI scope.

        error: What ended the stream.

    Returns:
        A server-sent event.
    """
    return b"data: " + _to_body(scope.get("path", ""), error, find_problem(error))[0] + b"\n\n"


def _to_body(path: str, error: Exception, problem: Problem) -> tuple[bytes, str]:
    """An error's JSON and its media type."""
    if isinstance(error, errors.FacadeError):
        message, param, code = error.message, error.param, error.code or problem.code
    else:
        log.error("request_crashed", exc_info=error)
        message, param, code = (
            "The façade failed; the operator finds the reason in its log.",
            None,
            problem.code,
        )
    media_type = "application/json"
    body: dict[str, object]
    if path.startswith("/v1/"):
        body = {"error": {"message": message, "type": problem.openai_type, "param": param, "code": code}}
    elif path == "/v2" or path.startswith("/v2/"):
        body = {"error": message}
    else:
        media_type = "application/problem+json"
        body = {
            "type": "about:blank",
            "title": problem.title,
            "status": problem.status,
            "detail": message,
            "code": code,
            **({"param": param} if param else {}),
            "instance": path,
        }
    # A path or a text from the caller can hold what UTF-8 can't; nothing may fail on the way to an error.
    return orjson.dumps(_well_formed(body)), media_type


def _headers(error: Exception, problem: Problem) -> dict[str, str]:
    if not isinstance(error, errors.FacadeError):
        return {}
    headers = dict(error.headers)
    if problem.status == 401:  # noqa: PLR2004  # RFC 9110, 15.5.2: a 401 names a scheme
        headers["www-authenticate"] = 'Bearer realm="triton-facade"'
    if error.retry_after_s is not None:
        wait_s = error.retry_after_s * random.uniform(1, 1 + RETRY_JITTER)  # noqa: S311  # not a secret
        # RFC 9110, 10.2.3: whole seconds, rounded up: who comes back early is refused again. OpenAI's clients read the
        # milliseconds first.
        headers["retry-after"] = str(max(1, math.ceil(wait_s)))
        headers["retry-after-ms"] = str(max(1, round(wait_s * 1000)))
    return headers


def _well_formed(value: object) -> object:
    if isinstance(value, str):
        if len(value) <= SHOWN_CHARACTERS and value.isascii():
            return value
        shown = value if len(value) <= SHOWN_CHARACTERS else f"{value[:SHOWN_CHARACTERS]}…"
        return shown.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _well_formed(item) for key, item in value.items()}
    return value
