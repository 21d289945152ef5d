"""``triton-facade serve``: run the HTTP server, in this process or in several workers."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facade.commands.exit_codes import EXIT_CODES
from facade.terminal.program import command

if TYPE_CHECKING:
    from pydantic import ValidationError

    from facade.settings import Settings
    from facade.telemetry import Metrics


BACKLOG = 2048
"""Connections that may wait to be accepted; uvicorn's own default."""


class CannotListen(click.ClickException):
    """The address is taken, or isn't ours."""

    exit_code = 3


@command(
    examples=(
        "export FACADE_API_KEY=$(openssl rand -hex 32)  # what callers send",
        "triton-facade serve",
        "FACADE_KEYS_FILE=keys.yaml triton-facade serve --host 0.0.0.0 --workers 4",
    ),
    exit_codes=EXIT_CODES["serve"],
)
@click.option(
    "--host", metavar="ADDRESS", help="Address to listen on.  [env: FACADE_HOST; default: 127.0.0.1]"
)
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(0, 65535),
    help="Port; 0 = any free one.  [env: FACADE_PORT; default: 8080]",
)
@click.option(
    "--triton-url",
    metavar="HOST:PORT",
    help="Triton's gRPC port; several with commas, or dns:///host:port.  [env: FACADE_TRITON_URL; default: "
    "127.0.0.1:8001]",
)
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(1),
    help="Worker processes.  [env: FACADE_WORKERS; default: 1]",
)
def serve(host: str | None, port: int | None, triton_url: str | None, workers: int | None) -> None:
    """
    Serve the models of a Triton over HTTP.

    All other settings come from the environment (FACADE_*). FACADE_API_KEY is the one key that callers send;
    FACADE_KEYS_FILE names a file with many. FACADE_SECRETS_DIR names a folder of files that stand for settings:
    facade_redis_url.
    """
    # Imported here and below, so that --help answers at once.
    from facade.request_log import set_up_logging  # noqa: PLC0415
    from facade.telemetry import INDEX_VARIABLE  # noqa: PLC0415

    settings = read_settings({"host": host, "port": port, "triton_url": triton_url, "workers": workers})
    set_up_logging(settings.log_level)
    if INDEX_VARIABLE in os.environ:
        _run_worker(settings)
    elif settings.workers > 1:
        sys.exit(_run_workers(settings))
    else:
        _run_alone(settings)


