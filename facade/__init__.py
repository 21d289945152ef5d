"""
The façade: who may call a model, how often and how fast, and what an answer is worth keeping.

# Layout, in the order a reader needs it

- `errors`: every way in which a request can fail.
- `app`: the composition root; `settings` are read here and nowhere else.
- `middleware`: what every request meets first, outermost first.
- `routes`: one file a surface; `schemas` are their wire models, `problems` their error bodies.
- `openapi`: what the document at ``/openapi.json`` says of them.
- `access`: keys, networks, quotas.
- `inference`: the use cases: catalogue, batcher, one file a task.
- `cache`: two tiers, per item.
- `triton`: the only place that speaks gRPC.
- `telemetry`: metrics and logs; `context`: what is known of one request.
- `commands`: the subcommands of ``triton-facade``; `terminal`: how they look, and how those of ``triton-export`` do.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("triton-facade")
except PackageNotFoundError:  # run from a folder that isn't installed
    __version__ = "unknown"
