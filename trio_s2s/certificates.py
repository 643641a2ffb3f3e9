"""Certificates of a settings file, loaded into contexts for TLS."""

import ssl
from pathlib import Path
from typing import Final, NoReturn

import attrs

from trio_s2s.table import Reader, Table

__all__ = ["dialler_tls", "listener_tls"]

_MISMATCH: Final = "KEY_VALUES_MISMATCH"
"""The one cause that OpenSSL names in every version."""


@attrs.frozen(kw_only=True)
class ListenerTls:
    """Files for the side that accepts."""

    certificate: Path
    """What it shows, the chain included."""
    key: Path | None = None
    """Of the certificate; None: it is in the same file."""
    client_ca: Path | None = None
    """Diallers must show a certificate of this authority."""

    def context(self) -> ssl.SSLContext:
        """Load them all; a ValueError says which can't be."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        _load_own(context, self.certificate, self.key)
        if self.client_ca is not None:
            _load_authority(context, self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@attrs.frozen(kw_only=True)
class DiallerTls:
    """Files for the side that dials."""

    ca: Path | None = None
    """The one authority that it trusts; None: those that this system trusts."""
    certificate: Path | None = None
    """What it shows if it is asked to, the chain included."""
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Load them all; a ValueError says which can't be."""
        if self.ca is None:
            context = ssl.create_default_context()
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            _load_authority(context, self.ca)
        if self.certificate is not None:
            _load_own(context, self.certificate, self.key)
        elif self.key is not None:
            raise ValueError("has a key, but no certificate")
        return context


def listener_tls(table: Table, key: str) -> ssl.SSLContext | None:
    """Read the TLS of a listener; None if something in it is wrong, which is told."""
    return _context(table.inner(key), ListenerTls)


def dialler_tls(table: Table, key: str) -> ssl.SSLContext | None:
    """Read the TLS of a link; None if something in it is wrong, which is told."""
    return _context(table.inner(key), DiallerTls)


def _context(
    table: Table, cls: type[ListenerTls] | type[DiallerTls]
) -> ssl.SSLContext | None:
    readers: dict[str, tuple[str, Reader]] = {
        field.name: (field.name, _file) for field in attrs.fields(cls)
    }
    found = table.fields(cls, readers)
    return None if found is None else cls(**found).context()


def _file(table: Table, key: str) -> Path:
    value = table.values[key]
    if not isinstance(value, str):
        raise ValueError(f"must be the path of a file, not {value!r}")
    path = table.folder / value
    try:
        path.open("rb").close()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"cannot read {path}: {why}") from error
    return path


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    def no_password() -> NoReturn:
        # Without it the library asks at the terminal, where nobody may be.
        raise ValueError(
            f"the key in {key or certificate} wants a password: store it without one,"
            " readable only for this program"
        )

    try:
        context.load_cert_chain(certificate, key, no_password)
    except ssl.SSLError as error:
        if error.reason == _MISMATCH:
            text = f"the key in {key or certificate} is not that of the certificate"
        elif key is not None:
            text = f"{certificate} has no certificate, or {key} no key, in PEM form"
        else:
            text = f"{certificate} has no certificate with its key in PEM form"
        raise ValueError(text) from error


def _load_authority(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ValueError(f"{path} has no certificate in PEM form") from error
