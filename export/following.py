"""
Make running Tritons follow what is written into the repository.

Explicit model control only: `load_model` comes back when the new versions answer, and Triton keeps the old ones until
then. Tried on Triton 2.51 under load: no request fails while versions come and go, and when one of the new versions
can't be loaded, all that were served before still are.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from export.errors import BadInput, FollowFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

LOAD_TIMEOUT_S = 600.0
"""Seconds for one load; a large model's weights are read from a slow disk within it."""

ASK_TIMEOUT_S = 10.0
"""Seconds for everything that is no load."""

SETTLE_S = 2.5
"""
Seconds between the new release and the going of old versions: every façade has looked again by then, which each does
once a second by default (`FACADE_CATALOGUE_INTERVAL_S`). One that looks more rarely asks again when it is told that a
version is gone.
"""

_NO_SUCH_MODEL = "triton-export.asks-which-control-mode-this-is"
_NOT_EXPLICIT = "explicit model load / unload is not allowed"


class Follower(Protocol):
    """Whoever serves the repository and can be told that it changed."""

    def check(self) -> None:
        """
        See, before anything is changed, that it can follow.

        Raises:
            FollowFailed: If it can't.
        """

    def serves(self, config: Any) -> bool:
        """
        Tell whether all that a config asks for is served already.

        Args:
            config: A ModelConfig message, as it is in the repository.

        Returns:
            Whether loading it would change nothing.
        """

    def load(self, config: Any) -> None:
        """
        Have a model loaded as the repository has it now, and wait until all its versions answer.

        Args:
            config: The ModelConfig message that was just written.

        Raises:
            FollowFailed: If it can't be loaded; what was served before still is.
        """

    def unload(self, name: str) -> None:
        """
        Have a model unloaded.

        Args:
            name: The model's name.
        """

    def settle(self) -> None:
        """Wait until façades have seen the last change."""


class RunningTritons:
    """
    Tritons that are reached over gRPC and all serve this repository.

    Args:
        addresses: ``host:port`` of each, as `read_address` gives it.

        sleep: Waits so many seconds.
    """

    def __init__(self, addresses: Sequence[str], sleep: Callable[[float], None] = time.sleep) -> None:
        # Imported here because gRPC takes a fifth of a second, and most moves need none.
        from tritonclient import grpc as triton  # noqa: PLC0415

        self._clients = {address: triton.InferenceServerClient(address) for address in addresses}
        self._sleep = sleep

    def check(self) -> None:
        """See that each is there and under explicit model control; see `Follower.check`."""
        for address, client in self._clients.items():
            with _told(address, "can't follow"):
                # Nothing has this name, so nothing happens: what is looked for is a refusal.
                client.unload_model(_NO_SUCH_MODEL, client_timeout=ASK_TIMEOUT_S)

    def serves(self, config: Any) -> bool:
        """Compare config, versions and states; see `Follower.serves`."""
        for address, client in self._clients.items():
            with _told(address, "could not be asked what it serves"):
                if _difference(client, config) is not None:
                    return False
        return True

    def load(self, config: Any) -> None:
        """Load on each in turn; see `Follower.load`."""
        for address, client in self._clients.items():
            with _told(address, f"could not load {config.name}"):
                client.load_model(config.name, client_timeout=LOAD_TIMEOUT_S)
                difference = _difference(client, config)
            if difference is not None:
                raise FollowFailed(
                    f"The Triton at {address} took {config.name} and still {difference}. Does it serve this "
                    "repository, and does nobody else edit it?"
                )

    def unload(self, name: str) -> None:
        """Unload on each in turn; see `Follower.unload`."""
        for address, client in self._clients.items():
            with _told(address, f"could not unload {name}"):
                client.unload_model(name, client_timeout=ASK_TIMEOUT_S)

    def settle(self) -> None:
        """Give façades the time for a look; see `Follower.settle`."""
        self._sleep(SETTLE_S)

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()


@contextmanager
def connected(addresses: Sequence[str]) -> "Iterator[RunningTritons | None]":
    """
    Connect to the Tritons that are to follow, and see that they can.

    Args:
        addresses: ``host:port`` of each.

    Yields:
        What tells them; None if there are none.

    Raises:
        FollowFailed: If one can't.
    """
    if not addresses:
        yield None
        return
    tritons = RunningTritons(addresses)
    try:
        tritons.check()
        yield tritons
    finally:
        tritons.close()


def read_address(url: str) -> str:
    """
    Read where a Triton is.

    Args:
        url: ``grpc://host:port``.

    Returns:
        ``host:port``.

    Raises:
        BadInput: If it is anything else.
    """
    try:
        parts = urlsplit(url)
        is_address = parts.scheme == "grpc" and parts.hostname and parts.port
    except ValueError:
        is_address = None
    if not is_address or parts.path.strip("/") or parts.query or parts.username:
        raise BadInput(f"--triton must be like grpc://localhost:8001 (Triton's gRPC port); got {url!r}.")
    return parts.netloc


def _difference(client: Any, config: Any) -> str | None:
    """Say how what a Triton serves differs from a config; None if it doesn't."""
    wanted = sorted(config.version_policy.specific.versions)
    index = client.get_model_repository_index(client_timeout=ASK_TIMEOUT_S)
    ready = sorted(int(m.version) for m in index.models if m.name == config.name and m.state == "READY")
    if ready != wanted:
        return f"serves versions {ready} instead of {wanted}"
    # Only what a move changes: Triton fills in much of the rest by itself.
    served = client.get_model_config(config.name, client_timeout=ASK_TIMEOUT_S).config
    if served.parameters["model_card"].string_value != config.parameters["model_card"].string_value:
        return "shows another release"
    return None


@contextmanager
def _told(address: str, what: str) -> "Iterator[None]":
    """Turn the client's errors into a sentence about a Triton."""
    from tritonclient.utils import InferenceServerException  # noqa: PLC0415 - see above

    try:
        yield
    except InferenceServerException as error:
        message = str(error.message() or error)
        if _NOT_EXPLICIT in message:
            raise FollowFailed(
                f"The Triton at {address} takes no orders: it runs with --model-control-mode=none or poll. "
                "Start it with --model-control-mode=explicit --load-model=*, or leave --triton out and restart it."
            ) from error
        reason = " ".join(message.split())
        remedy = " Start it, or correct --triton." if "failed to connect" in reason else ""
        raise FollowFailed(f"The Triton at {address} {what}: {reason[:600].rstrip('.')}.{remedy}") from error
