"""
The original classifiers and rerankers, as their authors meant them to be run: what the export has to equal.

Importing this module loads torch, which takes seconds; only the steps that need the original import it.
"""

from typing import Any

import torch
from sentence_transformers import CrossEncoder
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from export.artifacts import Activation, SourceModel
from export.errors import ModelUnreadable
from export.original import as_unreadable, quiet

_ACTIVATIONS: dict[type, Activation] = {torch.nn.Sigmoid: "Sigmoid", torch.nn.Identity: "Identity"}
"""What a cross-encoder's activations are called in ONNX."""


def load_classifier(source: SourceModel) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """
    Load a model of transformers' ForSequenceClassification classes, on the CPU in fp32.

    Args:
        source: The model's files.

    Returns:
        The model, in evaluation mode, and its tokenizer.

    Raises:
        ModelUnreadable: If its files are damaged, or have no weights for the classification head.
    """
    settings: dict[str, Any] = {"trust_remote_code": source.trust_remote_code, "local_files_only": True}
    with quiet(), as_unreadable(source):
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            source.folder, output_loading_info=True, **settings
        )
        tokenizer = AutoTokenizer.from_pretrained(source.folder, **settings)
    if loading["missing_keys"]:
        raise ModelUnreadable(
            f"The files of '{source.model_id}' lack weights ({min(loading['missing_keys'])}), which would be "
            "random. Give a model that was trained to classify."
        )
    return model.float().eval(), tokenizer


def classifier_activation(config: Any) -> Activation:
    """
    Find what turns a classifier's logits into scores.

    Args:
        config: Its configuration.

    Returns:
        The ONNX operator.

    Source:
        `TextClassificationPipeline.postprocess` of transformers 4.57.
    """
    if config.problem_type == "regression":
        return "Identity"
    is_multi_label = config.problem_type == "multi_label_classification" or config.num_labels == 1
    return "Sigmoid" if is_multi_label else "Softmax"


def load_reranker(source: SourceModel) -> CrossEncoder:
    """
    Load a cross-encoder, on the CPU in fp32.

    Args:
        source: The model's files.

    Returns:
        The model, in evaluation mode, truncating where the files say.

    Raises:
        ModelUnreadable: If its files are damaged, or not a model that sentence-transformers knows.
    """
    with quiet(), as_unreadable(source):
        model = CrossEncoder(
            str(source.folder),
            device="cpu",
            trust_remote_code=source.trust_remote_code,
            local_files_only=True,
        )
        model = model.float().eval()
        # Some tokenizers name no limit, and then the original fails on a long pair instead of truncating it.
        if model.max_seq_length is None or model.max_seq_length > source.max_input_tokens:
            model.max_seq_length = source.max_input_tokens
    return model


def reranker_activation(source: SourceModel, model: CrossEncoder) -> Activation:
    """
    Find what turns a cross-encoder's logit into its score.

    Args:
        source: The model's files, for the message.

        model: The original.

    Returns:
        The ONNX operator.

    Raises:
        ModelUnreadable: If the model names another function than the graph can end in.
    """
    activation = _ACTIVATIONS.get(type(model.activation_fn))
    if activation is None:
        raise ModelUnreadable(
            f"'{source.model_id}' turns its output into a score by {type(model.activation_fn).__name__}, which can't "
            "be exported. Set activation_fn in config.json to Sigmoid or Identity of torch.nn."
        )
    return activation
