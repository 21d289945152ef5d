"""Which route a path belongs to, for requests that were refused before any router saw them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi.routing import iter_route_contexts
from starlette.routing import compile_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.routing import BaseRoute


def build_namer(routes: Sequence[BaseRoute]) -> Callable[[str], str | None]:
    """
    Make a look-up of routes by path.

    Args:
        routes: All that are registered.

    Returns:
        Gives the template of a path (``/v1/models/{model}``); None for a path that leads nowhere.
    """
    templates = dict.fromkeys(context.path for context in iter_route_contexts(routes) if context.path)
    patterns = [(compile_path(template)[0], template) for template in templates]

    def name_route(path: str) -> str | None:
        if path in templates:
            return path
        return next((template for pattern, template in patterns if pattern.match(path)), None)

    return name_route
