"""What dashboards ask Prometheus, written once."""

from __future__ import annotations

SERVED = 'endpoint!~"/health/.*|/metrics|/ui.*"'
"""Requests of callers: probes and scrapes would water everything down. As the alerts have it."""

UNARY = 'endpoint!~"/health/.*|/metrics|/ui.*|/v1/chat/completions|/v1/completions|.*/generate.*"'
"""Without the surfaces that stream: those last as long as their text."""


def rate(metric: str, by: str = "", where: str = "") -> str:
    """
    Write how fast a counter grows.

    Args:
        metric: Its name.

        by: Labels that stay apart, comma separated.

        where: Which series count.

    Returns:
        PromQL.
    """
    grouped = f" by ({by})" if by else ""
    chosen = f"{{{where}}}" if where else ""
    return f"sum{grouped} (rate({metric}{chosen}[$__rate_interval]))"


def quantile(share: float, histogram: str, by: str = "", where: str = "") -> str:
    """
    Write a quantile of a histogram.

    Args:
        share: Between 0 and 1.

        histogram: Its name, without ``_bucket``.

        by: Labels that stay apart, comma separated.

        where: Which series count.

    Returns:
        PromQL.
    """
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share:g}, {rate(f'{histogram}_bucket', labels, where)})"


def mean(histogram: str, by: str = "", where: str = "") -> str:
    """
    Write a histogram's mean.

    Args:
        histogram: Its name, without ``_sum`` and ``_count``.

        by: Labels that stay apart, comma separated.

        where: Which series count.

    Returns:
        PromQL.
    """
    return f"{rate(f'{histogram}_sum', by, where)} / {rate(f'{histogram}_count', by, where)}"


def per(amount: str, count: str, by: str, factor: str = "") -> str:
    """
    Write how much of one counter comes with each step of another.

    Args:
        amount: The one.

        count: The other.

        by: Labels that stay apart, comma separated.

        factor: What the result is multiplied by, such as ``" / 1e6"``.

    Returns:
        PromQL.
    """
    return f"{rate(amount, by)} / {rate(count, by)}{factor}"
