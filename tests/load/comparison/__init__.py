"""
The façade beside its peers, and beside what the model itself can do. Suites of `tests.load.bench`.

    truth       do all contenders answer alike?
    field       who takes part, started
    perf_analyzer    Triton called by its own tool
    closed      closed loops: peers, start, zipf, batches, mixed
    arrivals    open loops: open-loop, bounded
    offline     a program: the model alone, texts sorted by length
    limit       the façade beside that program
"""
