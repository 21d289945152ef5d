"""docker-compose.yml as Compose itself reads it: what it publishes, who reaches whom, and what each container may."""

from __future__ import annotations

import json
import re
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.check.tools import ToolMissing, find_tool
from deploy.local.install import site_packages
from deploy.local.triton import TritonServer
from deploy.write_secrets import PROFILES, main, write_secrets
from facade.settings import Settings
from tests.deploy.test_prometheus import run

CHECKOUT = Path(__file__).parents[2]
PROMETHEUS = CHECKOUT / "deploy" / "prometheus"


@pytest.fixture(name="compose", scope="module")
def _compose() -> dict[str, Any]:
    """The whole file, all profiles, merged and interpolated."""
    try:
        tool = find_tool("docker-compose")
    except ToolMissing as missing:
        pytest.skip(str(missing))
    command = [str(tool), "--env-file", "/dev/null", "-f", "docker-compose.yml"]
    for profile in (*PROFILES, "export"):
        command += ["--profile", profile]
    found = subprocess.run(
        [*command, "config", "--format", "json"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    read: dict[str, Any] = json.loads(found.stdout)
    return read


def seconds(duration: str) -> float:
    """Compose's durations, as it writes them: 1m30s."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", duration))


def test_only_the_facade_is_published(compose: dict[str, Any]) -> None:
    """And, until somebody opens it, to this machine alone."""
    published = {
        name: service["ports"] for name, service in compose["services"].items() if service.get("ports")
    }

    assert list(published) == ["facade"]
    (port,) = published["facade"]
    assert (port["host_ip"], port["target"]) == ("127.0.0.1", 8080)


def test_containers_may_do_little(compose: dict[str, Any]) -> None:
    """Not root, nothing to write to but what is named, no capability, a bound on memory and processes."""
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), name
        limits = service["deploy"]["resources"]["limits"]
        assert int(limits["memory"]) > 0, name
        assert limits["pids"] > 0, name
        assert not service.get("privileged"), name


def test_services_come_back_and_say_how_they_are(compose: dict[str, Any]) -> None:
    """But the export, which ends."""
    for name, service in compose["services"].items():
        if name == "export":
            continue
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"], name


def test_images_are_pinned(compose: dict[str, Any]) -> None:
    """Each has a tag that begins with a number or names hardware."""
    for name, service in compose["services"].items():
        repository, _, tag = service["image"].partition(":")
        assert re.match(r"v?\d|v100", tag), name
        assert ("build" in service) == repository.startswith("triton-facade/"), name


def test_a_name_stands_for_one_address(compose: dict[str, Any]) -> None:
    """Two services that meet on two networks would see each other twice, and be called or scraped twice."""
    for (one, first), (other, second) in combinations(compose["services"].items(), 2):
        assert len(set(first["networks"]) & set(second["networks"])) <= 1, (one, other)


def test_inner_networks_lead_nowhere(compose: dict[str, Any]) -> None:
    """Triton, Redis and Prometheus can't call out."""
    leading_out = {name for name, network in compose["networks"].items() if not network.get("internal")}

    assert leading_out == {"edge", "outside"}
    for name, service in compose["services"].items():
        if set(service["networks"]) & leading_out:
            assert name in {"facade", "alertmanager", "export"}


def test_what_is_scraped_and_called_can_be_reached(compose: dict[str, Any]) -> None:
    """Each name in Prometheus' and Grafana's configuration is a service on a network of theirs."""
    names: dict[str, set[str]] = {}
    for name, service in compose["services"].items():
        for network, options in service["networks"].items():
            for alias in (name, *((options or {}).get("aliases") or ())):
                names.setdefault(alias, set()).add(network)
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    jobs = [job["dns_sd_configs"][0] for job in config["scrape_configs"] if "dns_sd_configs" in job]
    scraped = {job["names"][0]: job["port"] for job in jobs}

    assert scraped == {"facade": 9464, "triton": 8002}
    for name in (*scraped, "alertmanager"):
        assert names[name] & names["prometheus"], name
    assert names["grafana"] & names["prometheus"]
    for name in ("triton", "redis"):
        assert len(names[name] & names["facade"]) == 1, name
    datasource = yaml.safe_load(
        (CHECKOUT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text()
    )
    assert datasource["datasources"][0]["url"] == "http://prometheus:9090"


def test_the_start_waits_for_health(compose: dict[str, Any]) -> None:
    """The façade for Redis and whichever Triton there is, Grafana for Prometheus, that for Alertmanager."""
    for service in compose["services"].values():
        for other, wanted in (service.get("depends_on") or {}).items():
            assert wanted["condition"] == "service_healthy", other
            assert compose["services"][other]["healthcheck"], other
    waits = compose["services"]["facade"]["depends_on"]
    tritons = {name for name in compose["services"] if name.startswith("triton-")}
    assert set(waits) == tritons | {"redis"}
    assert {name for name, wanted in waits.items() if not wanted["required"]} == tritons


def test_settings_are_settings(compose: dict[str, Any]) -> None:
    """A misspelt variable would be ignored without a word; containers live longer than a drain and a grace."""
    facade = compose["services"]["facade"]
    environment = facade["environment"]
    known = {f"FACADE_{name.upper()}" for name in Settings.model_fields} | {"FACADE_SECRETS_DIR"}
    assert set(environment) <= known
    drain_s = float(environment["FACADE_DRAIN_S"]) + float(environment["FACADE_SHUTDOWN_GRACE_S"])
    assert seconds(facade["stop_grace_period"]) > drain_s
    for name, service in compose["services"].items():
        if name.startswith("triton-"):
            (exit_timeout,) = [word for word in service["command"] if word.startswith("--exit-timeout-secs=")]
            assert seconds(service["stop_grace_period"]) > float(exit_timeout.partition("=")[2])


def test_secrets_are_files_that_are_written(
    compose: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them by one command, none in a variable, each where the service's configuration looks for it."""
    key = write_secrets(tmp_path, "a100")
    declared = {name: Path(secret["file"]).name for name, secret in compose["secrets"].items()}
    used = {
        secret["source"]
        for service in compose["services"].values()
        for secret in service.get("secrets") or ()
    }
    assert set(declared) == used
    for name in declared.values():
        assert (tmp_path / "secrets" / name).read_text().strip(), name
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / ".env").read_text() == "COMPOSE_PROFILES=a100\n"

    # Each file that a configuration names is given to the service that reads it.
    configuration = {"redis": "deploy/redis/redis.conf", "alertmanager": "deploy/prometheus/alertmanager.yml"}
    for name, path in configuration.items():
        given = {secret["source"] for secret in compose["services"][name]["secrets"]}
        assert set(re.findall(r"/run/secrets/([\w.]+)", (CHECKOUT / path).read_text())) == given, name

    # The façade takes what was written for it.
    monkeypatch.setenv("FACADE_KEYS_FILE", str(tmp_path / "secrets" / "keys" / "keys.yaml"))
    settings = Settings(_secrets_dir=tmp_path / "secrets")
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value().endswith("@redis:6379/0")
    assert key is not None
    for path in (tmp_path / "secrets").rglob("*"):
        assert path.is_dir() or key not in path.read_text(), path

    # A second run changes nothing.
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert write_secrets(tmp_path, "cpu") is None
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_mounts_are_there(compose: dict[str, Any]) -> None:
    """Docker would make an empty folder of what is missing."""
    made = ("secrets", "model_repository", "weights")
    for name, service in compose["services"].items():
        for mount in service.get("volumes") or ():
            if mount["type"] == "bind":
                source = Path(mount["source"])
                relative = source.relative_to(CHECKOUT)
                assert relative.parts[0] in made or source.exists(), (name, source)
                assert mount.get("read_only") or (name, relative.parts[0]) == ("export", "model_repository")


def test_redis_has_room_beyond_its_bound(compose: dict[str, Any]) -> None:
    """Or the kernel would end it before it forgets anything."""
    (bound,) = re.findall(
        r"^maxmemory (\d+)mb$", (CHECKOUT / "deploy/redis/redis.conf").read_text(), re.MULTILINE
    )
    limit = int(compose["services"]["redis"]["deploy"]["resources"]["limits"]["memory"])

    assert limit >= 1.4 * int(bound) * 1024 * 1024


def test_triton_knows_its_options(compose: dict[str, Any]) -> None:
    """The real one of this machine, which is 24.10, has each of them."""
    server = TritonServer(CHECKOUT / "model_repository")
    program = site_packages(server.home) / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    if not program.exists():
        pytest.skip("Triton is not installed: make install")
    told = subprocess.run(
        [program, "--help"], env=server._environment(), capture_output=True, text=True, check=False
    )
    help_text = told.stdout + told.stderr
    for name, service in compose["services"].items():
        if name.startswith("triton-"):
            for word in service["command"][1:]:
                assert word.partition("=")[0] in help_text, word


def test_prometheus_flags_are_known(compose: dict[str, Any]) -> None:
    """By the real Prometheus and Alertmanager of this machine."""
    for name, program in (("prometheus", "prometheus"), ("alertmanager", "prometheus-alertmanager")):
        told = run(program, "--help")
        for word in compose["services"][name]["command"]:
            assert word.partition("=")[0] in told.stdout + told.stderr, word


def test_the_command_line_says_its_key_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stdout alone, so that it can be kept by a pipe."""
    monkeypatch.setattr("deploy.write_secrets.CHECKOUT", tmp_path)
    monkeypatch.setattr("sys.argv", ["write_secrets.py", "cpu"])
    assert main() == 0
    assert len(capsys.readouterr().out.strip()) == 43
    assert main() == 0
    assert capsys.readouterr().out == ""
