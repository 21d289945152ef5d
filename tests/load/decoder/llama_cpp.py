"""
llama.cpp for comparison: built for this machine from the source in `llama-cpp-python`'s sdist, used nowhere else.

``python -m tests.load.decoder.llama_cpp`` builds it (cmake and a C++ compiler are needed; about ten minutes of one
core) and converts the model. The bench leaves llama.cpp out while it isn't there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING, Any

from tests.load.decoder import models
from tests.load.decoder.contenders import NEW_TOKENS, PROMPT_TOKENS
from tests.load.machine import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = CHECKOUT / ".cache" / "bench" / "llama.cpp"
BENCH = FOLDER / "build" / "bin" / "llama-batched-bench"
QUANTIZE = FOLDER / "build" / "bin" / "llama-quantize"
FORMATS = ("f32", "q8_0")
"""Number formats, in llama.cpp's spelling."""


def model_file(number_format: str) -> Path:
    """Say where the model is in a number format."""
    return FOLDER / f"llama-100m-{number_format}.gguf"


def is_ready() -> bool:
    """Tell whether llama.cpp and its models are there."""
    return BENCH.exists() and all(model_file(it).exists() for it in FORMATS)


def build() -> None:
    """Build llama.cpp's batched bench and its quantizer, in the instructions of this machine."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not BENCH.exists():
        package = "llama-cpp-python"
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", package, package]
        subprocess.run([*pip, "-d", str(FOLDER)], check=True)
        with tarfile.open(max(FOLDER.glob("llama_cpp_python-*.tar.gz"))) as archive:
            archive.extractall(FOLDER, filter="data")
        options = ["CMAKE_BUILD_TYPE=Release", "GGML_NATIVE=ON", "BUILD_SHARED_LIBS=OFF", "LLAMA_CURL=OFF"]
        options += [f"LLAMA_BUILD_{part}=OFF" for part in ("TESTS", "EXAMPLES", "SERVER")]
        options.append("LLAMA_BUILD_TOOLS=ON")
        made = FOLDER / "build"
        subprocess.run(
            ["cmake", "-S", str(source()), "-B", str(made), *(f"-D{it}" for it in options)], check=True
        )
        targets = ["--target", "llama-batched-bench", "llama-quantize"]
        subprocess.run(["cmake", "--build", str(made), *targets], check=True)
    if not is_ready():
        script = CHECKOUT / "tests" / "load" / "decoder" / "write_gguf.py"
        paths = {"PYTHONPATH": str(source() / "gguf-py")}
        arguments = [str(models.make_original()), str(model_file("f32"))]
        subprocess.run([sys.executable, str(script), *arguments], check=True, env={**os.environ, **paths})
        subprocess.run([str(QUANTIZE), str(model_file("f32")), str(model_file("q8_0")), "q8_0"], check=True)


def source() -> Path:
    """Find llama.cpp's source."""
    return max(FOLDER.glob("llama_cpp_python-*/vendor/llama.cpp"))


def measure(number_format: str, requests: int) -> dict[str, Any]:
    """
    Run the batched bench once.

    Args:
        number_format: The model's.

        requests: Prompts that are read and answered together.

    Returns:
        Tokens, and tokens a second over the whole time, reading the prompts included.
    """
    wanted = {
        "-m": str(model_file(number_format)),
        "-c": str(requests * (PROMPT_TOKENS + NEW_TOKENS)),
        "-npp": str(PROMPT_TOKENS),
        "-ntg": str(NEW_TOKENS),
        "-npl": str(requests),
        "-t": str(models.THREADS),
        "-tb": str(models.THREADS),
        "--output-format": "jsonl",
    }
    arguments = [part for pair in wanted.items() for part in pair]
    done = subprocess.run([str(BENCH), *arguments], capture_output=True, text=True, check=True)
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    tokens = found["pl"] * found["tg"]
    return {"tokens": tokens, "tokens_per_s": tokens / found["t"]}


if __name__ == "__main__":
    build()
