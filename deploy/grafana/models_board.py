"""The models, as the façade calls them: by version, so that a canary stands beside its stable version."""

from __future__ import annotations

from deploy.grafana.panels import Board, Panel, Query
from deploy.grafana.promql import quantile, rate

CHOSEN = 'model=~"$model"'

FAILED_CALLS = rate("facade_model_calls_total", where=CHOSEN + ', outcome="failed"')

MODELS = Board(
    "models",
    "triton-facade: models",
    model_query="label_values(facade_model_calls_total, model)",
    stats=(
        Panel(
            "Calls",
            "reqps",
            (Query(rate("facade_model_calls_total", where=CHOSEN)),),
            "To Triton, in a second.",
        ),
        Panel(
            "Failed calls",
            "percentunit",
            (Query(f"({FAILED_CALLS} or vector(0)) / {rate('facade_model_calls_total', where=CHOSEN)}"),),
            "Share of calls that the model or Triton failed.",
            limit=0.01,
        ),
        Panel(
            "Tokens read",
            "ops",
            (Query(rate("facade_tokens_total", where=CHOSEN + ', direction="in"')),),
            "In a second.",
        ),
        Panel(
            "Tokens written",
            "ops",
            (Query(rate("facade_tokens_total", where=CHOSEN + ', direction="out"')),),
            "In a second.",
        ),
        Panel(
            "Answers being written",
            "short",
            (Query("sum(facade_generations_running)"),),
            "Generations now, of all models.",
        ),
        Panel(
            "Canaries dropped",
            "none",
            (Query("sum(max by (model, version) (facade_canary_dropped)) or vector(0)"),),
            "Versions on trial that were found clearly worse. Runbook CanaryDropped.",
            limit=1,
        ),
    ),
    series=(
        Panel(
            "Calls by version",
            "reqps",
            (Query(rate("facade_model_calls_total", "model, version", CHOSEN), "{{model}} {{version}}"),),
            "A canary's share shows here.",
        ),
        Panel(
            "Calls by outcome",
            "reqps",
            (Query(rate("facade_model_calls_total", "model, outcome", CHOSEN), "{{model}} {{outcome}}"),),
            "given-up: the caller left, or its time was over.",
        ),
        Panel(
            "Time of a call by version, p50 and p99",
            "s",
            tuple(
                Query(
                    quantile(share, "facade_model_call_seconds", "model, version", CHOSEN),
                    f"p{share * 100:g} {{{{model}}}} {{{{version}}}}",
                )
                for share in (0.5, 0.99)
            ),
            "Of a stream: to its first piece. A canary beside its stable version.",
        ),
        Panel(
            "Time to first token, p50 and p99",
            "s",
            tuple(
                Query(
                    quantile(share, "facade_time_to_first_token_seconds", "model", CHOSEN),
                    f"p{share * 100:g} {{{{model}}}}",
                )
                for share in (0.5, 0.99)
            ),
            "From a prompt's arrival to the first piece of its answer.",
        ),
        Panel(
            "Time for each token, p50 and p99",
            "s",
            tuple(
                Query(
                    quantile(share, "facade_time_per_output_token_seconds", "model", CHOSEN),
                    f"p{share * 100:g} {{{{model}}}}",
                )
                for share in (0.5, 0.99)
            ),
            "After the first piece.",
        ),
        Panel(
            "Tokens",
            "ops",
            (Query(rate("facade_tokens_total", "model, direction", CHOSEN), "{{model}} {{direction}}"),),
            "In a second.",
        ),
        Panel(
            "Inputs in one call, p50 and p99",
            "short",
            tuple(
                Query(
                    quantile(share, "facade_batch_size", "model", CHOSEN), f"p{share * 100:g} {{{{model}}}}"
                )
                for share in (0.5, 0.99)
            ),
            "Near the model's max_batch_size: more Tritons would help.",
        ),
        Panel(
            "Canaries",
            "none",
            (Query(f"max by (model, version) (facade_canary_dropped{{{CHOSEN}}})", "{{model}} {{version}}"),),
            "1 while a canary gets no callers because it was clearly worse.",
            limit=1,
        ),
        Panel(
            "Streams that broke",
            "ops",
            (Query(rate("facade_streams_broken_total", "code"), "{{code}}"),),
            "After a status of 200, by the error's code: callers see half an answer.",
        ),
    ),
)
