"""
Many users of a real façade: ``make load``, or ``python -m tests.load.users``.

It exports the model, starts Triton and a façade with default settings, and lets Locust loose with `locustfile`; options
that this program doesn't know are Locust's or the file's own, such as ``--minutes 3 --most-users 200``.
``bench-results/<date>-users/`` gets Locust's page and CSV files. The exit code is Locust's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.load import machine
from tests.load.stage import Stage
from tests.stack import KEY, export_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.stack import Facade

RESULTS = machine.CHECKOUT / "bench-results"


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Start everything, let users in, stop everything.

    Args:
        arguments: Without the program's name; None for the process's own.

    Returns:
        The exit code: Locust's, 130 if interrupted.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.load.users", description=__doc__)
    _, options = parser.parse_known_args(arguments)
    report = RESULTS / time.strftime("%Y-%m-%d_%H%M%S-users")
    try:
        with tempfile.TemporaryDirectory(prefix="triton-facade-export-") as folder:
            exported = Path(folder) / "repository"
            export_model(exported)
            with Stage(exported, _say, ()) as stage:
                report.mkdir(parents=True)
                _say(f"users come; the report will be in {report}")
                return run_locust(stage.start_facade(), stage.tokenizer_file, report, options)
    except KeyboardInterrupt:
        return 130


def run_locust(facade: Facade, tokenizer_file: Path, report: Path, options: Sequence[str]) -> int:
    """
    Let Locust's users loose on a façade.

    Args:
        facade: Who is asked.

        tokenizer_file: Where words come from.

        report: Folder for its page and CSV files.

        options: Further ones, Locust's or the locustfile's.

    Returns:
        Its exit code.
    """
    command = [
        *(sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("locustfile.py"))),
        *("--headless", "--host", facade.url, "--tokenizer", str(tokenizer_file)),
        *("--html", str(report / "report.html"), "--csv", str(report / "locust")),
        *options,
    ]
    environment = {**os.environ, "LOAD_KEY": KEY, "PYTHONPATH": str(machine.CHECKOUT)}
    return subprocess.run(command, env=environment, cwd=report, check=False).returncode


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
