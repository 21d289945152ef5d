"""A façade that runs already: what it says of itself."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from contextlib import closing
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from facade.doctor.bounded import explain_connection
from facade.doctor.finding import ok, problem

if TYPE_CHECKING:
    from facade.doctor.finding import Finding

_ANSWER_LIMIT_BYTES = 1024 * 1024
_QUICK_S = 1.0


class Answer(NamedTuple):
    """What came back."""

    status: int
    """HTTP's."""

    content: bytes
    """As it came."""

    body: Any
    """Values of its JSON; None if it is none."""

    date: float | None
    """The server's clock, in seconds since 1970, cut to whole seconds; None if it didn't say."""

    asked_at: float
    """Our clock halfway through the exchange."""


def ask(url: str, path: str, timeout_s: float) -> Answer:
    """
    Send one GET request, without a key.

    Args:
        url: ``http://…`` or ``https://…`` of a façade.

        path: What to ask for.

        timeout_s: Seconds for each step.

    Returns:
        The answer.

    Raises:
        OSError: If there is no connection, or no answer in time.

        http.client.HTTPException: If what answers doesn't speak HTTP.

        ValueError: If the URL makes no sense.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{url!r} must look like http://host:port")
    makes = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    with closing(makes(parts.hostname, parts.port, timeout=timeout_s)) as connection:
        before = time.time()
        connection.request("GET", parts.path.rstrip("/") + path, headers={"Connection": "close"})
        response = connection.getresponse()
        content = response.read(_ANSWER_LIMIT_BYTES)
        after = time.time()
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    return Answer(
        response.status, content, body, _read_date(response.getheader("Date")), (before + after) / 2
    )


def is_facade(host: str, port: int) -> bool:
    """
    Find out whether a façade has a port of this machine.

    Args:
        host: The address that it would listen on.

        port: The port.

    Returns:
        Whether one answered.
    """
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # nothing listens here
    name = f"[{reachable}]" if ":" in reachable else reachable
    for path in ("/health/live", "/metrics"):
        try:
            answer = ask(f"http://{name}:{port}", path, _QUICK_S)
        except (OSError, http.client.HTTPException, ValueError):
            return False
        # A port for metrics alone has nothing else.
        if answer.body == {"status": "live"} or (path == "/metrics" and b"# HELP facade_" in answer.content):
            return True
    return False


def examine_running(url: str, timeout_s: float) -> tuple[list[Finding], Answer | None]:
    """
    Ask a façade whether it is ready.

    Args:
        url: Where it is.

        timeout_s: Seconds for each step.

    Returns:
        The finding, and its answer if there was one.
    """
    check = "ready"
    try:
        answer = ask(url, "/health/ready", timeout_s)
    except ssl.SSLError as error:
        remedy = "Give --facade-url with the name that its certificate is for, or ask past the load balancer."
        return [problem(check, f"{url}: TLS fails ({error.reason or error})", remedy)], None
    except (OSError, http.client.HTTPException, ValueError) as error:
        remedy = "Start it with `triton-facade serve`, or correct --facade-url."
        return [problem(check, f"{url}: {explain_connection(error)}", remedy)], None
    body = answer.body if isinstance(answer.body, dict) else {}
    if "status" not in body:
        remedy = "Something else answers there: correct --facade-url."
        return [problem(check, f"{url} answers {answer.status}, not as a façade does", remedy)], answer
    if body["status"] == "ready":
        models = ", ".join(map(str, body.get("models", []))) or "none with a card"
        return [ok(check, f"{url} is ready; models: {models}")], answer
    remedy = "If that is Triton, see under `triton`; a façade that shuts down needs to be started again."
    return [problem(check, f"{url} is not ready: {body.get('reason', 'no reason given')}", remedy)], answer


def _read_date(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except ValueError:
        return None