def read_settings(chosen: dict[str, Any]) -> Settings:
    """
    Read the settings, the command line's before the environment's.

    Args:
        chosen: Values by field; None where the command line says nothing.

    Returns:
        Settings that can serve.

    Raises:
        click.UsageError: If one is missing or wrong; says which environment variable, and never its value.
    """
    from pydantic import ValidationError  # noqa: PLC0415

    from facade.settings import Settings  # noqa: PLC0415

    secrets_dir = os.environ.get("FACADE_SECRETS_DIR") or None
    # pydantic only warns of a folder that isn't there, and the façade would run without what it holds.
    if secrets_dir is not None and not Path(secrets_dir).is_dir():
        raise click.UsageError(f"FACADE_SECRETS_DIR: {secrets_dir} isn't a folder")
    given = {name: value for name, value in chosen.items() if value is not None} | {
        "_secrets_dir": secrets_dir
    }
    try:
        settings = Settings(**given)
    except PermissionError as error:
        raise click.UsageError(f"FACADE_SECRETS_DIR: {error.filename} can't be read") from None
    except ValidationError as error:
        raise click.UsageError(
            f"{_describe(error)}\n`triton-facade doctor` looks at everything else too."
        ) from None
    if settings.api_key is None and settings.keys_file is None:
        raise click.UsageError(
            "Neither FACADE_API_KEY nor FACADE_KEYS_FILE is set, so nobody could call. For one key, set the first to "
            "a long random string, such as: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return settings


def _run_alone(settings: Settings) -> None:
    """Serve from this process, metrics included."""
    from facade.telemetry import Metrics, serve_metrics  # noqa: PLC0415

    listener = open_listener(settings.host, settings.port)
    metrics = Metrics()
    if settings.metrics_port is not None:
        try:
            serve_metrics(settings.metrics_host, settings.metrics_port, metrics)
        except OSError as error:
            raise _cannot_serve_metrics(settings, error) from None
    _announce(listener)
    _serve(settings, listener, metrics)


def _run_worker(settings: Settings) -> None:
    """Serve as one of several workers on a port that they share."""
    from facade.telemetry import Metrics  # noqa: PLC0415
    from facade.workers import die_with_parent  # noqa: PLC0415

    die_with_parent()
    _serve(settings, open_listener(settings.host, settings.port, is_shared=True), Metrics())


def _run_workers(settings: Settings) -> int:
    """Start workers and keep them running."""
    from facade.workers import Workers, reserve_port  # noqa: PLC0415

    try:
        reserved = reserve_port(settings.host, settings.port)
    except OSError as error:
        raise _cannot_listen(settings.host, settings.port, error) from None
    with reserved:
        port = reserved.getsockname()[1]
        command = [sys.executable, "-m", "facade", "serve", "--host", settings.host, "--port", str(port)]
        # The count too: a worker that has to count quotas alone grants its share of them.
        command += ["--triton-url", settings.triton_url, "--workers", str(settings.workers)]
        workers = Workers(command, settings.workers, settings.worker_patience_s)
        if settings.metrics_port is not None:
            try:
                workers.serve_metrics(settings.metrics_host, settings.metrics_port)
            except OSError as error:
                raise _cannot_serve_metrics(settings, error) from None
        _announce(reserved)
        return workers.run()


def _serve(settings: Settings, listener: socket.socket, metrics: Metrics) -> None:
    from facade.access.keys import KeysInvalid  # noqa: PLC0415
    from facade.app import build_app  # noqa: PLC0415
    from facade.http_protocol import BoundedHttpProtocol  # noqa: PLC0415
    from facade.server import Drain, Server, build_config  # noqa: PLC0415
    from facade.tracing import TracingUnavailable  # noqa: PLC0415
    from facade.triton.channel import TlsUnusable  # noqa: PLC0415

    drain = Drain()
    try:
        app = build_app(settings, drain=drain, metrics=metrics)
    except KeysInvalid as error:
        raise click.UsageError(
            f"The keys can't be used: {error}. Correct FACADE_KEYS_FILE or the file (`triton-facade keys --help`); "
            "`triton-facade doctor` looks at everything else too."
        ) from None
    except (TracingUnavailable, TlsUnusable) as error:
        raise click.UsageError(str(error)) from None
    config = build_config(
        app,
        BoundedHttpProtocol,
        keep_alive_s=settings.keep_alive_s,
        shutdown_grace_s=settings.shutdown_grace_s,
    )
    Server(config, drain, settings.drain_s).run(sockets=[listener])


def open_listener(host: str, port: int, *, is_shared: bool = False) -> socket.socket:
    """
    Take the port before anything else starts, so that one already taken is one clear sentence.

    Args:
        host: Address or name.

        port: Port, or 0 for any free one.

        is_shared: Whether other workers listen on the same port.

    Returns:
        The bound socket.

    Raises:
        CannotListen: If the address can't be listened on.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        raise _cannot_listen(host, port, error) from None
    listener.setblocking(False)  # noqa: FBT003  # the standard library takes it by position
    return listener


def _announce(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    click.echo(f"triton-facade listens on http://{host}:{port}", err=True)


def _cannot_listen(host: str, port: int, error: OSError) -> CannotListen:
    return CannotListen(
        f"Can't listen on {host}:{port}: {error.strerror or error}. Choose another with --host or --port."
    )


def _cannot_serve_metrics(settings: Settings, error: OSError) -> CannotListen:
    return CannotListen(
        f"Can't serve metrics on {settings.metrics_host}:{settings.metrics_port}: {error.strerror or error}. "
        "Choose another with FACADE_METRICS_PORT, or set it empty for none."
    )


def _describe(error: ValidationError) -> str:
    """Say which environment variables are wrong, one a line, without the values: they may be secret."""
    lines = []
    for problem in error.errors(include_input=False):
        name = "_".join(str(part) for part in problem["loc"])
        reason = str(problem["msg"]).removeprefix("Value error, ")
        lines.append(f"FACADE_{name.upper()}: {reason}" if name else reason)
    return "\n".join(lines)
