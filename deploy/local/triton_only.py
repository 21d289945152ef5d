"""
Triton alone, for whoever measures it: ``python3 -m deploy.local triton --repository FOLDER``.

It says where it listens, as one line of JSON on stdout, once every model is ready; models can be loaded again on
request. It ends with its stdin: when whoever started it closes that, or dies.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.triton import TritonFailed, TritonServer

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(root: Path, arguments: Sequence[str]) -> int:
    """
    Serve a repository until stdin ends.

    Args:
        root: The checkout; `make install` was run in it.

        arguments: The command line behind the command's name.

    Returns:
        Exit code: 0 it ended with its stdin, 1 Triton didn't start.
    """
    parser = argparse.ArgumentParser(prog="python3 -m deploy.local triton", description=__doc__)
    parser.add_argument("--repository", type=Path, required=True, help="the model repository")
    chosen = parser.parse_args(arguments)
    try:
        with TritonServer(chosen.repository, home=root / ".triton") as triton:
            where = {"grpc": triton.grpc_url, "http": triton.http_url, "metrics": triton.metrics_url}
            print(json.dumps(where), flush=True)
            sys.stdin.read()
    except TritonFailed as failure:
        print(failure, file=sys.stderr, flush=True)
        return 1
    return 0
