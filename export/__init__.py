"""
The export CLI: a Hugging Face model in, a Triton model repository out.

# Layout, in reading order

    cli          the command line: options in, exit codes out
    options      what was asked for, checked before anything slow starts
    pipeline     the one module that knows the order of the steps below
    from_hub     find the model, its files and its task
    original     load it as its authors meant it: the reference for everything after
    to_onnx      graph with one pooled output
    to_triton    the door and the core as folders, then published as one version
    parity       the folders just assembled, run and compared with the original
    config_pbtxt, manifest, releases    the files Triton reads, the provenance, the atomic publishing
    artifacts    the frozen values that travel between the steps
    profiles     every number that depends on the hardware, with its source
    runtime/     the files that ship into the repository and run inside Triton

A model `minilm` becomes two Triton models: `minilm`, the door (text in, vectors out: tokenizer and
length-aware batching), and `minilm_core` (the ONNX graph). Version N of the one calls version N of the other.
"""
