"""The callers: keys, quotas, mistakes, tokens."""

from __future__ import annotations

from deploy.grafana.panels import Board, Panel, Query
from deploy.grafana.promql import SERVED, quantile, rate

CACHE_HITS = rate("facade_cache_items_total", where='outcome=~"hit-.*"')

CALLERS = Board(
    "callers",
    "triton-facade: callers",
    stats=(
        Panel("Keys", "short", (Query("max(facade_keys)"),), "That are known."),
        Panel(
            "Keys file in use",
            "none",
            (Query("min(facade_keys_file_current)"),),
            "0: its last edit is broken, and the keys before it hold. Runbook KeysFileBroken.",
            limit=1,
            is_low_bad=True,
        ),
        Panel(
            "Quotas counted together",
            "none",
            (Query("min(facade_quota_shared)"),),
            "0: each façade grants its share alone. Runbook QuotasNotShared.",
            limit=1,
            is_low_bad=True,
        ),
        Panel(
            "Without a key (401)",
            "reqps",
            (Query(rate("api_requests_total", where='status="401"') + " or vector(0)"),),
            "Wrong or missing keys, in a second. Many: somebody guesses, or a key ran out.",
        ),
        Panel(
            "Over a limit (429)",
            "reqps",
            (Query(rate("api_requests_total", where='status="429"') + " or vector(0)"),),
            "Refused for a quota, or for too many wrong keys, in a second.",
        ),
        Panel(
            "Turned away (503)",
            "reqps",
            (Query(rate("api_requests_total", where='status="503"') + " or vector(0)"),),
            "Refused because the service is full or Triton away, in a second.",
        ),
    ),
    series=(
        Panel(
            "Refusals by quota",
            "reqps",
            (Query(rate("facade_quota_refusals_total", "tier"), "{{tier}}"),),
            "By tier: is a tier too small for its callers?",
        ),
        Panel(
            "What callers got wrong",
            "reqps",
            (Query(rate("api_requests_total", "status", SERVED + ', status=~"4.."'), "{{status}}"),),
            "400 a field, 401 a key, 403 a right, 404 a model, 413 a size, 429 a limit, 499 left early.",
        ),
        Panel(
            "Mistakes by route",
            "reqps",
            (Query(rate("api_requests_total", "endpoint", SERVED + ', status=~"4.."'), "{{endpoint}}"),),
            "Where they happen; `unmatched` are paths that lead nowhere.",
        ),
        Panel(
            "Tokens",
            "ops",
            (Query(rate("facade_tokens_total", "model, direction"), "{{model}} {{direction}}"),),
            "What quotas charge, in a second.",
        ),
        Panel(
            "Cost of keys and quotas, p99",
            "s",
            (
                Query(
                    quantile(0.99, "facade_stage_seconds", "stage", 'stage=~"authenticate|quota"'),
                    "{{stage}}",
                ),
            ),
            "What each request pays for them.",
        ),
        Panel(
            "Answered from the cache",
            "percentunit",
            (
                Query(
                    f"{CACHE_HITS} / {rate('facade_cache_items_total')}",
                    "share",
                ),
            ),
            "Share of the inputs that no model was asked for.",
        ),
    ),
)
