"""The supervisor's other children: the façade, and the janitor that outlives the supervisor."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from deploy.local import linux
from deploy.local.janitor import folders_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_STOP_TIMEOUT_S = 15.0


class Facade:
    """The façade's process, which can be started again after it died."""

    def __init__(self, venv: Path, log_path: Path, host: str, port: int, env: Mapping[str, str]) -> None:
        """
        Describe the process; nothing runs before `start`.

        Args:
            venv: The environment it is installed in.

            log_path: File for its output, appended to.

            host: Address to listen on.

            port: Port to listen on.

            env: Its whole environment, the API key included, which has no place on a command line.
        """
        self.log_path = log_path
        self._command = [str(venv / "bin" / "python"), str(venv / "bin" / "triton-facade"), "serve"]
        self._command += ["--host", host, "--port", str(port)]
        self._env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return at once."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-IS", "-c", linux.DIE_WITH_PARENT, *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
            )

    def exit_code(self) -> int | None:
        """Tell how it ended, as `subprocess` does; None if it did not."""
        return None if self._process is None else self._process.poll()

    def clear_away(self) -> None:
        """Make sure that nothing of a façade that died is left."""
        if self._process is not None:
            linux.end_group(self._process.pid)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Stop it, letting requests in flight finish."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_TIMEOUT_S)
        self.clear_away()


class Janitor:
    """The janitor's process and our end of its pipe."""

    def __init__(self, run: str, shm_prefix: str) -> None:
        """
        Describe the process; nothing runs before `start`.

        Args:
            run: The mark of the processes that it is to end.

            shm_prefix: What the names of the run's shared-memory regions begin with.
        """
        self._arguments = [run, shm_prefix]
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None
        self._folders: set[Path] = set()

    def start(self) -> None:
        """Start it, in the place of one that died too."""
        if self._pipe is not None:
            os.close(self._pipe)
        # Python's pipes are not inherited, so no other child keeps the writing end open.
        reading_end, self._pipe = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "deploy.local.janitor", *self._arguments],
            stdin=reading_end,
            start_new_session=True,
        )
        os.close(reading_end)
        self.tell_folders(self._folders)

    def tell_folders(self, folders: set[Path]) -> None:
        """
        Let it know which folders belong to the run.

        Args:
            folders: All of them; what was told before no longer counts.
        """
        self._folders = set(folders)
        if self._pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._pipe, folders_line(self._folders))

    def is_running(self) -> bool:
        """Tell whether it lives."""
        return self._process is not None and self._process.poll() is None

    def dismiss(self) -> None:
        """Let it look around for a last time and wait until it has gone."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        if self._process is not None:
            self._process.wait()
            self._process = None
