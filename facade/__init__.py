"""The façade: who may call a model, how often and how fast, and what an answer is worth keeping."""
