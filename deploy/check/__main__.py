"""`python -m deploy.check`: one line a file or group of files, and what is wrong with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

from deploy.check.tools import CHECKOUT, ToolMissing, find_tool

DEPLOY = CHECKOUT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
BUILDS = sorted(
    path.parent for kind in ("overlays", "export") for path in KUBERNETES.glob(f"{kind}/*/kustomization.yaml")
)
"""What somebody applies."""

KUBERNETES_VERSIONS = ("1.31", "1.35")
"""The oldest and the newest that manifests are checked for. 1.30 is the first with `preStop.sleep` on by default."""

FACTS = tuple(
    f"tests/deploy/test_{what}.py" for what in ("compose", "dockerfiles", "kubernetes", "redis_conf")
)
"""What no schema sees: names, ports and selectors that meet."""


class Failed(Exception):
    """A tool found something wrong; the message is what it said."""


def check_compose() -> str:
    """Read docker-compose.yml with Compose, for each profile."""
    compose = str(find_tool("docker-compose"))
    for profile in ("cpu", "a100", "v100", "vllm", "export"):
        files = ["-f", "docker-compose.yml", "-f", "deploy/docker/grafana-port.yml"]
        # Each with and without the second file, and nothing of a .env that happens to be here.
        for chosen in (files[:2], files):
            _run(compose, "--env-file", os.devnull, "--profile", profile, *chosen, "config", "-q")
    return "docker-compose.yml, 5 profiles"


def check_dockerfiles() -> str:
    """Lint the Dockerfiles."""
    files = sorted((DEPLOY / "docker").glob("*.Dockerfile"))
    _run(_in_venv("hadolint"), *map(str, files))
    return f"{len(files)} Dockerfiles"


def check_runtime_python() -> str:
    """Look whether what Triton runs is understood by the oldest Python in its images."""
    _run(_in_venv("vermin"), "--no-tips", "--target=3.10-", "--violations", "export/runtime")
    return "export/runtime with Triton 24.10's Python 3.10"


def check_scripts() -> str:
    """Parse the shell scripts."""
    scripts = sorted(DEPLOY.glob("**/*.sh"))
    for script in scripts:
        _run("bash", "-n", str(script))
    return f"{len(scripts)} shell scripts"


def check_kubernetes() -> str:
    """Build what is applied, and hold it against Kubernetes' schemas."""
    kustomize = str(find_tool("kustomize"))
    built = CHECKOUT / ".run" / "kubernetes"
    built.mkdir(parents=True, exist_ok=True)
    files = []
    for folder in BUILDS:
        file = built / f"{folder.parent.name}-{folder.name}.yaml"
        _run(kustomize, "build", str(folder), "--output", str(file))
        files.append(str(file))
    for version in KUBERNETES_VERSIONS:
        _run(_in_venv("kubernetes-validate"), "--strict", "--quiet", "-k", version, *files)
    return f"{len(files)} Kustomize builds, Kubernetes {' and '.join(KUBERNETES_VERSIONS)}"


def check_prometheus() -> str:
    """Read Prometheus' configuration and rules, and run the rules' own tests."""
    folder = DEPLOY / "prometheus"
    _run("promtool", "check", "config", str(folder / "prometheus.yml"))
    _run("promtool", "check", "rules", *map(str, sorted((folder / "rules").glob("*.yml"))))
    tests = sorted((folder / "tests").glob("*.yml"))
    _run("promtool", "test", "rules", *map(str, tests))
    return f"Prometheus' configuration and rules, {len(tests)} alerts' tests"


def check_alertmanager() -> str:
    """Read Alertmanager's configuration."""
    _run("amtool", "check-config", str(DEPLOY / "prometheus" / "alertmanager.yml"))
    return "Alertmanager's configuration"


def check_facts() -> str:
    """Run the tests of what schemas can't see; a real Redis is started in them."""
    _run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *FACTS)
    return "names, ports, selectors, secrets, time-outs, a real Redis"


CHECKS: dict[str, Callable[[], str]] = {
    "compose": check_compose,
    "hadolint": check_dockerfiles,
    "vermin": check_runtime_python,
    "bash": check_scripts,
    "kustomize, kubernetes-validate": check_kubernetes,
    "promtool": check_prometheus,
    "amtool": check_alertmanager,
    "facts": check_facts,
}
"""What is run, by tool."""


def run_checks() -> Iterator[tuple[str, bool]]:
    """
    Run all checks, whatever becomes of one.

    Yields:
        A line, and whether all is well.
    """
    for tool, check in CHECKS.items():
        start = time.monotonic()
        try:
            what, is_well = check(), True
        except (Failed, ToolMissing) as failure:
            what, is_well = f"FAILED\n{failure}", False
        yield f"{tool}: {what} ({time.monotonic() - start:.1f} s)", is_well


def _in_venv(name: str) -> str:
    """Find a program of this environment's."""
    return str(Path(sys.executable).parent / name)


def _run(*command: str) -> None:
    if shutil.which(command[0]) is None:
        raise ToolMissing(f"{command[0]} is not installed")
    found = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=300)
    if found.returncode != 0:
        raise Failed(f"{' '.join(command)[:300]}\n{(found.stdout + found.stderr).strip()[-6000:]}")


def main() -> int:
    """
    Print the lines.

    Returns:
        Exit code: 0 if all is well.
    """
    is_well = True
    for line, is_line_well in run_checks():
        print(line, flush=True)
        is_well = is_well and is_line_well
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
