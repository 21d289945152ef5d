"""Triton backends written in Python; `install` copies each folder beside the wheel's own `python` backend."""
