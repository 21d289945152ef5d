"""What Kubernetes' schemas can't see: names, ports, selectors, secrets and times that have to meet."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.check.__main__ import BUILDS
from deploy.check.tools import ToolMissing, find_tool
from deploy.kubernetes.__main__ import FOLDER, WRITTEN
from deploy.write_secrets import NAMESPACE, write_kubernetes_secrets
from export.targets import CURRENT, VOLTA
from facade.metric_families import COUNTERS, GAUGES, HISTOGRAMS
from facade.settings import Settings
from tests.deploy.test_prometheus import run
from tests.deploy.test_redis_conf import read_items

OVERLAYS = [path for path in BUILDS if path.parent.name == "overlays"]
CONTROLLERS = ("Deployment", "StatefulSet", "Job")
MADE_BY_USERS = {"facade-redis", "redis-users", "facade-keys"}
Manifest = dict[str, Any]


def build(folder: Path) -> list[Manifest]:
    """All objects of a folder, as Kustomize makes them."""
    try:
        tool = find_tool("kustomize")
    except ToolMissing as missing:
        pytest.skip(str(missing))
    found = subprocess.run([tool, "build", folder], capture_output=True, text=True, check=True)
    return [manifest for manifest in yaml.safe_load_all(found.stdout) if manifest]


@pytest.fixture(
    name="built", scope="module", params=BUILDS, ids=lambda path: f"{path.parent.name}-{path.name}"
)
def _built(request: pytest.FixtureRequest) -> list[Manifest]:
    """Each overlay and each export."""
    return build(request.param)


@pytest.fixture(name="overlay", scope="module", params=OVERLAYS, ids=lambda path: path.name)
def _overlay(request: pytest.FixtureRequest) -> list[Manifest]:
    """Each overlay."""
    return build(request.param)


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    """Those of a kind."""
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """The one of this name."""
    (found,) = (one for one in of_kind(manifests, kind) if one["metadata"]["name"] == name)
    return found


def pods(manifests: list[Manifest]) -> dict[str, tuple[dict[str, str], Manifest]]:
    """Labels and spec of what runs, by its controller's name; KServe's runtime is one."""
    found = {
        manifest["metadata"]["name"]: (
            manifest["spec"]["template"]["metadata"]["labels"],
            manifest["spec"]["template"]["spec"],
        )
        for manifest in of_kind(manifests, *CONTROLLERS)
    }
    for runtime in of_kind(manifests, "ServingRuntime"):
        service = named(manifests, "InferenceService", "triton")
        spec = {**runtime["spec"], **service["spec"]["predictor"]}
        found[runtime["metadata"]["name"]] = (runtime["spec"]["labels"], spec)
    return found


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a selector of labels takes these."""
    assert set(selector) <= {"matchLabels"}
    return selector.get("matchLabels", {}).items() <= labels.items()


def ports_of(spec: Manifest) -> dict[str, int]:
    """Named ports of all containers."""
    return {
        port["name"]: port["containerPort"] for box in spec["containers"] for port in box.get("ports", ())
    }


def test_everything_is_in_the_namespace(built: list[Manifest]) -> None:
    """The same one that the Secrets are written for."""
    for manifest in built:
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["namespace"] == NAMESPACE, manifest["metadata"]["name"]


def test_pods_are_locked_down(built: list[Manifest]) -> None:
    """As the namespace demands, and read-only beyond that; images pinned; memory bounded."""
    for name, (_, spec) in pods(built).items():
        for box in spec["containers"]:
            locked = box["securityContext"]
            assert locked["allowPrivilegeEscalation"] is False, name
            assert locked["readOnlyRootFilesystem"] is True, name
            assert locked["capabilities"] == {"drop": ["ALL"]}, name
            whole = {**spec.get("securityContext", {}), **locked}
            assert whole["runAsNonRoot"] is True
            assert whole["runAsUser"] > 0
            assert whole["seccompProfile"] == {"type": "RuntimeDefault"}, name
            assert re.search(r":(\d[\w.-]*|v100\S*)$", box["image"]), box["image"]
            assert {"cpu", "memory"} <= set(box["resources"]["requests"]), name
            assert "memory" in box["resources"]["limits"], name
        if name != "triton-facade":
            assert spec["automountServiceAccountToken"] is False, name


