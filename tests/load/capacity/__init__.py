"""
How many façades, Tritons and Redis shards for R requests a second: ``python -m tests.load.capacity --help``.

The model, in four lines; everything else is units:

1. A façade's worker is one core. A request costs it *a*, each known text *b*, each computed text *c*, and *d* once if
   there is a computed one.
2. A Triton reads so many tokens a second; only texts that aren't known reach it.
3. A Redis shard is one core and so much memory; a request costs it *r*, an answer kept takes so many bytes.
4. Each part is filled to a share of what it can do, and has spare ones beside it.

Costs of façade and Redis are measured: those in `costs`, or those of a run of ``make bench-growth``. Tokens a second
are measured for one kind of CPU only; a GPU's have to be given, from a measurement on that GPU. In reading order:

    costs       what was measured, and how it is read out of a run
    model       how many of everything
    check       predicted beside measured
    __main__    the command line
"""
