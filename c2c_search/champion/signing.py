"""Who made a champion: an Ed25519 signature over its SHA256SUMS, which covers all the rest.

Keys are PEM files, and nothing here is of our own making; openssl does the same:

    openssl genpkey -algorithm ed25519 -out key.pem
    openssl pkey -in key.pem -pubout -out public.pem
    openssl pkeyutl -verify -pubin -inkey public.pem -rawin -in SHA256SUMS -sigfile SHA256SUMS.sig

Source: RFC 8032 (Ed25519), as the library `cryptography` has it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from c2c_search.errors import ConfigError
from c2c_search.errors import IntegrityError
from c2c_search.inference.sums import SUMS
from c2c_search.inference.sums import check_sums
from c2c_search.inference.sums import read_sums


if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


SIGNATURE = f"{SUMS}.sig"
"""The signature's 64 bytes, beside what they sign."""


def private_key(path: Path) -> Ed25519PrivateKey:
    """The key to sign with.

    Raises:
        ConfigError: The file is no Ed25519 private key in PEM, or is encrypted.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    def read(pem: bytes) -> object:
        return load_pem_private_key(pem, password=None)

    key: Ed25519PrivateKey = _key(path, read, Ed25519PrivateKey, "private key, without a password")
    return key


def sign(directory: Path, key: Ed25519PrivateKey) -> None:
    """Sign a champion's folder, whose sums are written."""
    (directory / SIGNATURE).write_bytes(key.sign((directory / SUMS).read_bytes()))


def verify_signature(directory: Path, path: Path) -> None:
    """Check that a champion's folder is as the owner of a key signed it, and holds nothing else.

    Args:
        directory: The folder, as it was fetched: what an installation leaves in it is refused.
        path: File of the public key.

    Raises:
        ConfigError: The file is no Ed25519 public key in PEM.
        IntegrityError: It is not signed, or by another key, or its files are not those signed.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key: Ed25519PublicKey = _key(path, load_pem_public_key, Ed25519PublicKey, "public key")
    if not (directory / SIGNATURE).is_file():
        raise IntegrityError(
            f"A signed champion holds {SIGNATURE}.",
            value=str(directory),
            hint="Ask whoever made it to export it with --sign.",
        )
    listed = read_sums(directory).keys() | {SUMS, SIGNATURE}
    try:
        key.verify((directory / SIGNATURE).read_bytes(), (directory / SUMS).read_bytes())
    except InvalidSignature:
        raise IntegrityError(
            f"{SIGNATURE} must be the signature of {SUMS} by the key's owner.",
            value=f"{directory}, {path}",
            hint="Somebody else signed it, or it was changed since: do not use it.",
        ) from None
    check_sums(directory)
    found = {
        each.relative_to(directory).as_posix()
        for each in directory.rglob("*")
        if each.is_symlink() or not each.is_dir()
    }
    if more := sorted(found - listed):
        raise IntegrityError(
            "A signed champion holds only what was signed.",
            value=", ".join(more),
            hint="Remove these files, or fetch the champion again.",
        )


def _key(path: Path, read: Callable[[bytes], object], kind: type[Any], what: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        key = read(path.read_bytes())
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    else:
        if isinstance(key, kind):
            return key
        reason = f"it is a {type(key).__name__}"
    raise ConfigError(
        f"A champion is signed and verified with an Ed25519 {what}, in PEM.",
        value=f"{path}: {reason}",
        hint="openssl genpkey -algorithm ed25519 -out key.pem makes one, and "
        "openssl pkey -in key.pem -pubout its public key.",
    )
