"""
The supervisor: installs, exports, starts Triton and the façade, keeps them alive, and leaves nothing behind.

What happens when something is killed with SIGKILL:
    Triton, a stub of it    it is started again, on the same ports; also if it hangs for half a minute
    the façade              it is started again
    the janitor             another one is started
    the supervisor          the janitor ends and removes everything
    make                    the supervisor hears of it from the kernel, and stops everything in order
More than five restarts of one part within a minute, and everything is stopped.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from deploy.local import linux
from deploy.local.children import Facade, Janitor
from deploy.local.console import Console
from deploy.local.install import SERVE_EXTRAS, Places, install
from deploy.local.model import EMBEDDING, GENERATION, ModelChoice, ServedModel, choose_model, export_all
from deploy.local.probe import NotAnswering, has_page, wait_for_answer
from deploy.local.steps import StepFailed, tail
from deploy.local.triton import TritonFailed, TritonServer
from deploy.local.watch import RESTART_WINDOW_S, RESTARTS, Restarts, TritonWatch, how_it_ended

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

_POLL_S = 0.25
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SAME_SIGNAL_S = 1.0
_LOAD_TIMEOUT_S = 300.0
_ANSWER_TIMEOUT_S = 60.0


class PartFailed(Exception):
    """A part ended for good; the message says which, why, and what to do."""


class _Stopped(BaseException):
    """A signal asked us to stop; raised wherever the main thread happens to be."""


class Supervisor:
    """One run of Triton and the façade."""

    def __init__(
        self, places: Places, environment: Mapping[str, str], ports: Mapping[str, int], host: str
    ) -> None:
        """
        Put the parts together; nothing runs before `run`.

        Args:
            places: The checkout.

            environment: What the user set: API_KEY, MODEL, NAME, and whatever FACADE_* there is.

            ports: Port by variable name.

            host: Address for the façade.
        """
        self.places, self.host, self.port = places, host, ports["PORT"]
        self.choice: ModelChoice = choose_model(environment)
        self.served: list[ServedModel] = []
        self.key = environment.get("API_KEY", "").strip() or secrets.token_urlsafe(24)
        self.console = Console()
        self._mark = secrets.token_hex(8)
        # Logs are named by port, so that two runs of one checkout don't write to the same.
        self.triton = TritonServer(
            places.repository,
            home=places.triton,
            http_port=ports["TRITON_HTTP_PORT"],
            grpc_port=ports["TRITON_GRPC_PORT"],
            metrics_port=ports["TRITON_METRICS_PORT"],
            log_path=places.logs / f"triton-{ports['TRITON_GRPC_PORT']}.log",
            env={linux.RUN_MARK: self._mark},
        )
        self.facade = Facade(
            places.venv,
            places.logs / f"facade-{self.port}.log",
            host,
            self.port,
            self._facade_environment(environment),
        )
        self._janitor = Janitor(self._mark, self.triton.shm_prefix)
        self._restarts = {"Triton": Restarts(), "The façade": Restarts()}
        self._triton_watch = TritonWatch(self.triton)

    def run(self) -> int:
        """
        Serve until a signal comes.

        Returns:
            Exit code: 0 after a signal, 1 if a part failed.
        """
        for signum in _STOP_SIGNALS:
            signal.signal(signum, _stop)
        linux.adopt_orphans()
        if "MAKELEVEL" in os.environ:
            linux.signal_me_when_parent_dies()
            _stop_when_make_is_interrupted()
        try:
            self._start()
            self._watch()
        except _Stopped:
            self.console.say("stopping ...")
            return 0
        except (StepFailed, TritonFailed, PartFailed) as failure:
            self.console.fail(str(failure))
            return 1
        finally:
            self._bring_down()

    def _facade_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        defaults = {
            "FACADE_ENVIRONMENT": "development",
            # Nobody balances load in front of this one: it need not wait to be taken out of rotation.
            "FACADE_DRAIN_S": "0",
            # Metrics are on the façade's own port, with the key: one port fewer that can be taken.
            "FACADE_METRICS_PORT": "",
            "FACADE_DEFAULT_MODEL": self.choice.name,
        }
        unwanted = {"API_KEY", "PYTHONPATH", "PYTHONHOME"}
        inherited = {key: value for key, value in environment.items() if key not in unwanted}
        ours = {
            "FACADE_TRITON_URL": self.triton.grpc_url,
            "FACADE_API_KEY": self.key,
            linux.RUN_MARK: self._mark,
        }
        return {**defaults, **inherited, **ours}

    def _start(self) -> None:
        say = self.console.say
        install(self.places, SERVE_EXTRAS, say)
        self.served = export_all(self.places, self.choice, say)
        self.places.logs.mkdir(parents=True, exist_ok=True)
        for log in (self.triton.log_path, self.facade.log_path):
            log.write_bytes(b"")
        self._janitor.start()
        say("starting Triton and loading the models ...")
        self.triton.start()
        self.triton.wait_ready(_LOAD_TIMEOUT_S)
        self._janitor.tell_folders(self.triton.temporary_dirs)
        say("starting the façade ...")
        self.facade.start()
        try:
            for model in self.served:
                wait_for_answer(
                    self.host,
                    self.port,
                    self.key,
                    model,
                    timeout_s=_ANSWER_TIMEOUT_S,
                    check_alive=self._check_alive,
                )
        except NotAnswering as silence:
            raise PartFailed(
                f"The façade and Triton run, but {silence}\nLook into {self.facade.log_path} and "
                f"{self.triton.log_path}."
            ) from None
        self.console.announce(self._greeting())

    def _check_alive(self) -> None:
        """Make the end of a part a failure while everything is starting."""
        if (code := self.facade.exit_code()) is not None:
            raise PartFailed(
                f"The façade {how_it_ended(code)} while it was starting. The last lines of {self.facade.log_path}:\n"
                f"{tail(self.facade.log_path)}"
            )
        if (code := self.triton.exit_code()) is not None:
            raise PartFailed(
                f"Triton {how_it_ended(code)} while the façade was starting. {self.triton.explain()}"
            )

    def _greeting(self) -> str:
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 - compared only
        url = f"http://{shown}:{self.port}"
        headers = f"-H {shlex.quote(f'Authorization: Bearer {self.key}')} -H 'Content-Type: application/json'"
        questions = "".join(
            f"curl {options}{url}{path} {headers} -d {shlex.quote(body)}\n\n"
            for options, path, body in filter(None, map(_first_question, self.served))
        )
        page = f"  page {url}/ui\n" if has_page(self.host, self.port) else ""
        return (
            f"ready\n  URL  {url}\n{page}  key  {self.key}\n\n{questions}"
            f"Logs are in {self.facade.log_path.parent}. Ctrl-C stops everything."
        )

    def _watch(self) -> NoReturn:
        while True:
            time.sleep(_POLL_S)
            if not self._janitor.is_running():
                self.console.say("the janitor died; another one is started")
                self._janitor.start()
            if (wrong := self._triton_watch.what_is_wrong()) is not None:
                self._revive("Triton", wrong, self._restart_triton)
            if (code := self.facade.exit_code()) is not None:
                self._revive("The façade", how_it_ended(code), self._restart_facade)

    def _revive(self, part: str, what_happened: str, restart: Callable[[], None]) -> None:
        """Start a part again, until that has failed too often."""
        log = self.triton.log_path if part == "Triton" else self.facade.log_path
        while True:
            pause_s = self._restarts[part].next_pause_s(time.monotonic())
            if pause_s is None:
                raise PartFailed(
                    f"{part} {what_happened}, after {RESTARTS} restarts within {RESTART_WINDOW_S:.0f} s: "
                    f"stopping everything. The last lines of {log}:\n{tail(log)}"
                )
            self.console.say(f"{part} {what_happened}; starting it again ...")
            time.sleep(pause_s)
            try:
                restart()
            except TritonFailed as failure:
                self.console.fail(str(failure))
                what_happened = "did not come back"
                continue
            self.console.say("  it runs again")
            return

    def _restart_triton(self) -> None:
        # A server with a dead stub, or one that hangs, is not worth a gentle end: its requests fail anyway.
        self.triton.kill()
        self.triton.restart(_LOAD_TIMEOUT_S)
        self._triton_watch.forget()
        self._janitor.tell_folders(self.triton.temporary_dirs)

    def _restart_facade(self) -> None:
        self.facade.clear_away()
        self.facade.start()

    def _bring_down(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        # make and the terminal may send the same signal twice: only a later one means "at once".
        calm_until = time.monotonic() + _SAME_SIGNAL_S
        for signum in _STOP_SIGNALS:
            signal.signal(signum, lambda *_: _stop() if time.monotonic() > calm_until else None)
        try:
            self.facade.stop()
            self.triton.stop()
        except _Stopped:
            self.console.say("stopping at once ...")
        # From here on it takes milliseconds, and nothing may interrupt it.
        for signum in (*_STOP_SIGNALS, signal.SIGALRM):
            signal.signal(signum, signal.SIG_IGN)
        self.facade.clear_away()
        self.triton.kill()
        linux.end_marked_processes(self._mark, 0)
        self._janitor.dismiss()
        self.console.say("stopped; nothing is left running")


def _first_question(model: ServedModel) -> tuple[str, str, str] | None:
    """Choose what a newcomer may ask a model: curl's options, path and body."""
    if model.task == EMBEDDING:
        return "", "/v1/embeddings", json.dumps({"model": model.name, "input": "Hello, world"})
    if model.task != GENERATION:
        return None
    body: dict[str, object] = {"model": model.name, "stream": True}
    if not model.can_chat:
        return "-N ", "/v1/completions", json.dumps(body | {"prompt": "Once upon a time", "max_tokens": 50})
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    return "-N ", "/v1/chat/completions", json.dumps(body | {"messages": messages})


def _stop(_signum: int = 0, _frame: FrameType | None = None) -> NoReturn:
    raise _Stopped


def _stop_when_make_is_interrupted() -> None:
    """
    Notice that make itself got a SIGINT.

    A terminal sends Ctrl-C to make and to us. A program that runs make may send SIGINT to make alone, which
    then only waits for us. What can be seen of it: make gives up its own handler for that signal.
    """
    make = os.getppid()
    if not linux.catches(make, signal.SIGINT):
        return

    def look(_signum: int, _frame: FrameType | None) -> None:
        if not linux.catches(make, signal.SIGINT):
            _stop()

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _POLL_S, _POLL_S)


def main(ports: Mapping[str, int], host: str) -> int:
    """
    Serve from the folder this is started in.

    Args:
        ports: Port by variable name.

        host: Address for the façade.

    Returns:
        Exit code.
    """
    return Supervisor(Places(Path.cwd()), dict(os.environ), ports, host).run()