def test_services_find_pods_and_ports(overlay: list[Manifest]) -> None:
    """Each selector takes some pod, and each of its pods has the named port."""
    for service in of_kind(overlay, "Service"):
        taken = [
            spec
            for labels, spec in pods(overlay).values()
            if service["spec"]["selector"].items() <= labels.items()
        ]
        assert taken, service["metadata"]["name"]
        for spec in taken:
            for port in service["spec"]["ports"]:
                assert port["targetPort"] in ports_of(spec), (service["metadata"]["name"], port)


def test_selectors_take_their_own_pods(overlay: list[Manifest]) -> None:
    """Of a controller exactly its own; of a budget and of a spread at least one controller's."""
    running = pods(overlay)
    for controller in of_kind(overlay, "Deployment", "StatefulSet"):
        selector = controller["spec"]["selector"]
        assert [name for name, (labels, _) in running.items() if matches(selector, labels)] == [
            controller["metadata"]["name"]
        ]
    for budget in of_kind(overlay, "PodDisruptionBudget"):
        assert any(matches(budget["spec"]["selector"], labels) for labels, _ in running.values())
        assert budget["spec"]["maxUnavailable"] == 1
    for name, (labels, spec) in running.items():
        for spread in spec.get("topologySpreadConstraints", ()):
            assert matches(spread["labelSelector"], labels), name


def test_each_server_has_a_budget_probes_and_a_spread(overlay: list[Manifest]) -> None:
    """Drains take one at a time; nothing is sent to who isn't ready; one lost node isn't all."""
    running = pods(overlay)
    budgets = [budget["spec"]["selector"] for budget in of_kind(overlay, "PodDisruptionBudget")]
    for controller in of_kind(overlay, "Deployment", "StatefulSet"):
        labels, spec = running[controller["metadata"]["name"]]
        assert any(matches(selector, labels) for selector in budgets)
        assert spec["topologySpreadConstraints"]
        for box in spec["containers"]:
            assert {"livenessProbe", "readinessProbe"} <= set(box)
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                port = box.get(probe, {}).get("httpGet", {}).get("port", "none")
                assert port == "none" or port in ports_of(spec)


def test_pods_live_longer_than_their_drain(overlay: list[Manifest]) -> None:
    """Kubernetes would kill what still answers."""
    (settings,) = (
        m["data"] for m in of_kind(overlay, "ConfigMap") if m["metadata"]["name"].startswith("facade-")
    )
    _, facade = pods(overlay)["facade"]
    drain_s = float(settings["FACADE_DRAIN_S"]) + float(settings["FACADE_SHUTDOWN_GRACE_S"])
    assert facade["terminationGracePeriodSeconds"] > drain_s
    for name, (labels, spec) in pods(overlay).items():
        if labels["app.kubernetes.io/name"] == "triton":
            (box,) = spec["containers"]
            words = box["args"]
            assert words[0] == "tritonserver"
            (exit_timeout,) = [
                word.partition("=")[2] for word in words if word.startswith("--exit-timeout-secs=")
            ]
            sleep_s = box["lifecycle"]["preStop"]["sleep"]["seconds"]
            # 5 s: how often the façade looks the name up (facade/triton/addresses.py).
            assert sleep_s > 5
            assert spec["terminationGracePeriodSeconds"] > sleep_s + float(exit_timeout), name


def test_settings_are_settings(overlay: list[Manifest]) -> None:
    """A misspelt variable would be ignored without a word."""
    (settings,) = (
        m["data"] for m in of_kind(overlay, "ConfigMap") if m["metadata"]["name"].startswith("facade-")
    )
    known = {f"FACADE_{name.upper()}" for name in Settings.model_fields} | {"FACADE_SECRETS_DIR"}

    assert set(settings) <= known
    assert settings["FACADE_TRITON_URL"] == "dns:///triton:8001"
    triton = named(overlay, "Service", "triton")["spec"]
    assert triton["clusterIP"] == "None"
    assert 8001 in [port["port"] for port in triton["ports"]]
    scaler = named(overlay, "HorizontalPodAutoscaler", "facade")["spec"]
    assert int(settings["FACADE_REPLICAS"]) == scaler["maxReplicas"]
    mounts = {mount["mountPath"] for mount in pods(overlay)["facade"][1]["containers"][0]["volumeMounts"]}
    assert {settings["FACADE_SECRETS_DIR"], str(Path(settings["FACADE_KEYS_FILE"]).parent)} <= mounts


