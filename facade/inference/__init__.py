"""
What the façade does with a request once it knows who asks.

# Layout

- `catalogue`: which models Triton serves, followed as they change.
- `embed`: texts to vectors; the use case the routes call.
- `batcher`: items of many callers into few calls.
"""
