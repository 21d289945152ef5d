"""TLS and mutual TLS from the façade to a real Triton: what is accepted, and what is said of what isn't."""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import SecretStr, ValidationError

from deploy.local.install import Places, install_triton
from deploy.local.triton import CHECKOUT, TritonServer
from facade.app import build_app
from facade.doctor.tritons import examine_tritons
from facade.settings import Settings
from facade.triton.channel import TlsFiles, TlsUnusable, certificate_end
from tests.facade.conftest import until_ready
from tests.facade.serving import serving
from tests.security.small_repository import DIMENSION, MODEL_NAME, write_repository

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

KEY = "a-key-for-tests-of-tls"


class Secured(NamedTuple):
    """A Triton that demands certificates, and a folder of them."""

    url: str
    """Its ``host:port``."""

    folder: Path
    """PEM files: authorities, and certificates with their keys."""

    def files(self, ca: str, certificate: str | None = None) -> dict[str, str]:
        """Name files as the settings do."""
        found = {"triton_tls_ca_file": str(self.folder / f"{ca}.pem")}
        if certificate is not None:
            found["triton_tls_cert_file"] = str(self.folder / f"{certificate}.pem")
            found["triton_tls_key_file"] = str(self.folder / f"{certificate}.key")
        return found


@pytest.fixture(name="secured", scope="module")
def _secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A real Triton with mutual TLS."""
    folder = tmp_path_factory.mktemp("certificates")
    authority, stranger = trustme.CA(), trustme.CA()
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    certificates = {
        "server": authority.issue_cert("127.0.0.1"),
        "facade": authority.issue_cert("facade.example.org"),
        "foreign": stranger.issue_cert("facade.example.org"),
        "over": authority.issue_cert("facade.example.org", not_after=yesterday),
    }
    for name, certificate in certificates.items():
        certificate.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        certificate.private_key_pem.write_to_path(folder / f"{name}.key")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    stranger.cert_pem.write_to_path(folder / "stranger.pem")
    key = load_pem_private_key(certificates["facade"].private_key_pem.bytes(), password=None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a passphrase"))
    (folder / "locked.key").write_bytes(locked)
    install_triton(Places(CHECKOUT), print)
    options = [
        "--grpc-use-ssl=1",
        "--grpc-use-ssl-mutual=1",
        f"--grpc-server-cert={folder}/server.pem",
        f"--grpc-server-key={folder}/server.key",
        f"--grpc-root-cert={folder}/authority.pem",
    ]
    repository = write_repository(tmp_path_factory.mktemp("repository"))
    with TritonServer(repository, extra_args=options) as triton:
        yield Secured(triton.grpc_url, folder)


def settings(url: str, files: dict[str, str]) -> Settings:
    """Settings of a façade that looks often."""
    return Settings(triton_url=url, catalogue_interval_s=0.01, api_key=SecretStr(KEY), **files)


async def test_with_the_right_certificates_models_answer(secured: Secured) -> None:
    """Ready, and an embedding comes back over mutual TLS."""
    app = build_app(settings(secured.url, secured.files("authority", "facade")))
    async with (
        serving(app) as url,
        httpx.AsyncClient(base_url=url, headers={"X-API-Key": KEY}) as client,
    ):
        await until_ready(client)
        answer = await client.post("/v1/embeddings", json={"model": MODEL_NAME, "input": "abba"})
        metrics = (await client.get("/metrics")).text
    assert len(answer.json()["data"][0]["embedding"]) == DIMENSION
    end = re.search(r"^facade_triton_certificate_end_timestamp_seconds (\S+)", metrics, re.MULTILINE)
    assert end is not None
    assert float(end[1]) > time.time()


@pytest.mark.parametrize(
    ("files", "host", "words"),
    [
        (("stranger", "facade"), "127.0.0.1", "isn't signed by FACADE_TRITON_TLS_CA_FILE"),
        (("authority", "facade"), "localhost", "is for another name than FACADE_TRITON_URL's"),
        (("authority",), "127.0.0.1", "take no certificate like ours (FACADE_TRITON_TLS_CERT_FILE)"),
        (("authority", "foreign"), "127.0.0.1", "take no certificate like ours"),
        ((), "127.0.0.1", "it may want TLS (FACADE_TRITON_TLS_CA_FILE)"),
    ],
)
async def test_without_them_it_is_not_ready_and_says_why(
    secured: Secured, caplog: pytest.LogCaptureFixture, files: tuple[str, ...], host: str, words: str
) -> None:
    """Callers get 503 and no detail; the operator's log has the reason and the setting, once and not each second."""
    address = secured.url.replace("127.0.0.1", host)
    app = build_app(settings(address, secured.files(*files) if files else {}))
    async with (
        serving(app) as url,
        httpx.AsyncClient(base_url=url, headers={"X-API-Key": KEY}) as client,
    ):
        # Triton is looked for many times meanwhile.
        ready = [await client.get("/health/ready") for _ in range(30)][-1]
        answer = await client.post("/v1/embeddings", json={"model": MODEL_NAME, "input": "abba"})

    assert (ready.status_code, answer.status_code) == (503, 503)
    assert "TLS" not in answer.text
    lost = [record for record in caplog.records if record.message == "triton_lost"]
    assert len(lost) == 1
    assert words in vars(lost[0])["reason"]


