"""
One command, one machine: a real Triton from the package index and the façade in front of it.

Reading order:
    preflight   what the machine must offer, checked before anything is installed
    install     the two environments inside the checkout, `.venv` and `.triton`
    triton      one tritonserver with its stubs, shared memory and clean-up
    model       which models are served, and their export when they are missing
    children    the façade and the janitor as child processes
    janitor     what cleans up after a supervisor that was killed
    probe       the question that proves that the whole chain answers
    serve       the supervisor that ties these together
    __main__    the command line: preflight first, then install or serve
    linux, steps, console    death signals and marks; long commands with a log; lines for people
    tiny_chat/  the toy that comes along, and how it is trained
    backends/   the Python-based `onnxruntime` backend that stands in for the native one

Everything here but `backends/` and `tiny_chat/` runs on the standard library alone: it is what installs the rest.
"""
