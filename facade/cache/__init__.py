"""
What an answer is worth keeping: two tiers, per item and not per request.

In reading order:

* `policy`: what the caller asks for in ``Cache-Control``, how long a task's answers live, the answer's words
* `keys`: one key for one item, from everything that could change its answer
* `items`: the use case: look the items up, compute what is missing once, give all back in order
* `fill`: the background half of it: Redis, other replicas' promises, computing, keeping
* `single_flight`: concurrent misses for one key share one computation in this process
* `memory`: first tier, in this process: LRU, TTL, bounded in bytes
* `redis_tier`: second tier, shared: bounded in time, and never a reason for a request to fail
* `redis_routes`: where keys go: one Redis, or the nodes of a cluster
* `redis_nodes`: connections to one Redis server, behind its `breaker`
* `lane`: what is asked of a server while calls are under way leaves together
* `frames`: how a value is wrapped in Redis, so that garbage is a miss and never an answer
* `purge`: forget a model everywhere
* `observer`: what the cache reports about itself

Nothing here knows HTTP, Triton or the settings; values are bytes that the caller encoded.
"""
