"""
Writes what a deployment needs and git must not hold: passwords and the first API key.

    python3 deploy/write_secrets.py a100          # for docker compose, and which hardware it is to use
    python3 deploy/write_secrets.py kubernetes    # for kubectl apply -f secrets/kubernetes.json

Nothing that exists is overwritten: to renew a secret, delete its file and run this again. Needs Python alone.

The folder is closed to other users of the machine (0700). The files in it are readable (0644): Docker hands them to
containers as they are, whose users are others than yours.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import sys
from pathlib import Path

PROFILES = ("cpu", "a100", "v100", "vllm")
CHECKOUT = Path(__file__).resolve().parents[1]

USERS = """user default off
user facade on #{digest} ~* &* +@all -@admin -@dangerous +info
user health on nopass resetkeys resetchannels -@all +ping
"""
"""Redis' users: the façade may do what isn't dangerous, a health check may ask whether it lives, others nothing."""

CLUSTER_USERS = """user replica on #{replica} resetkeys resetchannels -@all +psync +replconf +ping
user admin on #{admin} ~* &* +@all
"""
"""A cluster's further users: who replicates, and who makes the cluster."""

NAMESPACE = "triton-facade"
CLUSTER_NODES = ",".join(f"redis-{index}.redis:6379" for index in range(6))

KEYS = """# Who may call; `triton-facade keys --help`. Changes are followed while the façade runs.
tiers:
  standard: {{requests_per_minute: 6000}}
keys:
  - {{name: first, sha256: "{digest}", tier: standard}}
"""


def write_secrets(checkout: Path, profile: str) -> str | None:
    """
    Write what is missing.

    Args:
        checkout: Where docker-compose.yml is.

        profile: Hardware that `docker compose up` is to use.

    Returns:
        The first API key, which is written nowhere; None if there were keys already.
    """
    folder = checkout / "secrets"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    # Both or none: one password, in two forms.
    redis_files = (folder / "facade_redis_url", folder / "redis_users.acl")
    if not all(path.exists() for path in redis_files):
        password = secrets.token_urlsafe(32)
        _write(redis_files[0], f"redis://facade:{password}@redis:6379/0\n")
        _write(redis_files[1], USERS.format(digest=_digest(password)))
    # Where alerts go. A key of nobody's: Alertmanager starts, and says in its log that nothing could be delivered.
    for name, content in {
        "grafana_admin_password": secrets.token_urlsafe(24),
        "pagerduty_routing_key": "unset",
        "slack_api_url": "https://hooks.slack.com/services/unset",
    }.items():
        if not (folder / name).exists():
            _write(folder / name, content + "\n")
    # A folder of its own, because an editor replaces a file and a mounted file would stay the old one.
    keys = folder / "keys" / "keys.yaml"
    keys.parent.mkdir(exist_ok=True)
    keys.parent.chmod(0o755)
    key = None
    if not keys.exists():
        key = secrets.token_urlsafe(32)
        _write(keys, KEYS.format(digest=_digest(key)))
    if not (checkout / ".env").exists():
        _write(checkout / ".env", f"COMPOSE_PROFILES={profile}\n")
    return key


def write_kubernetes_secrets(checkout: Path) -> str | None:
    """
    Write the Secrets of deploy/kubernetes, if they aren't there.

    Args:
        checkout: Where the file goes, into its folder secrets/.

    Returns:
        The first API key, which is written nowhere; None if there was a file already.
    """
    folder = checkout / "secrets"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    path = folder / "kubernetes.json"
    if path.exists():
        return None
    facade, replica, admin, key = (secrets.token_urlsafe(32) for _ in range(4))
    users = USERS.format(digest=_digest(facade))
    users += CLUSTER_USERS.format(replica=_digest(replica), admin=_digest(admin))
    contents = {
        "facade-redis": {"facade_redis_url": f"redis+cluster://facade:{facade}@{CLUSTER_NODES}\n"},
        "redis-users": {
            "redis_users.acl": users,
            "replication.conf": f"masteruser replica\nmasterauth {replica}\n",
            "admin_password": admin + "\n",
        },
        "facade-keys": {"keys.yaml": KEYS.format(digest=_digest(key))},
    }
    items = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "stringData": files,
        }
        for name, files in contents.items()
    ]
    _write(path, json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=1))
    path.chmod(0o600)
    return key


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o644)


def main() -> int:
    """
    Write into this checkout.

    Returns:
        Exit code.
    """
    parser = argparse.ArgumentParser(
        description="Write secrets/ for docker compose (and .env) or for Kubernetes; what exists is kept."
    )
    parser.add_argument(
        "for_what", choices=(*PROFILES, "kubernetes"), help="Compose's hardware, or kubernetes"
    )
    for_what = parser.parse_args().for_what
    is_kubernetes = for_what == "kubernetes"
    key = write_kubernetes_secrets(CHECKOUT) if is_kubernetes else write_secrets(CHECKOUT, for_what)
    if key is None:
        print("There were keys already; nothing of them is changed.", file=sys.stderr)
    else:
        print("The first API key, shown this once; only its hash is kept:", file=sys.stderr)
        print(key)
    return 0


if __name__ == "__main__":
    sys.exit(main())
