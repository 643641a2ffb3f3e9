"""Twin of `certificates.py`."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from trio_s2s.certificates import dialler_tls, listener_tls
from trio_s2s.table import Table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with certificates, good ones and others."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    own, other = authority.issue_cert("localhost"), authority.issue_cert("other")
    key = serialization.load_pem_private_key(own.private_key_pem.bytes(), None)
    files = {
        "both.pem": own.private_key_and_cert_chain_pem.bytes(),
        "certificate.pem": own.cert_chain_pems[0].bytes(),
        "key.pem": own.private_key_pem.bytes(),
        "other.key": other.private_key_pem.bytes(),
        "locked.key": key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        ),
        "ca.pem": authority.cert_pem.bytes(),
        "empty.pem": b"",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def read(side: str, values: dict[str, Any], folder: Path) -> tuple[Any, list[str]]:
    """Give the context, and what is told of it without the folder's name."""
    table = Table({"tls": values}, folder)
    context = None
    try:
        context = (listener_tls if side == "listener" else dialler_tls)(table, "tls")
    except ValueError as error:
        table.tell("tls", str(error))
    return context, [error.replace(f"{folder}/", "") for error in table.errors]


@pytest.mark.parametrize(
    ("side", "values", "mode"),
    [
        ("listener", {"certificate": "both.pem"}, ssl.CERT_NONE),
        ("listener", {"certificate": "certificate.pem", "key": "key.pem"},
         ssl.CERT_NONE),
        ("listener", {"certificate": "both.pem", "client_ca": "ca.pem"},
         ssl.CERT_REQUIRED),
        ("dialler", {}, ssl.CERT_REQUIRED),
        ("dialler", {"ca": "ca.pem"}, ssl.CERT_REQUIRED),
        ("dialler", {"ca": "ca.pem", "certificate": "both.pem"}, ssl.CERT_REQUIRED),
        ("dialler", {"certificate": "certificate.pem", "key": "key.pem"},
         ssl.CERT_REQUIRED),
    ],
)  # fmt: skip
def test_files_are_loaded(
    side: str, values: dict[str, Any], mode: ssl.VerifyMode, folder: Path
) -> None:
    context, errors = read(side, values, folder)
    assert errors == []
    assert context.verify_mode is mode
    assert context.check_hostname is (side == "dialler")
    if "ca" in values or "client_ca" in values:
        assert context.cert_store_stats()["x509_ca"] == 1


@pytest.mark.parametrize(
    ("side", "values", "errors"),
    [
        ("listener", {}, ["tls.certificate: missing"]),
        ("listener", {"certificate": 5, "ca": "ca.pem"}, [
            "tls.ca: unknown key",
            "tls.certificate: must be the path of a file, not 5",
        ]),
        ("listener", {"certificate": "gone.pem", "key": "gone.key"}, [
            "tls.certificate: cannot read gone.pem: No such file or directory",
            "tls.key: cannot read gone.key: No such file or directory",
        ]),
        ("listener", {"certificate": "a\0b"}, [
            "tls.certificate: cannot read a\0b: embedded null byte",
        ]),
        ("listener", {"certificate": "certificate.pem"}, [
            "tls: certificate.pem has no certificate with its key in PEM form",
        ]),
        ("listener", {"certificate": "empty.pem"}, [
            "tls: empty.pem has no certificate with its key in PEM form",
        ]),
        ("listener", {"certificate": "certificate.pem", "key": "ca.pem"}, [
            "tls: certificate.pem has no certificate, or ca.pem no key, in PEM form",
        ]),
        ("listener", {"certificate": "certificate.pem", "key": "other.key"}, [
            "tls: the key in other.key is not that of the certificate",
        ]),
        ("listener", {"certificate": "certificate.pem", "key": "locked.key"}, [
            "tls: the key in locked.key wants a password: store it without one,"
            " readable only for this program",
        ]),
        ("listener", {"certificate": "both.pem", "client_ca": "key.pem"}, [
            "tls: key.pem has no certificate in PEM form",
        ]),
        ("dialler", {"ca": "empty.pem"}, [
            "tls: empty.pem has no certificate in PEM form",
        ]),
        ("dialler", {"key": "key.pem"}, ["tls: has a key, but no certificate"]),
        ("dialler", {"client_ca": "ca.pem"}, [
            "tls.client_ca: unknown key",
        ]),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_told(
    side: str, values: dict[str, Any], errors: list[str], folder: Path
) -> None:
    context, told = read(side, values, folder)
    assert context is None
    assert told == errors
