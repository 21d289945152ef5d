"""``triton-facade serve``: run the HTTP server."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pydantic import ValidationError


class CannotListen(click.ClickException):
    """The address is taken, or isn't ours."""

    exit_code = 3


@click.command()
@click.option("--host", help="Address to listen on.  [env: FACADE_HOST; default: 127.0.0.1]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port; 0 = any free one.  [env: FACADE_PORT; default: 8080]"
)
@click.option(
    "--triton-url", help="Triton's gRPC host:port.  [env: FACADE_TRITON_URL; default: 127.0.0.1:8001]"
)
def serve(host: str | None, port: int | None, triton_url: str | None) -> None:
    """
    Serve the models of a Triton over HTTP.

    Settings come from the environment (FACADE_*); FACADE_API_KEY is the key that callers send.
    Exit codes: 0 stopped, 2 a setting is missing or wrong, 3 the address can't be listened on.
    """
    # Imported here, so that --help answers at once.
    import uvicorn  # noqa: PLC0415
    from pydantic import ValidationError  # noqa: PLC0415

    from facade.access.keys import KeyRing  # noqa: PLC0415
    from facade.app import build_app  # noqa: PLC0415
    from facade.server import Drain, Server  # noqa: PLC0415
    from facade.settings import Settings  # noqa: PLC0415
    from facade.telemetry import set_up_logging  # noqa: PLC0415

    chosen: dict[str, Any] = {"host": host, "port": port, "triton_url": triton_url}
    try:
        settings = Settings(**{name: value for name, value in chosen.items() if value is not None})
    except ValidationError as error:
        raise click.UsageError(describe_settings_error(error)) from None
    if settings.api_key is None:
        raise click.UsageError(
            "FACADE_API_KEY is not set, so nobody could call. Set it to a long random string, for example the "
            "output of: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    listener = open_listener(settings.host, settings.port)
    set_up_logging(settings.log_level)
    ring = KeyRing.from_secret(settings.api_key.get_secret_value())
    drain = Drain()
    config = uvicorn.Config(
        build_app(settings, ring, drain=drain),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.shutdown_grace_s,
    )
    bound = listener.getsockname()
    click.echo(f"triton-facade listens on http://{bound[0]}:{bound[1]}", err=True)
    Server(config, drain, settings.drain_s).run(sockets=[listener])


def open_listener(host: str, port: int) -> socket.socket:
    """
    Listen before anything else starts, so that a port already taken is one clear sentence.

    Args:
        host: Address or name.

        port: Port, or 0 for any free one.

    Returns:
        The bound socket.

    Raises:
        CannotListen: If the address can't be listened on.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise CannotListen(
            f"Can't listen on {host}:{port}: {error.strerror or error}. Choose another with --host or --port."
        ) from None
    listener.setblocking(False)  # noqa: FBT003  # the standard library takes it by position
    return listener


def describe_settings_error(error: ValidationError) -> str:
    """
    Say which environment variables are wrong.

    Args:
        error: pydantic's `ValidationError`.

    Returns:
        One line a variable, without the values, which may be secret.
    """
    problems = error.errors(include_input=False)
    lines = []
    for problem in problems:
        name = "_".join(str(part) for part in problem["loc"])
        reason = str(problem["msg"]).removeprefix("Value error, ")
        lines.append(f"FACADE_{name.upper()}: {reason}" if name else reason)
    return "\n".join(lines)
