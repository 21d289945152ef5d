"""
`python -m deploy.kubernetes`: write what Kubernetes needs a second time in its own form.

* `base/alerts.yaml`, a PrometheusRule with the rules of `deploy/prometheus/rules`;
* `base/redis/redis.conf`, since Kustomize reads no file outside its folder.
"""

from pathlib import Path

import yaml

FOLDER = Path(__file__).parent
DEPLOY = FOLDER.parent


def write_alerts() -> str:
    """
    Put all of Prometheus' rules into one PrometheusRule.

    Returns:
        YAML.
    """
    rules = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
    groups = [group for path in rules for group in yaml.safe_load(path.read_text())["groups"]]
    manifest = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "triton-facade"},
        "spec": {"groups": groups},
    }
    head = "# Written by `python -m deploy.kubernetes` from deploy/prometheus/rules; edit those.\n"
    return head + yaml.safe_dump(manifest, sort_keys=False, width=120, allow_unicode=True)


def write_redis_conf() -> str:
    """
    Join what every Redis has with what a cluster's node has beyond it.

    Returns:
        A redis.conf.
    """
    head = "# Written by `python -m deploy.kubernetes` from deploy/redis; edit those.\n\n"
    parts = [(DEPLOY / "redis" / name).read_text() for name in ("redis.conf", "cluster.conf")]
    return head + "\n".join(parts)


WRITTEN = {"base/alerts.yaml": write_alerts, "base/redis/redis.conf": write_redis_conf}
"""What is written, by file."""


def main() -> None:
    """Write all of it."""
    for name, write in WRITTEN.items():
        (FOLDER / name).write_text(write())


if __name__ == "__main__":
    main()
