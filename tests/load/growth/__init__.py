"""
How it grows: the cost of a unit of work against the number of units.

Run it with ``make bench-growth`` or ``python -m tests.load.growth.bench``. In reading order:

    series          points, curves, and where a curve bends
    models          what is served, and the texts that are sent
    drive           one point: callers in a closed loop, and what every program used
    request_suites  callers, texts a request, tokens a text
    model_suite     models behind one Triton
    key_suite       keys in the keys file
    cache_suites    answers in memory and in Redis
    mix_suite       known and new texts: what feeds and checks `tests.load.capacity`
    report          results.json to HTML and to the tables of docs/capacity.md
    bench           the command line
"""
