"""
Triton called by its own tool, perf_analyzer, where it can be had: a client in C++ costs the cores less than Python's.

It is installed by ``python -m tests.load.peers.install perf_analyzer``: the last tritonclient whose wheel carries it,
and NVIDIA's CUDA runtime that it is linked with. It also needs Debian's ``libb64-0d``.
"""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tests.load import machine
from tests.load.measure import BenchFailed
from tests.load.peers import install
from tests.load.texts import make_texts, read_words

if TYPE_CHECKING:
    from tests.load.measure import Contender, Load
    from tests.load.rounds import Figures

NAME = "perf_analyzer"
TEXTS = 8_192
"""Different ones; Triton itself caches none."""

REQUESTS_PER_S = 300
"""It is told how many requests to send, or it goes on until it finds the machine stable."""

TIMEOUT_S = 120


def is_available() -> bool:
    """
    Tell whether it can be run.

    Returns:
        Whether it is installed, with all that it is linked with.
    """
    if not install.is_installed(NAME):
        return False
    done = subprocess.run([_program(), "--version"], env=_environment(), capture_output=True, check=False)
    return b"error while loading" not in done.stderr


def measure_perf_analyzer(contender: Contender, load: Load, seed: str, folder: Path) -> Figures:
    """
    Put Triton under its load once.

    Args:
        contender: Triton's gRPC endpoint and model.

        load: How.

        seed: Fixes the texts.

        folder: For its files.

    Returns:
        Figures as `measure.measure` gives them.

    Raises:
        BenchFailed: If it fails.
    """
    words = read_words(Path(load.tokenizer_file))
    texts = islice(make_texts(words, contender.traffic, seed, contender.name), TEXTS)
    asked, found = folder / "perf_analyzer.json", folder / "perf_analyzer.csv"
    asked.write_text(json.dumps({"data": [{"text": [text]} for text in texts]}), encoding="utf-8")
    command = [
        *(_program(), "-m", contender.model, "-u", contender.address, "-i", "grpc"),
        *("--concurrency-range", str(load.concurrency), "--input-data", str(asked), "-f", str(found)),
        *("--request-count", str(round(REQUESTS_PER_S * load.measure_s))),
    ]
    tree = set().union(*(machine.tree_of(pid) for pid in contender.programs.values()))
    before_s, cpu_before_s, own_before_s = machine.busy_cpu_s(), machine.cpu_s(tree), _children_s()
    started = time.perf_counter()
    done = subprocess.run(
        command, env=_environment(), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    took_s = time.perf_counter() - started
    if done.returncode or not found.exists():
        raise BenchFailed(f"perf_analyzer failed: {done.stdout[-500:]} {done.stderr[-500:]}")
    cpu_s, own_s = machine.cpu_s(tree) - cpu_before_s, _children_s() - own_before_s
    figures = read_csv(found.read_text(encoding="utf-8"))
    texts_run = figures["texts_per_s"] * took_s
    return {
        **figures,
        "answered": round(texts_run),
        # Of its whole run, start and end included.
        "cpu_us_a_text": {"triton": cpu_s / texts_run * 1e6, "generator": own_s / texts_run * 1e6},
        "others_share": max(0.0, machine.busy_cpu_s() - before_s - cpu_s - own_s) / took_s / machine.cores(),
    }


def read_csv(text: str) -> dict[str, float]:
    """
    Read what it wrote.

    Args:
        text: Its CSV report, of one concurrency; latencies in microseconds.

    Returns:
        Figures by name.
    """
    (row,) = csv.DictReader(text.splitlines())
    return {
        "texts_per_s": float(row["Inferences/Second"]),
        "p50_ms": float(row["p50 latency"]) / 1000,
        "p99_ms": float(row["p99 latency"]) / 1000,
    }


def _program() -> str:
    return str(install.python_of(NAME).with_name("perf_analyzer"))


def _environment() -> dict[str, str]:
    libraries = install.FOLDER.glob(f"{NAME}/lib/python*/site-packages/nvidia/cuda_runtime/lib")
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, libraries))}


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
