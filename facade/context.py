"""What is known of one request: filled on its way down, read where it is answered, counted and logged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ipaddress import IPv4Address, IPv6Address

SCOPE_KEY = "facade.context"


@dataclass(slots=True)
class RequestContext:
    """One request's facts."""

    request_id: str
    """The caller's own ``X-Request-ID``, or one made here."""

    request_headers: dict[bytes, bytes] = field(default_factory=dict)
    """By lower-case name; of a header that comes twice, all values, with commas between."""

    headers: dict[str, str] = field(default_factory=dict)
    """What the answer carries beside its own headers, whatever becomes of the request."""

    address: IPv4Address | IPv6Address | None = None
    """Where the caller is, as far as trusted proxies say."""

    deadline: float = 0.0
    """On the loop's clock, in seconds."""

    key_name: str | None = None
    """Who asks; never the key itself."""

    key_models: tuple[str, ...] = ("*",)
    """Globs of the models that the caller may use."""

    cache_scope: Literal["private", "shared"] | None = None
    """Whom the caller's answers are kept for, as its key says; None leaves that to the task."""

    tier: str = "default"
    """The caller's tier."""

    priority: int = 1
    """The tier's priority; 1 is served first."""

    weight: float = 1.0
    """The tier's share among those of its priority."""

    model: str | None = None
    """The model that answered."""

    version: int | None = None
    """The version that answered."""

    cache: str | None = None
    """``X-Cache``: where the answer came from."""

    items: int = 0
    """Inputs in the request."""

    tokens: int = 0
    """Tokens the model read and wrote."""

    completion_tokens: int = 0
    """Those of them that it wrote."""

    at_end: list[Callable[[], None]] = field(default_factory=list)
    """Called once the request is over, however it ended: gives back what it holds."""


def context_of(scope: Mapping[str, Any]) -> RequestContext:
    """
    Find the request's context.

    Args:
        scope: The ASGI scope, after the outermost middleware.

    Returns:
        The context.
    """
    context: RequestContext = scope[SCOPE_KEY]
    return context
