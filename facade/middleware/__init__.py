"""
One concern a file, one pure ASGI class each, in the order a request meets them.

1. `observe`: request id, metrics, the log line; turns what is raised below into an answer.
2. `body_limit`: refuses bodies that are too large.
3. `networks`: from where; the global lists.
4. `authenticate`: who asks; everything is denied but a short list of paths.
5. `quota`: how much the caller may still use.
6. `deadline`: ends a request when its time is over or its caller left.
"""
