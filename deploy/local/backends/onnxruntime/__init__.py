"""The stand-in for Triton's native `onnxruntime` backend, for machines that have only the wheel."""
