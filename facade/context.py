"""What is known of one request: filled on its way down, read where its line is logged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope

SCOPE_KEY = "facade.context"


@dataclass(slots=True)
class RequestContext:
    """One request's facts."""

    request_id: str
    """The caller's own ``X-Request-ID``, or one made here."""

    deadline: float = 0.0
    """On the loop's clock, in seconds."""

    key_name: str | None = None
    """Who asks; never the key itself."""

    model: str | None = None
    """The model that answered."""

    version: int | None = None
    """The version that answered."""

    items: int = 0
    """Inputs in the request."""

    tokens: int = 0
    """Tokens the model read."""


def context_of(scope: Scope) -> RequestContext:
    """
    Find the request's context.

    Args:
        scope: The ASGI scope, after the outermost middleware.

    Returns:
        The context.
    """
    context: RequestContext = scope[SCOPE_KEY]
    return context
