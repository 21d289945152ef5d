"""
The door of a text encoder: texts or pairs of texts in, vectors or scores out.

`model.py` speaks with Triton, `tokenizing.py` turns text into token ids, `batching.py` groups rows by length,
`metrics.py` counts what is left to padding. All four are copied into each version's folder, so a published version
never changes with the checkout.
"""
