"""The options of `triton-export export` that only generators have."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from export.options import GenerationOptions

DTYPES = ("auto", "float16", "bfloat16", "float32")
"""Number formats that vLLM computes in."""


def generation_options(command: Callable[..., None]) -> Callable[..., None]:
    """
    Give a command the options of generators, as one parameter `generation`.

    Args:
        command: The command.

    Returns:
        The command with the options.
    """

    @click.option(
        "--max-model-len",
        metavar="TOKENS",
        type=click.IntRange(min=1),
        help="Of prompt and answer.  [default: all that fits]",
    )
    @click.option(
        "--tensor-parallel-size",
        metavar="GPUS",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="vLLM: that share one model.",
    )
    @click.option(
        "--dtype",
        metavar="FORMAT",
        type=click.Choice(DTYPES),
        default="auto",
        help=f"vLLM: {', '.join(DTYPES[1:])}.  [default: auto]",
    )
    @click.option(
        "--lora",
        multiple=True,
        metavar="NAME=PATH",
        help="vLLM: a LoRA adapter's folder; again for more.",
    )
    @click.option(
        "--served-path",
        metavar="PATH",
        help="vLLM: where it finds them.  [default: MODEL]",
    )
    @wraps(command)
    def with_generation(
        *,
        max_model_len: int | None,
        tensor_parallel_size: int,
        dtype: str,
        lora: tuple[str, ...],
        served_path: str | None,
        **others: Any,
    ) -> None:
        generation = GenerationOptions(
            max_model_len, tensor_parallel_size, dtype, tuple(map(split_lora, lora)), served_path
        )
        command(generation=generation, **others)

    return with_generation


def split_lora(text: str) -> tuple[str, str]:
    """
    Split an adapter's name from its folder.

    Args:
        text: Such as "legal=/weights/legal-lora".

    Returns:
        Name and folder.

    Raises:
        click.BadParameter: If there is no `=` between two texts.
    """
    name, sign, path = text.partition("=")
    if not (name and sign and path):
        raise click.BadParameter(f"{text!r} is not NAME=PATH.", param_hint="--lora")
    return name, path
