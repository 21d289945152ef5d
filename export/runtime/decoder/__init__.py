"""
The door of text generation: prompts in, tokens out, under the tensor contract of Triton's vLLM backend.

From the request to the token:

    model        Triton's side: reads requests, owns the engine's thread
    sender       one caller's stream of answers, safe to ask from several threads
    metrics      what Triton's /metrics tells of it
    engine       the scheduler: which prompt is read next, which rows decode
    slots        which row is for whom
    prefix       which beginnings of prompts some row holds already
    graph        the model in ONNX Runtime, keys and values in place
    choices      one answer being written: text, stop strings, its end
    sampling     from logits to tokens
    constraints  answers of a given form, by llguidance
    detokenizing from tokens to whole characters
    parameters   vLLM's sampling parameters, read and bounded
"""
