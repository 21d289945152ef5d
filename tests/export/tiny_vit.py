"""An image classifier of real architecture and random weights, made in a second: ViT, hidden size 32."""

from pathlib import Path
from typing import Any

import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

LABELS = ["cat", "dog", "bird", "fish", "none of these"]
IMAGE_SIZE = 32


def make_tiny_vit(folder: Path, **processing: Any) -> Path:
    """
    Make the model.

    Args:
        folder: Where it goes.

        processing: Settings of its image processor that differ.

    Returns:
        The folder.
    """
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=IMAGE_SIZE,
        patch_size=8,
        num_labels=len(LABELS),
        id2label=dict(enumerate(LABELS)),
        label2id={label: place for place, label in enumerate(LABELS)},
        initializer_range=0.5,
    )
    ViTForImageClassification(config).save_pretrained(folder)
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    ViTImageProcessor(**({"size": size} | processing)).save_pretrained(folder)
    return folder
