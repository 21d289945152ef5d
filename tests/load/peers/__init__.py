"""What the façade and its door are compared with: each a program that serves the same ONNX file over HTTP."""
