"""
Every setting of the façade, read once from the environment (``FACADE_*``) by `facade.app`.

A secret may be a file instead: one named ``facade_redis_url``, in the folder that ``FACADE_SECRETS_DIR`` names, stands
for ``FACADE_REDIS_URL``. So do Docker and Kubernetes hand secrets over, and ``docker inspect`` doesn't show them. Where
both are set, the environment counts.

Nobody else reads settings: parts get plain values from the composition root, so a part can be tested and
reused without an environment.
"""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path  # noqa: TC003  # pydantic reads the annotation
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

REDIS_URL_FORMS = (
    "redis://[user:password@]host[:port][/database], rediss://…, unix://[user:password@]/path, "
    "or redis+cluster://[user:password@]host:port,host:port"
)

CommaSeparated = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """What an operator can choose; defaults are safe on an open network and fast on two cores."""

    model_config = SettingsConfigDict(env_prefix="FACADE_", extra="ignore", hide_input_in_errors=True)

    # Where it listens...

    environment: Literal["production", "development"] = "production"
    """`development` serves ``/docs`` and ``/openapi.json`` to anybody; `production` does not serve them."""

    ui: bool | None = None
    """Whether the page at ``/ui`` is served, without a key; unset, `development` serves it and `production` doesn't."""

    host: str = "127.0.0.1"
    """Address to listen on. ``0.0.0.0`` opens the façade to the network."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port to listen on; 0 lets the system choose a free one, which the log then names."""

    workers: Annotated[int, Field(ge=1)] = 1
    """Worker processes behind the port: 4 in production, 1 on a laptop."""

    worker_patience_s: Annotated[float, Field(ge=2)] = 30.0
    """Seconds without a sign of life after which one of several workers is killed and replaced."""

    metrics_host: str = "127.0.0.1"
    """Address of the metrics port; whoever can reach it reads the metrics without a key."""

    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = 9464
    """Port that serves ``/metrics`` alone, without a key; empty for none. 9464 is OpenTelemetry's for Prometheus."""

    # Triton...

    triton_url: str = "127.0.0.1:8001"
    """
    ``host:port`` of Triton's gRPC endpoint; several with commas between; or ``dns:///host:port`` for all addresses of a
    name, which are followed as they come and go.
    """

    hedge: bool = False
    """Whether a call that takes longer than 95 of 100 is sent to a second Triton too, and the first answer taken."""

    triton_tls_ca_file: Path | None = None
    """PEM file with who may sign Triton's certificate. With it Triton is spoken to over TLS, without in the clear."""

    triton_tls_cert_file: Path | None = None
    """PEM file with the certificate that is shown to a Triton that asks for one (mutual TLS). Read at the start."""

    triton_tls_key_file: Path | None = None
    """PEM file with that certificate's private key, without a passphrase."""

    # Who may call...

    api_key: SecretStr | None = None
    """The one key that may call, through ``X-API-Key`` or ``Authorization: Bearer``."""

    keys_file: Path | None = None
    """YAML file with keys and tiers (``triton-facade keys --help``); followed as it changes. Or `api_key`."""

    allow_networks: CommaSeparated = ()
    """Networks (CIDR, v4 and v6) that may call at all; empty lets all in."""

    deny_networks: CommaSeparated = ()
    """Networks that may not call, before `allow_networks`."""

    trusted_proxies: CommaSeparated = ()
    """Networks of the load balancers whose ``X-Forwarded-For`` is believed; empty ignores the header."""

    public_paths: Annotated[frozenset[str], NoDecode] = frozenset({"/health/live", "/health/ready"})
    """Exact paths that need no key, comma separated. Everything else is denied without one."""

    failures_per_minute: Annotated[int, Field(ge=1)] = 30
    """Requests with a wrong or missing key that one address may send in a minute."""

    # Redis and quotas...

    redis_url: SecretStr | None = None
    """
    ``redis://…`` or ``redis+cluster://host:port,host:port``: shared by all replicas for quotas and for
    the cache's second tier. Without it, each process counts and remembers for itself.
    """

    quota_redis_url: SecretStr | None = None
    """Redis for quotas, where that isn't `redis_url`: a cache that may lose its entries should not be shared."""

    replicas: Annotated[int, Field(ge=1)] = 1
    """Façades that share the quotas; while Redis is away, each of them grants its part of every limit."""

    # Cache...
    cache: bool = True
    """Whether answers are kept."""

    cache_memory_bytes: Annotated[int, Field(ge=0)] = 64 * 1024 * 1024
    """
    What a worker keeps in memory. An embedding of 384 numbers takes 2 KiB with its key, so 64 MiB hold some 30,000.
    """

    # Sizes...

    body_limit_bytes: Annotated[int, Field(ge=1024)] = 8 * 1024 * 1024
    """Largest request body. At 8 MiB, 2,048 texts may have 4 KiB each."""

    max_inputs: Annotated[int, Field(ge=1)] = 2048
    """Most inputs in one request; OpenAI's bound for embeddings."""

    max_text_bytes: Annotated[int, Field(ge=1)] = 256 * 1024
    """
    Largest single text, in bytes of UTF-8. Counting the tokens of a text keeps a processor busy for a second a
    megabyte, and its neighbours waiting. 256 KiB are some 60,000 tokens of English.
    """

    max_image_bytes: Annotated[int, Field(ge=1)] = 4 * 1024 * 1024
    """Largest single image file, in bytes. With base64's third more it fits `body_limit_bytes`."""

    # Deadlines...

    default_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Deadline of a request that brings no ``X-Request-Timeout`` header, in seconds."""

    max_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """A longer ``X-Request-Timeout`` is cut to this, in seconds. 600 is what the OpenAI client waits."""

    # Work under way...

    calls_in_flight: Annotated[int, Field(ge=1)] = 2
    """
    Merged gRPC calls under way for one model version. More lowers the wait for a free call and makes batches
    smaller. With 2, one batch is computed while the next is on its way.
    """

    max_queued_items: Annotated[int, Field(ge=1)] = 20_000
    """Most inputs admitted and not yet answered, for one model, however fast it is; a bound on memory."""

    max_generations: Annotated[int, Field(ge=1)] = 256
    """
    Answers of one text-generation model that wait or are written at once, in one worker. More are refused with 503:
    what a model does at once is its slots, and the rest only waits.
    """

    # Models...

    catalogue_interval_s: Annotated[float, Field(gt=0)] = 1.0
    """How often Triton is asked which models it has, in seconds."""

    default_model: str | None = None
    """What ``POST /predict`` uses when the request names no model and Triton serves several."""

    # Connections and stopping...

    keep_alive_s: Annotated[int, Field(ge=1)] = 75
    """Idle seconds before a connection is closed. Keep it above the load balancer's own idle time-out."""

    drain_s: Annotated[float, Field(ge=0)] = 5.0
    """
    Seconds between SIGTERM (readiness turns false, new connections are still served) and the closing of the
    listener. Longer than a load balancer takes to notice.
    """

    shutdown_grace_s: Annotated[int, Field(ge=0)] = 30
    """Seconds that requests in flight get to finish after the listener closed."""

    # Traces and logs...

    otlp_endpoint: str | None = None
    """Where traces go (OTLP over HTTP, such as ``http://collector:4318``); without it nothing is traced."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log line that is written."""

    # Set by the façade itself, for its workers...

    host_quotas_file: Path | None = None
    """Where the workers of one façade count quotas together. Set by their parent, not by operators."""

    heartbeats_file: Path | None = None
    """Where the workers of one façade give signs of life. Set by their parent, not by operators."""

    worker_index: Annotated[int, Field(ge=0)] = 0
    """Which of several workers this process is. Set by their parent, not by operators."""

    @field_validator("public_paths", mode="before")
    @classmethod
    def _split_paths(cls, value: object) -> object:
        return (
            frozenset(p.strip() for p in value.split(",") if p.strip()) if isinstance(value, str) else value
        )

    @field_validator("allow_networks", "deny_networks", "trusted_proxies", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = tuple(part.strip() for part in value.split(",") if part.strip())
        for part in parts:
            ip_network(part)
        return parts

    @field_validator("redis_url", "quota_redis_url")
    @classmethod
    def _check_redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        # Here and not in redis-py, which would end the start with a traceback, or take a database's typo for 0.
        if value is not None and not _is_redis_url(value.get_secret_value()):
            raise ValueError(f"must look like {REDIS_URL_FORMS}")
        return value

    @field_validator("triton_url")
    @classmethod
    def _check_triton_url(cls, value: str) -> str:
        endpoints = [part.strip() for part in value.removeprefix("dns:///").split(",")]
        is_list = len(endpoints) > 1
        if value.startswith("dns:///") and is_list:
            raise ValueError("takes one name after dns:///, and no list")
        if value.startswith("dns:///") or is_list:
            for endpoint in endpoints:
                if not _is_address(f"//{endpoint}", needs_port=True):
                    raise ValueError("must be host:port, host:port,host:port,… or dns:///host:port")
        elif not endpoints[0]:
            raise ValueError("must not be empty")
        return value

    @field_validator("otlp_endpoint")
    @classmethod
    def _check_endpoint(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value

    @field_validator("metrics_port", "ui", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("api_key")
    @classmethod
    def _refuse_empty_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().strip():
            raise ValueError("must not be empty; leave it unset or give a long random string")
        return value

    @model_validator(mode="after")
    def _check_timeouts(self) -> Settings:
        if self.api_key is not None and self.keys_file is not None:
            raise ValueError(
                "FACADE_API_KEY and FACADE_KEYS_FILE exclude each other; put the key into the file"
            )
        if (self.triton_tls_cert_file is None) != (self.triton_tls_key_file is None):
            raise ValueError(
                "FACADE_TRITON_TLS_CERT_FILE and FACADE_TRITON_TLS_KEY_FILE belong together; set both"
            )
        if self.triton_tls_cert_file is not None and self.triton_tls_ca_file is None:
            raise ValueError(
                "FACADE_TRITON_TLS_CA_FILE is missing: name who signs Triton's certificate "
                "(/etc/ssl/certs/ca-certificates.crt for the public authorities)"
            )
        if self.default_timeout_s > self.max_timeout_s:
            raise ValueError("FACADE_DEFAULT_TIMEOUT_S must not exceed FACADE_MAX_TIMEOUT_S")
        return self


def _is_redis_url(url: str) -> bool:
    """Whether *url* has one of `REDIS_URL_FORMS`; nothing is connected."""
    scheme, _, rest = url.partition("://")
    if scheme == "unix":
        return urlsplit(url).path.startswith("/")
    if scheme in {"redis", "rediss"}:
        return _is_address(url) and (urlsplit(url).path.strip("/") or "0").isdecimal()
    if scheme in {"redis+cluster", "rediss+cluster"}:
        addresses = rest.partition("/")[0].rpartition("@")[2].split(",")
        return all(_is_address(f"redis://{address}", needs_port=True) for address in addresses)
    return False


def _is_address(url: str, *, needs_port: bool = False) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is not None or not needs_port)
    except ValueError:
        return False
