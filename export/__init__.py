"""The export CLI: a Hugging Face model in, a Triton model repository out."""
