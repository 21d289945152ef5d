"""Each Triton: whether it can be reached, whether it is ready, what it serves, until when its certificate holds."""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from facade.doctor.bounded import explain_connection, knock, resolve, split_address
from facade.doctor.finding import Finding, ok, problem, warning
from facade.errors import BackendUnavailable, DeadlineExceeded, FacadeError
from facade.inference.catalogue import CardUnusable, to_served_model
from facade.triton.addresses import DnsAddresses, parse_url
from facade.triton.channel import HINTS, TlsUnusable, certificate_end, read_credentials
from facade.triton.client import TritonClient

if TYPE_CHECKING:
    from collections.abc import Mapping

    from facade.doctor.repository import ModelOnDisk
    from facade.triton.channel import TlsFiles
    from facade.triton.interface import ModelDescription

SOON_S = 14 * 86_400.0
"""A certificate that ends within so many seconds is worth a word: 14 days."""

SLOW_S = 0.05
"""Round trip above which Triton is far away: a request takes one at least."""

GRPC_PORT = 8001
"""Triton's usual port for gRPC; 8000 is HTTP, 8002 its metrics."""

_ROUND_TRIPS = 5


@dataclass
class TritonLook:
    """What was found at all Tritons."""

    findings: list[Finding] = field(default_factory=list)
    """Some lines an endpoint."""

    served: dict[str, ModelDescription] | None = None
    """What the first that answered serves; None if none did."""

    endpoint: str = ""
    """Where it is."""


async def examine_tritons(url: str, tls: TlsFiles | None, *, timeout_s: float, now: float) -> TritonLook:
    """
    Look at all endpoints at once.

    Args:
        url: As ``FACADE_TRITON_URL`` has it.

        tls: Certificates for TLS; None for none.

        timeout_s: Seconds for each step.

        now: Seconds since 1970.

    Returns:
        What was found.
    """
    look = TritonLook()
    try:
        credentials = None if tls is None else read_credentials(tls)
        if tls is not None and (ends_at := certificate_end(tls)) is not None:
            look.findings.append(_examine_end("own certificate", ends_at, now))
    except TlsUnusable as error:
        remedy = "Correct the file, or the setting that names it."
        look.findings.append(problem("certificates", str(error), remedy))
        return look
    source = parse_url(url)
    server_name = None
    if isinstance(source, DnsAddresses):
        server_name = source.host
        try:
            found = await resolve(source.host, source.port, timeout_s)
        except OSError as error:
            look.findings.append(_unresolved(source.host, error))
            return look
        addresses = tuple(f"[{one}]:{source.port}" if ":" in one else f"{one}:{source.port}" for one in found)
        look.findings.append(ok(source.host, f"{len(addresses)} addresses: {', '.join(addresses)}"))
    else:
        addresses = await source.find()
    way = _Way(tls, credentials, server_name, timeout_s, now)
    visits = await asyncio.gather(*(_visit(address, way) for address in addresses))
    for address, (findings, served) in zip(addresses, visits, strict=True):
        look.findings += findings
        if look.served is None and served is not None:
            look.served, look.endpoint = served, address
        elif look.served is not None and served is not None:
            look.findings += _compare(look, address, served)
    return look


class _Way(NamedTuple):
    """How to reach an endpoint."""

    tls: TlsFiles | None
    credentials: Any
    server_name: str | None
    timeout_s: float
    now: float


async def _visit(address: str, way: _Way) -> tuple[list[Finding], dict[str, ModelDescription] | None]:
    """Look at one endpoint, as far as it lets us."""
    try:
        host, port = split_address(address)
        await knock((await resolve(host, port, way.timeout_s))[0], port, way.timeout_s)
    except ValueError as error:
        remedy = "Write FACADE_TRITON_URL as host:port, such as 127.0.0.1:8001."
        return [problem(address, str(error), remedy)], None
    except OSError as error:
        return [_unreachable(address, error)], None
    findings: list[Finding] = []
    async with aclosing(TritonClient(address, (), way.credentials, way.server_name)) as client:
        try:
            findings.append(await _examine_server(address, client, way.timeout_s))
            if way.tls is not None:
                findings += await _examine_certificate(address, way.tls, way.server_name or host, way)
            index = await client.inspect("index", timeout_s=way.timeout_s)
            served = {one.name: one for one in await client.describe_models(timeout_s=way.timeout_s)}
        except FacadeError as error:
            return [*findings, _silent(address, port, error)], None
    return findings + _examine_index(address, index, served), served


