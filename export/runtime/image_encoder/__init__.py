"""
The door of an image encoder: an image's file in, scores out.

`model.py` speaks with Triton, `images.py` turns a file into the pixels that the model's own image processor makes.
Both are copied into each version's folder, so a published version never changes with the checkout.
"""