def test_autoscalers_have_something_to_scale(overlay: list[Manifest]) -> None:
    """An existing controller, a minimum below the maximum, and one number for one controller."""
    scalers = of_kind(overlay, "HorizontalPodAutoscaler")
    scaled = [
        (one["spec"]["scaleTargetRef"]["kind"], one["spec"]["scaleTargetRef"]["name"]) for one in scalers
    ]
    assert len(set(scaled)) == len(scaled)
    for scaler in scalers:
        target = named(
            overlay, scaler["spec"]["scaleTargetRef"]["kind"], scaler["spec"]["scaleTargetRef"]["name"]
        )
        assert "replicas" not in target["spec"]
        assert 2 <= scaler["spec"]["minReplicas"] < scaler["spec"]["maxReplicas"]
    facade = named(overlay, "HorizontalPodAutoscaler", "facade")["spec"]
    assert (facade["minReplicas"], facade["maxReplicas"]) == (2, 10)
    assert facade["metrics"][0]["resource"]["target"]["averageUtilization"] == 70
    assert {one["metadata"]["name"] for one in of_kind(overlay, "Deployment")} <= {name for _, name in scaled}


def test_metrics_that_scale_are_made(overlay: list[Manifest]) -> None:
    """Each is a rule of the adapter, whose query Prometheus parses and whose metrics exist."""
    rules = yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    made = {rule["name"]["as"]: rule["metricsQuery"] for rule in rules}
    for scaler in of_kind(overlay, "HorizontalPodAutoscaler"):
        for metric in scaler["spec"]["metrics"]:
            if metric["type"] == "Pods":
                assert metric["pods"]["metric"]["name"] in made
    names = {
        *COUNTERS,
        *GAUGES,
        *(f"{name}_{part}" for name in HISTOGRAMS for part in ("sum", "count", "bucket")),
    }
    for query in made.values():
        for name in re.findall(r"facade_\w+", query):
            assert name in names


def test_prometheus_parses_the_adapters_queries(tmp_path: Path) -> None:
    """With the placeholders filled in as the adapter does."""
    rules = yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    queries = [
        rule["metricsQuery"].replace("<<.LabelMatchers>>", 'pod="a"').replace("<<.GroupBy>>", "pod")
        for rule in rules
    ]
    group = {
        "name": "adapter",
        "rules": [{"record": f"q:{i}", "expr": query} for i, query in enumerate(queries)],
    }
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [group]}))
    found = run("promtool", "check", "rules", str(tmp_path / "rules.yml"))

    assert found.returncode == 0, found.stdout + found.stderr


def test_what_pods_mount_exists(built: list[Manifest], tmp_path: Path) -> None:
    """ConfigMaps and claims of the build or of the base it is added to, Secrets that one command writes."""
    write_kubernetes_secrets(tmp_path)
    secrets = {item["metadata"]["name"]: set(item["stringData"]) for item in read_items(tmp_path)}
    assert set(secrets) == MADE_BY_USERS
    maps = {one["metadata"]["name"] for one in of_kind(built, "ConfigMap")}
    claims = {one["metadata"]["name"] for one in of_kind(built, "PersistentVolumeClaim")} | {
        "model-repository"
    }
    for name, (_, spec) in pods(built).items():
        volumes = {volume["name"]: volume for volume in spec.get("volumes", ())}
        templates = {
            claim["metadata"]["name"]
            for one in of_kind(built, "StatefulSet")
            if one["metadata"]["name"] == name
            for claim in one["spec"]["volumeClaimTemplates"]
        }
        mounted = {mount["name"] for box in spec["containers"] for mount in box.get("volumeMounts", ())}
        assert mounted == set(volumes) | templates, name
        for volume in volumes.values():
            if "secret" in volume:
                assert volume["secret"]["secretName"] in secrets
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
        for box in spec["containers"]:
            for source in box.get("envFrom", ()):
                assert source["configMapRef"]["name"] in maps


