"""
int8 for CPUs: weights as bytes with one scale a column, activations turned into bytes while the graph runs.

What decides how near it stays to the original, measured on all-MiniLM-L6-v2 over the texts of the parity check
(cosine to fp32, least and mean; AMD EPYC with AVX2 and no VNNI):

    one scale a matrix                                   0.810  0.928
    one scale a column                                   0.971  0.986
    ... weights in 7 bits (`reduce_range`)               0.963  0.986    what is done here
    ... weights unsigned                                 0.975  0.989    a third slower: another kernel
    ... the embedding table left in fp32                 0.963  0.987    2.6 times the size, for nothing
    ... the matrices after GELU left in fp32             0.983  0.992    loses half of what int8 gains
    ... activations smoothed by calibration (alpha 0.5)  0.857  0.960    larger weights overflow the 16 bits of AVX2

Seven bits cost nothing, and give the same answers on every x86: without VNNI, the kernel adds pairs of products in
16 bits, which eight-bit weights can overflow.

A quantised graph has one scale for the activations of the *whole batch*: a text's vector depends, in its last
digits, on the texts that run with it. fp32 has no such thing.
"""

import logging
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from export.errors import ConversionFailed

WEIGHTED = ("MatMul", "Gemm")
"""Operators whose constant matrices are quantised."""

TABLES = ("Gather",)
"""Operators whose constant tables are: an embedding table is a fourth of the size then, and as good."""


def to_int8(source: Path, target: Path) -> None:
    """
    Quantise a graph dynamically. Any encoder will do: matrices and tables are found in the graph itself.

    Args:
        source: The raw fp32 graph as it was traced; one that was optimised has operators that can't be quantised.

        target: Where the quantised one goes, in one file.

    Raises:
        ConversionFailed: If there is no matrix in it that could be quantised.

        OSError: If it can't be written.
    """
    model = onnx.load(str(source))
    if not weighted_nodes(model):
        raise ConversionFailed(
            "The graph has no matrix multiplication with constant weights, so int8 would change nothing. "
            "Use --precision fp32."
        )
    # onnxruntime suggests a preprocessing step on the root logger; it fuses what must stay apart here.
    root, disabled = logging.getLogger(), logging.getLogger().disabled
    root.disabled = True
    try:
        quantize_dynamic(
            model,
            target,
            op_types_to_quantize=[*WEIGHTED, *TABLES],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
    finally:
        root.disabled = disabled


def weighted_nodes(model: onnx.ModelProto) -> list[str]:
    """
    List the operators that multiply by constant matrices.

    Args:
        model: A graph.

    Returns:
        Their names, in the graph's order.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type in WEIGHTED and node.input[1] in constants]
