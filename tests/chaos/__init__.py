"""
Chaos: a whole stack under steady load, and one thing after another that goes wrong.

Run it with ``make chaos`` or ``python -m tests.chaos``. In reading order:

    truth     texts, and the vectors that PyTorch gives for them
    parts     what runs: two Tritons, two façades, a Redis, and who starts them again when they die
    stack     all of it together
    faults    what goes wrong, one table
    balancer  the callers' side: a load balancer over both façades, and what became of each request
    verdict   availability, the longest outage, recovery; pure
    page      results to a table and a picture; pure
    __main__  the command line
"""