@pytest.mark.parametrize(
    ("files", "status", "words"),
    [
        (("authority", "facade"), "ok", "the certificate holds until"),
        (("stranger", "facade"), "problem", "isn't signed by FACADE_TRITON_TLS_CA_FILE"),
        (("authority",), "problem", "take no certificate like ours"),
        (("authority", "over"), "problem", "certificate has expired"),
        ((), "problem", "it may want TLS"),
    ],
)
async def test_the_doctor_says_the_same(
    secured: Secured, files: tuple[str, ...], status: str, words: str
) -> None:
    """And until when both certificates hold; what is wrong has a remedy."""
    named = secured.files(*files) if files else {}
    tls = TlsFiles(*map(Path, named.values())) if named else None
    look = await examine_tritons(secured.url, tls, timeout_s=5, now=time.time())
    matching = [finding for finding in look.findings if words in finding.found]

    assert {finding.status for finding in matching} == {status}
    assert len(matching) == (2 if status == "ok" else 1)
    assert all(finding.remedy for finding in look.findings if finding.status != "ok")


async def test_the_doctor_warns_before_a_certificate_is_over(secured: Secured) -> None:
    """Fourteen days before it, and as a problem when it is."""
    tls = TlsFiles(*map(Path, secured.files("authority", "facade").values()))
    end = certificate_end(tls)
    assert end is not None
    for now, status in ((end - 86_400, "warning"), (end + 1, "problem")):
        look = await examine_tritons(secured.url, tls, timeout_s=5, now=now)
        assert look.findings[0].status == status


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"triton_tls_ca_file": "missing.pem"}, "FACADE_TRITON_TLS_CA_FILE: .*/missing.pem can't be read"),
        (
            {"triton_tls_ca_file": "facade.key"},
            "FACADE_TRITON_TLS_CA_FILE: .*/facade.key holds no certificate",
        ),
        ({"triton_tls_key_file": "over.key"}, "over.key is not the key of"),
        ({"triton_tls_key_file": "locked.key"}, "the key has a passphrase; give one without"),
        ({"triton_tls_cert_file": "facade.key"}, "must hold a certificate and its private key in PEM"),
        ({"triton_tls_key_file": None}, "belong together; set both"),
        ({"triton_tls_ca_file": None}, "FACADE_TRITON_TLS_CA_FILE is missing"),
    ],
)
async def test_files_that_cant_be_used_are_named(
    secured: Secured, changes: dict[str, str | None], words: str
) -> None:
    """By setting and path, with what is wrong, and nothing of what is in them."""
    chosen = {**secured.files("authority", "facade"), **changes}
    paths = {name: secured.folder / file for name, file in chosen.items() if file is not None}

    with pytest.raises((TlsUnusable, ValidationError), match=words) as caught:
        build_app(Settings(triton_url=secured.url, api_key=SecretStr(KEY), **paths))
    assert "PRIVATE KEY" not in str(caught.value)


def test_a_certificate_that_is_over_ends_the_start(secured: Secured) -> None:
    """Exit code 2 and one sentence, instead of a service that never becomes ready."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FACADE_")}
    files = {f"FACADE_{name.upper()}": path for name, path in secured.files("authority", "over").items()}
    found = subprocess.run(
        [sys.executable, "-m", "facade", "serve", "--port", "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**kept, "FACADE_API_KEY": KEY, "FACADE_METRICS_PORT": "", **files},
    )

    assert found.returncode == 2
    assert "FACADE_TRITON_TLS_CERT_FILE" in found.stderr
    assert "certificate has expired" in found.stderr
    assert "Traceback" not in found.stderr