async def _examine_server(address: str, client: TritonClient, timeout_s: float) -> Finding:
    await client.is_live(timeout_s=timeout_s)  # opens the connection; what follows is the network alone
    took_s = []
    for _ in range(_ROUND_TRIPS):
        before = time.perf_counter()
        await client.is_live(timeout_s=timeout_s)
        took_s.append(time.perf_counter() - before)
    round_trip_s = sorted(took_s)[_ROUND_TRIPS // 2]
    about: dict[str, Any] = await client.inspect("server", timeout_s=timeout_s)
    who = f"{about.get('name') or 'server'} {about.get('version') or 'of unknown version'}"
    found = f"{who}, round trip {round_trip_s * 1000:.1f} ms"
    if not await client.inspect("server-ready", timeout_s=timeout_s):
        remedy = "It is loading, or a model failed to load: see the lines below and Triton's log."
        return warning(address, f"{found}; lives and isn't ready", remedy)
    if round_trip_s > SLOW_S:
        return warning(
            address, f"{found}: far away", "Run the façade near Triton: each request takes a round trip."
        )
    return ok(address, f"{found}; ready; {len(about.get('extensions') or [])} extensions")


def _examine_index(
    address: str, index: list[dict[str, str]], served: Mapping[str, ModelDescription]
) -> list[Finding]:
    """Tell which models failed, and which can be called."""
    findings = []
    for entry in index:
        state, reason = entry.get("state", ""), entry.get("reason", "")
        if state in {"", "READY"} or (state == "UNAVAILABLE" and reason in {"", "unloaded"}):
            continue
        name = f"{entry['name']} {entry.get('version', '')}".strip()
        if state == "LOADING":
            remedy = "Wait, then run this again; if it stays so, see Triton's log."
            findings.append(warning(address, f"model {name} is still loading", remedy))
        else:
            remedy = f"Mend what it says, then load it again ({_how_to_load(entry['name'])}); Triton's log has more."
            findings.append(problem(address, f"model {name} is {state.lower()}: {_shorten(reason)}", remedy))
    if not served:
        remedy = (
            "Export one with `triton-export export`, and start Triton with --model-repository=<that folder>."
        )
        return [*findings, problem(address, "serves no model", remedy)]
    return findings + _examine_served(address, served)


def _examine_served(address: str, served: Mapping[str, ModelDescription]) -> list[Finding]:
    """Tell which models the façade can call by their cards."""
    findings, shown = [], []
    for name, description in served.items():
        try:
            model = to_served_model(description)
        except CardUnusable as error:
            remedy = "Export it again with `triton-export export`; until then it answers on /v2 only."
            findings.append(problem(address, f"model {name}: {_shorten(str(error))}", remedy))
            continue
        if model is not None:
            shown.append(f"{name} ({_list(model.versions)})")
    others = len(served) - len(shown) - len(findings)
    said = f"serves {', '.join(shown) or 'none with a card'}"
    return [ok(address, said + (f"; {others} without a card, on /v2 only" if others else "")), *findings]


def compare_with_disk(look: TritonLook, on_disk: Mapping[str, ModelOnDisk]) -> list[Finding]:
    """
    Compare what is on disk with what is loaded.

    Args:
        look: What Triton serves.

        on_disk: What the repository holds.

    Returns:
        The findings.
    """
    if look.served is None or not on_disk:
        return []
    findings = []
    # A core before its door: the door calls it.
    if absent := sorted(on_disk.keys() - look.served.keys(), reverse=True):
        remedy = (
            f"{_how_to_load(absent[0])}. If Triton has another repository, name that one with --repository."
        )
        verb = "is" if len(absent) == 1 else "are"
        findings.append(warning(look.endpoint, f"{', '.join(absent)} {verb} on disk and not loaded", remedy))
    for name, model in on_disk.items():
        served = look.served.get(name)
        if served is None:
            continue
        release = model.card.release if model.card is not None else None
        wanted = () if release is None else (release.stable, release.canary or release.stable)
        if missing := sorted(set(wanted) - set(served.ready_versions)):
            remedy = f"{_how_to_load(name)}, or move releases with --triton grpc://{look.endpoint}, so that it follows."
            found = f"{name}: version {_list(missing)} is to answer and isn't loaded"
            findings.append(problem(look.endpoint, found, remedy))
    if not findings:
        findings.append(ok(look.endpoint, "everything on disk is loaded"))
    return findings


def examine_default_model(look: TritonLook, default_model: str | None) -> list[Finding]:
    """
    See whether the model that `/predict` falls back on is there.

    Args:
        look: What Triton serves.

        default_model: ``FACADE_DEFAULT_MODEL``.

    Returns:
        A finding if it isn't.
    """
    if default_model is None or look.served is None or default_model in look.served:
        return []
    served = ", ".join(look.served) or "none"
    remedy = f"Set it to one of: {served}. Or leave it unset."
    return [problem(look.endpoint, f"FACADE_DEFAULT_MODEL is {default_model!r}, which isn't served", remedy)]


def _compare(look: TritonLook, address: str, served: Mapping[str, ModelDescription]) -> list[Finding]:
    """Tell where two endpoints differ: callers get now this, now that."""
    first = {name: one.ready_versions for name, one in (look.served or {}).items()}
    other = {name: one.ready_versions for name, one in served.items()}
    differing = sorted(name for name in first.keys() | other.keys() if first.get(name) != other.get(name))
    if not differing:
        return []
    remedy = "Give all Tritons the same repository, and move releases with one --triton for each of them."
    return [warning(address, f"differs from {look.endpoint} in {', '.join(differing)}", remedy)]


async def _examine_certificate(address: str, tls: TlsFiles, name: str, way: _Way) -> list[Finding]:
    """Shake hands once beside gRPC, which doesn't show the certificate."""
    context = ssl.create_default_context(cafile=str(tls.ca_file))
    context.set_alpn_protocols(["h2"])
    if tls.cert_file is not None and tls.key_file is not None:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    host, port = split_address(address)
    try:
        async with asyncio.timeout(way.timeout_s):
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
        shown = writer.get_extra_info("peercert") or {}
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    except OSError as error:
        remedy = "Compare FACADE_TRITON_TLS_CA_FILE with who signed it: `openssl s_client -connect`."
        return [problem(address, f"its certificate isn't accepted: {error}", remedy)]
    return [_examine_end(address, ssl.cert_time_to_seconds(str(shown["notAfter"])), way.now)]


def _examine_end(check: str, ends_at: float, now: float) -> Finding:
    day = time.strftime("%Y-%m-%d", time.gmtime(ends_at))
    if ends_at <= now:
        return problem(check, f"the certificate ended on {day}", "Renew it, then restart who shows it.")
    if ends_at - now < SOON_S:
        left = int((ends_at - now) // 86_400)
        return warning(check, f"the certificate ends on {day}, in {left} days", "Renew it before that day.")
    return ok(check, f"the certificate holds until {day}")


def _unresolved(host: str, error: OSError) -> Finding:
    remedy = "Correct the name in FACADE_TRITON_URL, or the resolver (/etc/resolv.conf); try `getent hosts` with it."
    return problem(host, explain_connection(error), remedy)


def _unreachable(address: str, error: OSError) -> Finding:
    if isinstance(error, TimeoutError):
        remedy = "A firewall, or a machine that is down: check FACADE_TRITON_URL, and the network between."
    elif not isinstance(error, ConnectionRefusedError):
        return _unresolved(address, error)
    else:
        remedy = (
            f"Start Triton, or correct FACADE_TRITON_URL: its gRPC port, {GRPC_PORT} unless told otherwise."
        )
    return problem(address, explain_connection(error), remedy)


def _silent(address: str, port: int, error: FacadeError) -> Finding:
    """Say what it means that a connection opens and no gRPC answer comes."""
    reason = getattr(error, "reason", "") or error.message
    if isinstance(error, DeadlineExceeded):
        remedy = "Triton hangs, or something else listens there: see its log, restart it if it stays so."
        return problem(address, "takes the connection and doesn't answer", remedy)
    if isinstance(error, BackendUnavailable):
        hint = next((meaning for sign, meaning in HINTS if sign in reason), None)
        found = f"takes the connection and speaks no gRPC with us: {hint or _shorten(reason)}"
        if hint is not None and "ertificate is" in hint:
            remedy = f"See what it shows: `openssl s_client -connect {address} -showcerts`."
            return problem(address, found, remedy)
        usual = "" if port == GRPC_PORT else f" Triton's gRPC port is {GRPC_PORT} unless told otherwise."
        remedy = f"Is that Triton's gRPC port, and not HTTP (8000) or metrics (8002)?{usual}"
        return problem(address, found, remedy)
    return problem(address, _shorten(reason), "See Triton's log.")


def _how_to_load(name: str) -> str:
    return (
        f"`curl -X POST http://TRITON:8000/v2/repository/models/{name}/load` (--model-control-mode=explicit), or "
        "restart Triton"
    )


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:300]}…"  # noqa: PLR2004  # a few lines of a terminal


def _list(versions: tuple[int, ...] | list[int]) -> str:
    return ", ".join(map(str, versions))
