"""
One gRPC channel to one Triton, in the clear or over TLS, and why it doesn't come about.

Certificates are read and tried once, at the start: gRPC takes whatever bytes it is given, and says no more than "Socket
closed" when Triton refuses them later.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import grpc
import grpc.aio

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    # gRPC's default refuses answers above 4 MiB; Triton's own limit is 2 GiB - 1.
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    # A Triton that restarts is found again within a second; the defaults back off to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A peer that vanished without a FIN is noticed while calls wait. Triton answers more frequent pings than one in
    # five minutes with GOAWAY unless data is under way, so pings are sent with calls only.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A second channel to the same address is a second connection: gRPC would share the one that went silent.
    ("grpc.use_local_subchannel_pool", 1),
)

_CLOSED = "it may want TLS (FACADE_TRITON_TLS_CA_FILE), or take no certificate like ours (FACADE_TRITON_TLS_CERT_FILE)"
_SIGNS_OF_CLOSING = (
    "Socket closed",
    "Handshake read failed",
    "Handshake write failed",
    "Connection reset by peer",
)
"""Triton has closed the connection, which gRPC notices in one state or another."""

HINTS = (
    (
        "CERTIFICATE_VERIFY_FAILED",
        "Triton's certificate isn't signed by FACADE_TRITON_TLS_CA_FILE, or is over",
    ),
    (
        "Hostname Verification Check failed",
        "Triton's certificate is for another name than FACADE_TRITON_URL's",
    ),
    ("is not in peer certificate", "Triton's certificate is for another name than FACADE_TRITON_URL's"),
    (
        "WRONG_VERSION_NUMBER",
        "Triton speaks no TLS there; leave FACADE_TRITON_TLS_CA_FILE unset, or start it with TLS",
    ),
    *((sign, _CLOSED) for sign in _SIGNS_OF_CLOSING),
)
"""What gRPC says of a handshake that fails, and what it means here."""


class TlsUnusable(Exception):
    """A certificate or a key can't be used; the message names the setting and the remedy."""


class TlsFiles(NamedTuple):
    """What an operator names for TLS to Triton."""

    ca_file: Path
    """PEM: who may sign Triton's certificate."""

    cert_file: Path | None = None
    """PEM: the certificate that we show, and those between it and its authority; None where Triton asks for none."""

    key_file: Path | None = None
    """PEM: its private key, without a passphrase."""


def open_channel(
    url: str,
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    credentials: grpc.ChannelCredentials | None = None,
    server_name: str | None = None,
) -> grpc.aio.Channel:
    """
    Make a channel; it connects at its first call. It belongs to the loop it is made in.

    Args:
        url: ``host:port`` of Triton's gRPC endpoint.

        interceptors: What sees every call, such as tracing.

        credentials: What `read_credentials` gave; None for no TLS.

        server_name: Name that Triton's certificate must be for; None for the URL's.

    Returns:
        The channel.
    """
    seen_by = list(interceptors) or None
    if credentials is None:
        return grpc.aio.insecure_channel(url, options=CHANNEL_OPTIONS, interceptors=seen_by)
    # An address out of a name's many is shown the name's certificate.
    named = () if server_name is None else (("grpc.ssl_target_name_override", server_name),)
    return grpc.aio.secure_channel(url, credentials, options=CHANNEL_OPTIONS + named, interceptors=seen_by)


def read_credentials(files: TlsFiles) -> grpc.ChannelCredentials:
    """
    Read certificates and try them, as far as that goes without Triton.

    Args:
        files: Where they are.

    Returns:
        What a channel takes.

    Raises:
        TlsUnusable: If one can't be read, holds something else, is over, or doesn't fit its key.
    """
    authority = _read(files.ca_file, "FACADE_TRITON_TLS_CA_FILE")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(files.ca_file)
    except ssl.SSLError:
        raise TlsUnusable(
            f"FACADE_TRITON_TLS_CA_FILE: {files.ca_file} holds no certificate in PEM."
        ) from None
    if files.cert_file is None or files.key_file is None:
        return grpc.ssl_channel_credentials(authority)
    certificate = _read(files.cert_file, "FACADE_TRITON_TLS_CERT_FILE")
    key = _read(files.key_file, "FACADE_TRITON_TLS_KEY_FILE")
    _try_certificate(files.cert_file, files.key_file)
    return grpc.ssl_channel_credentials(authority, private_key=key, certificate_chain=certificate)


def certificate_end(files: TlsFiles) -> float | None:
    """
    Say until when the certificate holds that is shown to Triton.

    Args:
        files: Where it is.

    Returns:
        Seconds since 1970; None where none is shown.

    Raises:
        TlsUnusable: If it can't be used.
    """
    if files.cert_file is None or files.key_file is None:
        return None
    return _try_certificate(files.cert_file, files.key_file)


def explain(details: str) -> str:
    """
    Say for an operator why a channel doesn't come about.

    Args:
        details: gRPC's own words.

    Returns:
        These, and what they mean where that is known.
    """
    hint = next((meaning for sign, meaning in HINTS if sign in details), None)
    return f"{details} ({hint})" if hint else details


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsUnusable(f"{setting}: {path} can't be read: {error.strerror or error}.") from None


def _try_certificate(cert_file: Path, key_file: Path) -> float:
    """
    Shake hands with ourselves in memory: the one way that `ssl` offers to learn when a certificate is over.

    Returns:
        Its end, in seconds since 1970.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    server.verify_mode = ssl.CERT_REQUIRED
    # Who signed it is Triton's business.
    server.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    try:
        for context in (client, server):
            context.load_cert_chain(cert_file, key_file, password=_refuse_passphrase)
        server.load_verify_locations(cert_file)
        return _shake_hands(client, server)
    except ssl.SSLCertVerificationError as error:
        raise TlsUnusable(
            f"FACADE_TRITON_TLS_CERT_FILE: {cert_file} can't be shown to Triton: {error.verify_message}."
        ) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsUnusable(
                f"FACADE_TRITON_TLS_KEY_FILE: {key_file} is not the key of {cert_file}."
            ) from None
        raise TlsUnusable(
            f"FACADE_TRITON_TLS_CERT_FILE, FACADE_TRITON_TLS_KEY_FILE: {cert_file} and {key_file} must hold a "
            "certificate and its private key in PEM."
        ) from None


def _refuse_passphrase() -> NoReturn:
    raise TlsUnusable("FACADE_TRITON_TLS_KEY_FILE: the key has a passphrase; give one without.")


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> float:
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True))
    # Each end speaks twice in TLS 1.3.
    for end in ends * 2:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    shown = ends[1].getpeercert() or {}
    return ssl.cert_time_to_seconds(str(shown["notAfter"]))
