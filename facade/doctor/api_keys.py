"""The keys: whether the file holds, who may read it, which keys are over or soon will be, what nobody uses."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from facade.access.authorize import may_use
from facade.access.key_reader import read_keys
from facade.access.keys import KeysInvalid
from facade.doctor.finding import Finding, ok, problem, skipped, warning

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from facade.access.keys import Key, KeyRing

SOON = timedelta(days=14)
"""A key that ends within it is worth a word."""

LEAST_SECRET_CHARACTERS = 24
"""A shorter secret can be guessed, or was chosen by a person; `secrets.token_urlsafe(32)` has 43 characters."""

SHOWN = 5
"""Most keys that one line names."""


def examine_keys(
    path: Path | None, api_key: str | None, *, served: Collection[str] | None, now: float
) -> list[Finding]:
    """
    Look at the keys file, or at the one key.

    Args:
        path: The file; None without one.

        api_key: The one key; None without it.

        served: Names of the models that Triton serves; None where that isn't known.

        now: Seconds since 1970.

    Returns:
        The findings.
    """
    if path is None:
        return [_examine_single(api_key)]
    try:
        findings = [examine_permissions(str(path), path)]
        ring = read_keys(path)
    except OSError as error:
        remedy = "Correct FACADE_KEYS_FILE; `triton-facade keys new NAME` makes the file with a first key."
        return [problem(str(path), f"can't be read: {error.strerror or error}", remedy)]
    except KeysInvalid as error:
        remedy = f"Mend it, then try: `triton-facade keys check --file {path}`. A façade that runs keeps the old keys."
        return [*findings, problem(str(path), str(error), remedy)]
    findings += _examine_ends(ring, datetime.fromtimestamp(now, UTC))
    findings += _examine_use(ring, served)
    return findings


def examine_permissions(check: str, path: Path) -> Finding:
    """
    See who may read a file with secrets.

    Args:
        check: What it is.

        path: The file.

    Returns:
        The finding.

    Raises:
        OSError: If it isn't there, or can't be looked at.
    """
    mode = path.stat().st_mode
    found = f"permissions {stat.filemode(mode)}"
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        who = "everybody on this machine" if mode & stat.S_IRWXO else "its group"
        does = "write" if mode & (stat.S_IWOTH | stat.S_IWGRP) else "read"
        return warning(check, f"{found}: {who} may {does} it", f"`chmod 640 {path}`, or 600.")
    return ok(check, found)


def _examine_single(api_key: str | None) -> Finding:
    if api_key is None:
        return skipped(
            "keys", "neither FACADE_API_KEY nor FACADE_KEYS_FILE can be used; see under `settings`"
        )
    if len(api_key) < LEAST_SECRET_CHARACTERS:
        remedy = "Make a long random one: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'."
        return warning("FACADE_API_KEY", f"only {len(api_key)} characters, which can be guessed", remedy)
    return ok("FACADE_API_KEY", f"one key for all callers, {len(api_key)} characters")


def _examine_ends(ring: KeyRing, now: datetime) -> list[Finding]:
    over = [key for key in ring.keys.values() if key.expires_at is not None and key.expires_at <= now]
    soon = [
        key for key in ring.keys.values() if key.expires_at is not None and now < key.expires_at <= now + SOON
    ]
    findings = []
    if not len(ring):
        remedy = "Make one: `triton-facade keys new NAME`."
        findings.append(problem("keys", "the file has no key, so nobody can call", remedy))
    elif len(over) == len(ring):
        remedy = "Make new ones: `triton-facade keys new NAME`."
        findings.append(problem("keys", f"all {len(ring)} have expired, so nobody can call", remedy))
    elif over:
        remedy = "Tell their owners, or remove them: `triton-facade keys revoke NAME`."
        findings.append(warning("expired", _name_with_ends(over), remedy))
    if soon:
        remedy = (
            "Make a successor in time, `triton-facade keys new OTHER-NAME --expires DATE`; then revoke it."
        )
        findings.append(warning("ends soon", _name_with_ends(soon), remedy))
    good = len(ring) - len(over)
    if good:
        findings.append(
            ok("keys", f"{good} in force, {len(ring.tiers)} {'tier' if len(ring.tiers) == 1 else 'tiers'}")
        )
    return findings


def _examine_use(ring: KeyRing, served: Collection[str] | None) -> list[Finding]:
    findings = []
    used = {key.tier for key in ring.keys.values()}
    if unused := [name for name in ring.tiers if name not in used]:
        remedy = "Remove it from the file, or give it to a key with --tier."
        findings.append(warning("tiers", f"no key has: {', '.join(unused)}", remedy))
    if served is None:
        findings.append(skipped("models", "Triton doesn't answer, so the keys' models can't be compared"))
        return findings
    owners: dict[str, list[str]] = {}
    for key in ring.keys.values():
        for glob in key.models:
            owners.setdefault(glob, []).append(key.name)
    for glob, names in owners.items():
        if not any(may_use((glob,), name) for name in served) and glob != "*":
            whose = ", ".join(names[:SHOWN]) + (
                f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            )
            remedy = f"Triton serves {', '.join(sorted(served)) or 'nothing'}: correct the glob, or load the model."
            findings.append(
                warning("models", f"{glob!r} matches nothing served; it is in the key of {whose}", remedy)
            )
    return findings


def _name_with_ends(keys: list[Key]) -> str:
    shown = [f"{key.name} ({key.expires_at:%Y-%m-%d})" for key in keys[:SHOWN]]
    return ", ".join(shown) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")
