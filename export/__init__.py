"""
The export CLI: a Hugging Face model in, a Triton model repository out.

# Layout, in reading order

    cli, commands/    the command line: options in, exit codes out
    options, targets  what was asked for, checked before anything slow starts; what each GPU can do
    pipeline          the one module that knows the order of the steps below
    from_hub, from_files    find the model; what its files say: task, limits, labels
    original…         load it as its authors meant it: the reference for everything after
    tasks/            what differs between tasks; each module has the same few functions
    to_onnx…, to_decoder, to_vllm    the graph, or what a generator is made of
    quantize, half_precision, precisions, timing    the graph in fewer bits; which of them is the fastest
    config_…, engines, tensorrt_plan, plans    the files Triton reads, and what runs the core
    to_triton         door and core as folders, then published as one version
    parity…, tolerances    the folders just assembled, run and compared with the original; how equal is equal
    manifest, releases, release_…, transition, following    provenance; versions that appear and move in one step
    tune…             the settings of a version, searched with real requests on the machine that serves it
    report/           one version as a page for a reviewer
    artifacts         the frozen values that travel between the steps
    profiles          every number that depends on the hardware, with its source
    runtime/          the code that ships into the repository and runs inside Triton: a folder a kind of door

A model `minilm` becomes two Triton models: `minilm`, the door (text in, vectors out: tokenizer and
length-aware batching), and `minilm_core` (the ONNX graph). Version N of the one calls version N of the other.
"""
