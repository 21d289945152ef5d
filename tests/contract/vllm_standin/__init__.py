"""
A stand-in for Triton's vLLM backend, which needs a GPU: a Python model that behaves at its tensors as that one does.

`model` follows the backend's own source step by step, and `engine` stands for vLLM itself. Both are loaded by the real
Triton. The real backend was not run here.
"""