def test_everything_is_closed_and_what_is_needed_is_open(overlay: list[Manifest]) -> None:
    """Each connection that is made is let out on one side and in on the other, at a port that is listened on."""
    policies = of_kind(overlay, "NetworkPolicy")
    closed = named(overlay, "NetworkPolicy", "deny-all")["spec"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    running = pods(overlay)
    export = {"app.kubernetes.io/name": "export"}
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    tritons = [name for name, (labels, _) in running.items() if labels["app.kubernetes.io/name"] == "triton"]
    assert tritons
    for triton in tritons:
        for caller in (running["facade"][0], export):
            assert is_open(policies, caller, running[triton], "grpc")
            assert not is_open(policies, caller, running[triton], "http")
        assert not is_open(policies, running["redis"][0], running[triton], "grpc")
        assert lets_in(policies, running[triton], "metrics", lambda peer: peer == monitoring)
        assert not is_open(policies, running[triton][0], running["redis"], "redis")
    for caller in ("facade", "redis", "redis-create-cluster"):
        assert is_open(policies, running[caller][0], running["redis"], "redis")
    assert is_open(policies, running["redis"][0], running["redis"], "bus")
    assert not is_open(policies, running["facade"][0], running["redis"], "bus")
    assert lets_in(policies, running["facade"], "metrics", lambda peer: peer == monitoring)
    assert not lets_in(policies, running["facade"], "metrics", lambda peer: "ingress" in str(peer))
    assert lets_in(policies, running["facade"], "http", lambda peer: "ingress" in str(peer))


def is_open(
    policies: list[Manifest], caller: dict[str, str], callee: tuple[dict[str, str], Manifest], port: str
) -> bool:
    """Whether a connection is let out of one pod and into the other, both of this namespace."""

    def is_caller(peer: Manifest) -> bool:
        return "namespaceSelector" not in peer and matches(
            peer.get("podSelector", {"matchLabels": {"": ""}}), caller
        )

    labels, spec = callee
    number = ports_of(spec)[port]
    out = any(
        number in [one.get("port") for one in rule["ports"]]
        and any("podSelector" in peer and matches(peer["podSelector"], labels) for peer in rule["to"])
        for policy in policies
        if matches(policy["spec"]["podSelector"], caller)
        for rule in policy["spec"].get("egress", ())
    )
    return out and lets_in(policies, callee, port, is_caller)


def lets_in(
    policies: list[Manifest], callee: tuple[dict[str, str], Manifest], port: str, is_caller: Any
) -> bool:
    """Whether a pod lets somebody in at a port, which policies call by its name."""
    labels, spec = callee
    assert port in ports_of(spec)
    return any(
        port in [one["port"] for one in rule["ports"]] and any(is_caller(peer) for peer in rule["from"])
        for policy in policies
        if matches(policy["spec"]["podSelector"], labels)
        for rule in policy["spec"].get("ingress", ())
    )


def test_monitors_find_what_the_alerts_ask_for(overlay: list[Manifest]) -> None:
    """The jobs are named `facade` and `triton`."""
    for monitor in of_kind(overlay, "ServiceMonitor"):
        selector = monitor["spec"]["selector"]
        (service,) = (s for s in of_kind(overlay, "Service") if matches(selector, s["metadata"]["labels"]))
        assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == monitor["metadata"]["name"]
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    jobs = set(re.findall(r'job="(\w+)"', (FOLDER / "base" / "alerts.yaml").read_text()))
    assert jobs <= {monitor["metadata"]["name"] for monitor in of_kind(overlay, "ServiceMonitor")}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_is_current(name: str) -> None:
    """Alerts and Redis are those of one machine: `python -m deploy.kubernetes` writes them."""
    assert (FOLDER / name).read_text() == WRITTEN[name]()


def test_redis_has_room_and_a_majority(overlay: list[Manifest]) -> None:
    """Memory beyond its bound, three primaries with a replica each, and the Job knows them all."""
    redis = named(overlay, "StatefulSet", "redis")["spec"]
    assert redis["replicas"] == 6
    assert redis["serviceName"] == named(overlay, "Service", "redis")["metadata"]["name"]
    (box,) = pods(overlay)["redis"][1]["containers"]
    assert box["resources"]["limits"]["memory"] == "768Mi"
    (job,) = pods(overlay)["redis-create-cluster"][1]["containers"]
    nodes = next(variable["value"] for variable in job["env"] if variable["name"] == "NODES").split()
    assert nodes == [f"redis-{index}.redis:6379" for index in range(6)]


def test_a_pool_has_the_image_of_its_hardware() -> None:
    """V100 has an image of its own, and both at once are two Deployments behind one name."""
    both = build(FOLDER / "overlays" / "a100-and-v100")
    images = {
        name: spec["containers"][0]["image"] for name, (_, spec) in pods(both).items() if "triton" in name
    }
    assert images == {"triton-a100": "triton-facade/triton:26.07", "triton-v100": "triton-facade/triton:v100"}
    assert CURRENT.triton_image.endswith(":26.07-py3")
    assert VOLTA.triton_image.endswith(":24.10-py3")
    for name in images:
        spec = pods(both)[name][1]
        assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert name.removeprefix("triton-").upper() in spec["nodeSelector"]["nvidia.com/gpu.product"]
