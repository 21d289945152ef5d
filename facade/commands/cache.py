"""`triton-facade cache`: look after the answers that are kept."""

import asyncio
import json
import os
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from facade.commands.exit_codes import EXIT_CODES
from facade.terminal.program import Group

SECRET_FILE = "facade_redis_url"  # noqa: S105  # a file's name
"""In the folder FACADE_SECRETS_DIR, as for `serve`."""


@click.group(cls=Group)
def cache() -> None:
    """Look after the answers that are kept."""


def read_redis_url() -> str | None:
    """
    Read the URL from FACADE_SECRETS_DIR, where the environment has none.

    Returns:
        The URL; None where there is no such file.

    Raises:
        click.UsageError: If it can't be read.
    """
    folder = os.environ.get("FACADE_SECRETS_DIR")
    if not folder:
        return None
    path = Path(folder) / SECRET_FILE
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it isn't text"
        raise click.UsageError(f"FACADE_SECRETS_DIR: {path} can't be read: {reason}.") from None


def complete_model(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer a shell the models of ./model_repository; asking Triton would take too long for a key press."""
    names = sorted(config.parent.name for config in Path("model_repository").glob("*/config.pbtxt"))
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@cache.command(
    examples=("triton-facade cache purge --model minilm --redis-url redis://127.0.0.1:6379",),
    exit_codes=EXIT_CODES["cache purge"],
)
@click.option(
    "--model",
    required=True,
    shell_complete=complete_model,
    help="The model whose answers are forgotten, all versions of it.",
)
@click.option(
    "--redis-url",
    metavar="URL",
    envvar="FACADE_REDIS_URL",
    default=read_redis_url,
    help=f"redis://…, rediss://…, or redis+cluster://host:port,host:port.  [env: FACADE_REDIS_URL, or the file "
    f"{SECRET_FILE} in FACADE_SECRETS_DIR]",
)
@click.option(
    "--timeout",
    "timeout_s",
    metavar="SECONDS",
    default=5.0,
    show_default=True,
    help="Seconds that a step may take.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def purge(model: str, redis_url: str | None, timeout_s: float, *, as_json: bool) -> None:
    """
    Forget all stored answers of a model.

    Redis forgets at once; running façades that use this Redis drop what they hold in memory within seconds. A
    façade without Redis keeps its answers in its own memory alone: restart it.
    """
    if redis_url is None:
        raise click.UsageError(
            "No Redis is named. Give --redis-url, or set FACADE_REDIS_URL as for `triton-facade serve`. A façade "
            "without Redis forgets when it is restarted."
        )
    # Imported here, so that --help and completion answer at once.
    from redis.exceptions import RedisError  # noqa: PLC0415

    from facade.cache.purge import purge_model  # noqa: PLC0415

    try:
        deleted = asyncio.run(purge_model(redis_url, model, timeout_s=timeout_s))
    except (RedisError, OSError, ValueError) as error:
        # ValueError: the URL makes no sense. None of these messages carries the URL's password.
        reason = str(error).rstrip(".")
        raise click.ClickException(
            f"Nothing is purged for certain: {reason}. See `triton-facade doctor`, then run this again."
        ) from error
    if as_json:
        click.echo(json.dumps({"model": model, "forgotten": deleted}))
    else:
        click.echo(f"{model}: {deleted} stored answers forgotten.")
