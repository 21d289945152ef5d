"""`triton-facade doctor` before the real stack, and before a real Triton whose model can't be loaded."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from deploy.local.triton import TritonServer
from tests.stack import CHECKOUT, MODEL_NAME, facade_environment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stack import Facade

pytestmark = pytest.mark.e2e

BROKEN = """
class TritonPythonModel:
    def initialize(self, args):
        raise RuntimeError("no weights at /weights")
"""


def diagnose(
    grpc_url: str, repository: Path, *arguments: str, **environment: str
) -> tuple[int, list[dict[str, Any]]]:
    """Run it; give its exit code and its findings."""
    ended = subprocess.run(
        [sys.executable, "-m", "facade", "doctor", "--json", "--repository", str(repository), *arguments],
        capture_output=True, text=True, check=False, timeout=120, cwd=CHECKOUT,
        env=facade_environment(grpc_url, **environment),
    )  # fmt: skip
    assert ended.stderr == ""
    return ended.returncode, json.loads(ended.stdout)["findings"]


def about(findings: list[dict[str, Any]], subject: str) -> dict[str, str]:
    """Give what was found about a subject, by status; of several the last."""
    return {found["status"]: found["found"] for found in findings if found["subject"] == subject}


def test_a_good_stack_has_no_problem(facade: Facade, triton: TritonServer, repository: Path) -> None:
    """Every file is hashed, everything on disk is loaded, the façade is ready, its clock is ours."""
    port = facade.url.rpartition(":")[2]
    code, findings = diagnose(
        triton.grpc_url, repository, "--deep", "--facade-url", facade.url, FACADE_PORT=port,
        FACADE_DEFAULT_MODEL=MODEL_NAME,
    )  # fmt: skip

    assert [found for found in findings if found["status"] == "problem"] == []
    assert code == 0
    assert about(findings, "repository").keys() == {"ok"}
    assert about(findings, "triton") == {"ok": "everything on disk is loaded"}
    assert about(findings, "façade").keys() == {"ok"}
    assert about(findings, "clocks")["ok"] == "agrees with this machine within two seconds"
    assert any("is taken by a façade that runs" in found["found"] for found in findings)


def test_tritons_http_port_is_named_as_the_likely_mistake(triton: TritonServer, repository: Path) -> None:
    """The commonest wrong port answers, but not in gRPC."""
    code, findings = diagnose(triton.http_url, repository, "--timeout", "2")
    found = next(one for one in findings if one["subject"] == "triton")

    assert (code, found["status"]) == (1, "problem")
    assert "not HTTP (8000)" in found["remedy"]


def test_a_model_that_fails_to_load_is_told_with_its_own_reason(triton: TritonServer, tmp_path: Path) -> None:
    """A Triton of its own, which stays up with nothing to serve."""
    model = tmp_path / "broken"
    (model / "1").mkdir(parents=True)
    (model / "1" / "model.py").write_text(BROKEN)
    (model / "config.pbtxt").write_text('name: "broken"\nbackend: "python"\nmax_batch_size: 1\n')
    server = TritonServer(tmp_path, extra_args=["--exit-on-error=false"])
    server.start()
    try:
        deadline = time.monotonic() + 60
        while not server.is_live(1) and time.monotonic() < deadline:
            time.sleep(0.05)  # it tells nobody that it is up, so it is asked
        code, findings = diagnose(server.grpc_url, tmp_path)
    finally:
        server.stop()
    problems = [one for one in findings if one["subject"] == "triton" and one["status"] == "problem"]

    assert code == 1
    assert "broken 1 is unavailable" in problems[0]["found"]
    assert "no weights at /weights" in problems[0]["found"]
    assert "/v2/repository/models/broken/load" in problems[0]["remedy"]
