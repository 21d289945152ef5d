"""
The benchmark: what this project does on this machine, beside what it is compared with.

Run it with ``make bench`` or ``python -m tests.load.bench``. In reading order:

    texts       what is sent: unique texts of known lengths
    client      a small HTTP client that costs little
    dialects    how each server is asked for vectors
    generator   the load generator, a program of its own
    machine     CPU time, memory and other people's load, from /proc
    measure     one measurement: a contender under load for some seconds
    rounds      contenders in turn, round after round; medians, spreads, ratios
    stage       what is started: Triton with the door's variants, façades, peers (`peers/`)
    suites      what is compared, and the goals
    peers/      other servers of the same model, their settings and their installation
    comparison/ the suites beside them, and beside the model alone
    same_request, open_loop, overload, caller_suites    the suites about callers: from memory, at 4x, what they cost
    plots       bars and curves
    report      results.json to HTML and to the tables of docs/benchmarks.md
    bench       the command line
    users, locustfile    50 to 1,000 users, ``make load``
    growth      a program of its own, ``make bench-growth``: what a unit costs as the work grows
    capacity    a program of its own: from those costs to how many of everything
    soak, soak_report    a program of its own, ``make soak``: steady load, and everybody's memory
"""
