"""Models of real architecture and random weights, made in a second: BERT, hidden size 32."""

import string
from pathlib import Path
from typing import Any

import sentence_transformers
import torch
from sentence_transformers.sentence_transformer import modules
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

from export.original import quiet

HIDDEN_SIZE = 32
MAX_TOKENS = 24
"""Short, so that truncation is tested with short texts."""

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def make_tokenizer(folder: Path) -> None:
    """
    Train a small WordPiece tokenizer whose file carries misleading truncation and padding, as MiniLM's does.

    Args:
        folder: Where its files go.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=200,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=list(string.ascii_lowercase),
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        ["the cat sat on the mat while other cats looked at it from the tree"] * 4, trainer
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=MAX_TOKENS,
    ).save_pretrained(folder)


def tiny_config(**further: Any) -> BertConfig:
    """
    Describe the tiny BERT.

    Args:
        further: What differs, as the labels of a classifier.

    Returns:
        Its configuration.
    """
    sizes: dict[str, Any] = {
        "vocab_size": 200,
        "hidden_size": HIDDEN_SIZE,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": MAX_TOKENS,
        "initializer_range": 0.3,
    }
    return BertConfig(**sizes | further)


def make_tiny_classifier(folder: Path, **further: Any) -> Path:
    """
    Make a classifier, or a reranker if it has one label.

    Args:
        folder: An empty folder for its files.

        further: What its configuration says beside the sizes.

    Returns:
        The folder.
    """
    torch.manual_seed(0)
    make_tokenizer(folder)
    BertForSequenceClassification(tiny_config(**further)).save_pretrained(folder)
    return folder


def make_tiny_model(
    folder: Path, *, is_normalized: bool = True, pooling: str = "mean", truncate_dim: int | None = None
) -> Path:
    """
    Make a sentence-transformers model.

    Args:
        folder: An empty folder for its parts.

        is_normalized: False leaves the last module out, so that vectors have lengths other than 1.

        pooling: How a vector is made of the tokens' vectors, in sentence-transformers' words.

        truncate_dim: How many leading components it keeps by itself; None keeps all.

    Returns:
        The folder of the finished model.
    """
    torch.manual_seed(0)
    parts, model = folder / "parts", folder / "tiny"
    make_tokenizer(parts)
    BertModel(tiny_config()).save_pretrained(parts)
    with quiet():
        transformer = modules.Transformer(str(parts), max_seq_length=MAX_TOKENS)
        layers = [transformer, modules.Pooling(HIDDEN_SIZE, pooling_mode=pooling)]
        if is_normalized:
            layers.append(modules.Normalize())
        sentence_transformers.SentenceTransformer(
            modules=layers, device="cpu", truncate_dim=truncate_dim
        ).save(str(model))
    return model
