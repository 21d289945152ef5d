"""
The door of text generation: prompts in, tokens out, under the tensor contract of Triton's vLLM backend.

From the request to the token:

    model        Triton's side: reads the version's files, takes requests
    reading      one request, checked: tensors in, a prompt and its choices out
    service      the threads around the engine: who is under way, who gave up
    answers      what a request gets back, gathered and written as tensors
    sender       the only way to Triton's response senders, and the thread that writes to them
    metrics      what Triton's /metrics tells of it
    engine       the scheduler: who gets slots, which rows decode, who has ended
    prompts      whose prompt is read next, and how much of it
    slots        which row is for whom
    prefix       which beginnings of prompts some row holds already
    graph        the model in ONNX Runtime, keys and values in place
    choices      one answer being written: text, stop strings, its end
    sampling     from logits to tokens
    constraints  answers of a given form, by llguidance
    detokenizing from tokens to whole characters
    parameters   vLLM's sampling parameters, each value read and bounded by `values`
"""
