"""``triton-facade keys``: make, list, revoke and check API keys in the keys file."""

import json
import secrets
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from facade.access.key_edit import locked, with_key, with_tier, without_key, write_text
from facade.access.key_reader import read_keys, read_text
from facade.access.key_text import to_expiry
from facade.access.keys import CACHE_SCOPES, SCOPES, Key, KeyRing, KeysInvalid, Tier, to_digest
from facade.commands.exit_codes import EXIT_CODES
from facade.terminal.program import Group

SECRET_PREFIX = "tf_"  # noqa: S105 - what secrets begin with, so that scanners find leaked ones
SECRET_BYTES = 32
"""Random bytes in a secret: 43 URL-safe characters."""

EXIT_REFUSED = 1
"""`check` was given a secret that no key has, or whose key has expired."""


class KeysRefused(click.ClickException):
    """The file is wrong, or can't be changed as asked."""

    exit_code = 2


def refuse(path: Path, error: KeysInvalid | OSError) -> KeysRefused:
    """
    Say what is wrong with the file or the wish, and what to do.

    Args:
        path: The keys file.

        error: Why it can't be used or changed.

    Returns:
        What to raise.
    """
    if isinstance(error, OSError):
        return KeysRefused(
            f"{path}: {error.strerror or error}. Check that its folder is there and may be written."
        )
    said = str(error)
    if not path.exists():
        remedy = f"Make it with a first key: `triton-facade keys new NAME --file {path}`."
    elif "used twice" in said:
        remedy = "Choose another name, or `triton-facade keys revoke` the old key first."
    elif "there is no key" in said:
        remedy = f"`triton-facade keys list --file {path}` shows those that there are."
    elif "can't read" in said:
        remedy = "Run it as a user who may read the file."
    else:
        remedy = (
            f"Mend {path}, or what was asked for; `triton-facade keys check --file {path}` tries the file."
        )
    return KeysRefused(f"{said}. {remedy}")


