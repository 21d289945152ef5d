"""`triton-facade cache`: look after the answers that are kept."""

import asyncio

import click
from redis.exceptions import RedisError

from facade.cache.purge import purge_model


@click.group()
def cache() -> None:
    """Look after the answers that are kept."""


@cache.command()
@click.option("--model", required=True, help="The model whose answers are forgotten, all versions of it.")
@click.option(
    "--redis-url",
    envvar="FACADE_REDIS_URL",
    required=True,
    help="redis://…, rediss://…, or redis+cluster://host:port,host:port.  [env: FACADE_REDIS_URL]",
)
@click.option("--timeout", "timeout_s", default=5.0, show_default=True, help="Seconds that a step may take.")
def purge(model: str, redis_url: str, timeout_s: float) -> None:
    """
    Forget all stored answers of a model.

    Redis forgets at once; running façades that use this Redis drop what they hold in memory within seconds. A
    façade without Redis keeps its answers in its own memory alone: restart it.
    """
    try:
        deleted = asyncio.run(purge_model(redis_url, model, timeout_s=timeout_s))
    except (RedisError, OSError, ValueError) as error:
        # ValueError: the URL makes no sense. None of these messages carries the URL's password.
        raise click.ClickException(f"Nothing is purged for certain: {error}") from error
    click.echo(f"{model}: {deleted} stored answers forgotten.")
