"""Triton: what its models do, in its own metrics."""

from __future__ import annotations

from deploy.grafana.panels import Board, Panel, Query
from deploy.grafana.promql import per, rate

TRITON = Board(
    "triton",
    "triton-facade: Triton",
    stats=(
        Panel(
            "Answers",
            "reqps",
            (Query(rate("nv_inference_request_success")),),
            "Requests that models answered, in a second.",
        ),
        Panel(
            "Failures",
            "reqps",
            (Query(rate("nv_inference_request_failure")),),
            "Requests that models failed, or that were refused or cancelled, in a second.",
        ),
        Panel(
            "Waiting",
            "short",
            (Query("sum(nv_inference_pending_request_count)"),),
            "Requests that wait for an instance of their model.",
        ),
        Panel("Tritons", "short", (Query('sum(up{job="triton"})'),), "That can be scraped."),
        Panel(
            "CPU", "percentunit", (Query("avg(nv_cpu_utilization)"),), "Of the machine, as Triton sees it."
        ),
        Panel(
            "Memory",
            "percentunit",
            (Query("sum(nv_cpu_memory_used_bytes) / sum(nv_cpu_memory_total_bytes)"),),
            "Of the machine, as Triton sees it.",
            limit=0.9,
        ),
    ),
    series=(
        Panel(
            "Answers by model",
            "reqps",
            (Query(rate("nv_inference_request_success", "model, version"), "{{model}} {{version}}"),),
            "A door and its core count each for themselves.",
        ),
        Panel(
            "Failures by reason",
            "reqps",
            (Query(rate("nv_inference_request_failure", "model, reason"), "{{model}} {{reason}}"),),
            "BACKEND and OTHER are the model's fault: runbook TritonModelFails. REJECTED is a full queue.",
        ),
        Panel(
            "Waiting by model",
            "short",
            (Query("sum by (model) (nv_inference_pending_request_count)", "{{model}}"),),
            "Requests that wait for an instance.",
        ),
        Panel(
            "Time in the queue, mean",
            "s",
            (
                Query(
                    per("nv_inference_queue_duration_us", "nv_inference_request_success", "model", " / 1e6"),
                    "{{model}}",
                ),
            ),
            "From a request's arrival in Triton to its execution.",
        ),
        Panel(
            "Time of computing, mean",
            "s",
            (
                Query(
                    per(
                        "nv_inference_compute_infer_duration_us",
                        "nv_inference_request_success",
                        "model",
                        " / 1e6",
                    ),
                    "{{model}}",
                ),
            ),
            "Of a request, in the backend.",
        ),
        Panel(
            "Inputs in one execution, mean",
            "short",
            (Query(per("nv_inference_count", "nv_inference_exec_count", "model"), "{{model}}"),),
            "What Triton's dynamic batcher makes of the façade's calls.",
        ),
        Panel(
            "Calls to each Triton",
            "reqps",
            (
                Query(
                    rate("facade_triton_endpoint_calls_total", "endpoint, outcome"),
                    "{{endpoint}} {{outcome}}",
                ),
            ),
            "As the façades see it, where they know several Tritons.",
        ),
        Panel(
            "Tritons left alone",
            "none",
            (Query("max by (endpoint) (facade_triton_endpoint_ejected)", "{{endpoint}}"),),
            "1 while a Triton gets no calls because it failed. Runbook TritonEjected.",
            limit=1,
        ),
        Panel(
            "Second attempts",
            "reqps",
            (
                Query(rate("facade_triton_retries_total", "reason, outcome"), "{{reason}} {{outcome}}"),
                Query(rate("facade_triton_hedges_total", "outcome"), "hedge {{outcome}}"),
            ),
            "Calls made again at another Triton. `refused`: the budget for them is used up.",
        ),
        Panel(
            "GPU: use",
            "percentunit",
            (Query("avg by (gpu_uuid) (nv_gpu_utilization)", "{{gpu_uuid}}"),),
            "Needs a GPU: not run here.",
        ),
        Panel(
            "GPU: memory",
            "percentunit",
            (
                Query(
                    "sum by (gpu_uuid) (nv_gpu_memory_used_bytes) / sum by (gpu_uuid) (nv_gpu_memory_total_bytes)",
                    "{{gpu_uuid}}",
                ),
            ),
            "Needs a GPU: not run here.",
            limit=0.95,
        ),
        Panel(
            "GPU: power",
            "watt",
            (Query("sum by (gpu_uuid) (nv_gpu_power_usage)", "{{gpu_uuid}}"),),
            "Needs a GPU: not run here.",
        ),
    ),
)
