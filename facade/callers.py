"""Composition of what concerns callers: keys, networks, quotas, and the cache their answers may come from."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from facade.access.fallback_quotas import FallbackQuotas
from facade.access.guessing import Guesses
from facade.access.host_quotas import HostQuotas
from facade.access.host_table import HostTableInvalid
from facade.access.keyfile import KeyFile
from facade.access.keys import KeyRing, KeysInvalid
from facade.access.memory_quotas import MemoryQuotas
from facade.access.networks import NetworkList, NetworkSet
from facade.access.redis_quotas import RedisQuotas
from facade.cache.items import ItemCache
from facade.cache.memory import MemoryTier
from facade.cache.redis_tier import RedisTier
from facade.middleware.authenticate import Authenticate
from facade.middleware.networks import Networks
from facade.middleware.quota import Quota

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp

    from facade.access.fallback_quotas import LocalQuotas
    from facade.access.keyfile import KeyFileStatus
    from facade.access.quotas import Quotas
    from facade.settings import Settings
    from facade.telemetry import Metrics

log = logging.getLogger(__name__)


class Callers:
    """
    Everything that decides about a caller, and the layers that ask it.

    Args:
        settings: What the operator chose.

        metrics: Where things are counted.

    Raises:
        KeysInvalid: If there are no keys, or they can't be used as they are written.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._metrics = metrics
        self._file: KeyFile | None = None
        if settings.keys_file is not None:
            self._file = KeyFile(settings.keys_file, on_load=self._note_load)
            self._note_load(self._file.status)
        elif settings.api_key is not None:
            self._ring = KeyRing.from_secret(settings.api_key.get_secret_value())
            metrics.set_keys(1, is_current=True)
        else:
            raise KeysInvalid("there are no keys: set FACADE_API_KEY or FACADE_KEYS_FILE")
        self._networks = NetworkList(settings.allow_networks, settings.deny_networks)
        self._trusted_proxies = NetworkSet(settings.trusted_proxies)
        self._guesses = Guesses(settings.failures_per_minute)
        self._quotas = _build_quotas(settings, metrics)

    def current_ring(self) -> KeyRing:
        """
        Give the keys and tiers that hold now.

        Returns:
            A state that doesn't change any more.
        """
        return self._file.ring if self._file is not None else self._ring

    def guard(self, app: ASGIApp, public_paths: Collection[str], page_paths: Collection[str] = ()) -> ASGIApp:
        """
        Put the layers that decide about callers around an application.

        Args:
            app: The application.

            public_paths: Exact paths that are served to anybody.

            page_paths: Exact paths that need no key, and are served to the networks that may call.

        Returns:
            The outermost of the layers.
        """
        observe_stage = self._metrics.observe_stage
        layers: ASGIApp = Quota(app, self._quotas, observe_stage, self._metrics.count_refusal)
        keyless = {*public_paths, *page_paths}
        layers = Authenticate(layers, self.current_ring, self._guesses, keyless, observe_stage)
        return Networks(layers, self._networks, self._trusted_proxies, public_paths)

    def start(self) -> None:
        """Begin to follow the keys file, in a task of the running loop."""
        if self._file is not None:
            self._file.start()

    async def aclose(self) -> None:
        """Stop following, and close connections."""
        if self._file is not None:
            await self._file.aclose()
        await self._quotas.aclose()

    def _note_load(self, status: KeyFileStatus) -> None:
        self._metrics.set_keys(status.key_count, is_current=status.is_current)


def build_cache(settings: Settings, metrics: Metrics) -> ItemCache | None:
    """
    Make the cache.

    Args:
        settings: What the operator chose.

        metrics: Where things are counted.

    Returns:
        The cache; None if the operator wants none.
    """
    if not settings.cache:
        return None
    redis = None
    if settings.redis_url is not None:
        redis = RedisTier(settings.redis_url.get_secret_value(), observer=metrics)
    return ItemCache(MemoryTier(settings.cache_memory_bytes), redis, observer=metrics)


def _build_quotas(settings: Settings, metrics: Metrics) -> Quotas:
    local = _build_local_quotas(settings)
    url = settings.quota_redis_url or settings.redis_url
    if url is None:
        metrics.set_quota_shared(is_shared=local.replicas == 1)
        return local
    metrics.set_quota_shared(is_shared=True)

    def note_change(is_shared: bool) -> None:  # noqa: FBT001  # FallbackQuotas calls it by position
        metrics.set_quota_shared(is_shared=is_shared)

    return FallbackQuotas(RedisQuotas(url.get_secret_value()), local, on_change=note_change)


def _build_local_quotas(settings: Settings) -> LocalQuotas:
    """Count with the other workers if there are any, else alone."""
    if settings.host_quotas_file is not None:
        try:
            return HostQuotas(settings.host_quotas_file, settings.worker_index, settings.replicas)
        except HostTableInvalid as error:
            log.warning("quotas: each worker counts alone, at its share of every limit (%s)", error)
    return MemoryQuotas(settings.replicas * settings.workers)