def need_file(ctx: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    """Ask for the keys file where neither option nor environment names one."""
    if path is None and not ctx.resilient_parsing:
        raise click.UsageError("No keys file is named. Give --file, or set FACADE_KEYS_FILE.")
    return path


file_option = click.option(
    "--file",
    "path",
    is_eager=True,  # known when names of keys are completed
    envvar="FACADE_KEYS_FILE",
    callback=need_file,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The keys file.  [required, or env: FACADE_KEYS_FILE]",
)


def complete_name(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer a shell the keys' names."""
    return _complete(ctx, incomplete, lambda ring: ring.keys)


def complete_tier(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer a shell the tiers' names."""
    return _complete(ctx, incomplete, lambda ring: ring.tiers)


def _complete(
    ctx: click.Context, incomplete: str, names: Callable[[KeyRing], Iterable[str]]
) -> list[CompletionItem]:
    path = ctx.params.get("path")
    if path is None:
        return []
    try:
        return [CompletionItem(name) for name in names(read_keys(path)) if name.startswith(incomplete)]
    except KeysInvalid:
        return []  # a shell shows no errors; the command itself will


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


@click.group(cls=Group)
def keys() -> None:
    """
    Make, list, revoke and check API keys.

    The file holds each secret's SHA-256 only, and a running façade follows its changes within seconds.
    """


@keys.command(
    headings={"What it may do": ("tier", "models", "networks", "expires", "scopes", "cache_scope")},
    examples=(
        "triton-facade keys new alice --file keys.yaml",
        "triton-facade keys new bob --tier gold --models 'mini*' --file keys.yaml",
    ),
    exit_codes=EXIT_CODES["keys new"],
)
@click.argument("name")
@click.option(
    "--tier",
    shell_complete=complete_tier,
    default="default",
    show_default=True,
    help="What it may use up; a tier of the file.",
)
@click.option("--models", multiple=True, help="Glob of models it may use; again for more.  [default: all]")
@click.option("--networks", multiple=True, help="CIDR it may be used from; again for more.  [default: all]")
@click.option("--expires", help="2027-01-31 or 2027-01-31T12:00:00Z; UTC unless it says.  [default: never]")
@click.option(
    "--scopes",
    multiple=True,
    type=click.Choice(sorted(SCOPES)),
    help="What it may be used for; again for more.  [default: infer]",
)
@click.option(
    "--cache",
    "cache_scope",
    type=click.Choice(CACHE_SCOPES),
    help="Whom its answers are kept for.  [default: private for generation, else shared]",
)
@file_option
@json_option
def new(
    name: str,
    *,
    tier: str,
    models: tuple[str, ...],
    networks: tuple[str, ...],
    expires: str | None,
    scopes: tuple[str, ...],
    cache_scope: str | None,
    path: Path,
    as_json: bool,
) -> None:
    """
    Make a key called NAME and print its secret, once.

    The file is made if there is none, with one tier without limits. It is replaced in one step and readable by its
    owner only. Comments stay if the list of keys has one entry a block; a list in brackets is written anew without.
    """
    secret = SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    entry: dict[str, object] = {"name": name, "sha256": to_digest(secret).hex(), "tier": tier}
    for field, texts in (("models", models), ("networks", networks), ("scopes", scopes)):
        if texts:
            entry[field] = list(texts)
    if cache_scope is not None:
        entry["cache"] = cache_scope
    try:
        if expires is not None:
            moment = to_expiry(expires)
            entry["expires"] = moment.isoformat() if moment is not None else None
        with locked(path):
            before = with_tier(read_text(path) if path.exists() else "", tier)
            write_text(path, with_key(before, entry))
    except ValueError as error:
        raise KeysRefused(f"--expires {error}.") from None
    except (KeysInvalid, OSError) as error:
        raise refuse(path, error) from None
    if as_json:
        click.echo(json.dumps({"name": name, "secret": secret}))
    else:
        click.echo(f"key {name!r} added to {path}; this secret is not shown again:", err=True)
        click.echo(secret)


@keys.command("list", exit_codes=EXIT_CODES["keys list"])
@file_option
@json_option
def list_keys(path: Path, *, as_json: bool) -> None:
    """List keys and what they may do; nobody has their secrets."""
    ring = read_ring(path)
    rows = [describe(key) for key in ring.keys.values()]
    if as_json:
        click.echo(json.dumps({"keys": rows, "tiers": [describe_tier(tier) for tier in ring.tiers.values()]}))
        return
    columns = ("name", "tier", "scopes", "models", "networks", "expires", "cache", "state")
    table = [columns, *([to_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(columns))]
    for cells in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


@keys.command(
    examples=("triton-facade keys revoke alice --file keys.yaml",), exit_codes=EXIT_CODES["keys revoke"]
)
@click.argument("name", shell_complete=complete_name)
@file_option
@json_option
def revoke(name: str, path: Path, *, as_json: bool) -> None:
    """
    Remove the key called NAME.

    Running façades refuse it within seconds. Comments elsewhere in the file stay if the list of keys has one entry
    a block.
    """
    try:
        with locked(path):
            write_text(path, without_key(read_text(path), name))
    except (KeysInvalid, OSError) as error:
        raise refuse(path, error) from None
    click.echo(
        json.dumps({"name": name, "revoked": True}) if as_json else f"key {name!r} removed from {path}"
    )


@keys.command(
    examples=('printf %s "$SECRET" | triton-facade keys check --secret --file keys.yaml',),
    exit_codes=EXIT_CODES["keys check"],
)
@click.option(
    "--secret", "from_stdin", is_flag=True, help="Read a secret from standard input; say what it may do."
)
@file_option
@json_option
def check(path: Path, *, from_stdin: bool, as_json: bool) -> None:
    """Check the file, and whose a secret is."""
    ring = read_ring(path)
    if not from_stdin:
        summary = {"valid": True, "keys": len(ring), "tiers": len(ring.tiers)}
        line = f"{path} is valid: {len(ring)} keys, {len(ring.tiers)} tiers"
        click.echo(json.dumps(summary) if as_json else line)
        return
    key = ring.find(sys.stdin.readline().strip())
    if key is None:
        click.echo(json.dumps({"known": False}) if as_json else "no key has this secret")
        sys.exit(EXIT_REFUSED)
    row = describe(key)
    if as_json:
        click.echo(json.dumps({"known": True, **row, "limits": describe_tier(ring.tier_of(key))}))
    else:
        for field, value in row.items():
            click.echo(f"{field}: {to_cell(value)}")
        for field, value in describe_tier(ring.tier_of(key)).items():
            if field != "name":
                click.echo(f"{field}: {to_cell(value)}")
    if row["state"] == "expired":
        sys.exit(EXIT_REFUSED)


def read_ring(path: Path) -> KeyRing:
    """
    Read the file for a command.

    Args:
        path: The keys file.

    Returns:
        Its ring.

    Raises:
        KeysRefused: If it is wrong; the message names key and field.
    """
    try:
        return read_keys(path)
    except KeysInvalid as error:
        raise refuse(path, error) from None


def describe(key: Key) -> dict[str, object]:
    """
    Show a key without its hash.

    Args:
        key: Which.

    Returns:
        Values that JSON knows, by column.
    """
    is_over = key.expires_at is not None and datetime.now(UTC) >= key.expires_at
    return {
        "name": key.name,
        "tier": key.tier,
        "scopes": sorted(key.scopes),
        "models": list(key.models),
        "networks": [str(network) for network in key.networks.networks],
        "expires": key.expires_at.isoformat() if key.expires_at is not None else None,
        "cache": key.cache,
        "state": "expired" if is_over else "active",
    }


def describe_tier(tier: Tier) -> dict[str, object]:
    """
    Show a tier.

    Args:
        tier: Which.

    Returns:
        Values that JSON knows; None is no limit.
    """
    return {
        "name": tier.name,
        "requests_per_minute": tier.requests_per_minute,
        "tokens_per_minute": tier.tokens_per_minute,
        "max_in_flight": tier.max_in_flight,
        "priority": tier.priority,
        "weight": tier.weight,
    }


def to_cell(value: object) -> str:
    """
    Show a value to a person.

    Args:
        value: As `describe` gives it.

    Returns:
        Lists joined by commas; a dash for nothing.
    """
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ",".join(map(str, value)) or "-"
    return "-" if value is None else str(value)
