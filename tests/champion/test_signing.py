"""A signed champion is told from every other folder, and a wrong key from the right one."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from c2c_search.champion.export import export
from c2c_search.champion.package import build
from c2c_search.champion.signing import SIGNATURE
from c2c_search.champion.signing import verify_signature
from c2c_search.errors import ConfigError
from c2c_search.errors import IntegrityError
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.sums import check_sums
from c2c_search.inference.sums import write_sums


PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8
PUBLIC = serialization.PublicFormat.SubjectPublicKeyInfo
PLAIN = serialization.NoEncryption()


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return _keys(tmp_path, "mine")


@pytest.fixture
def champion(tmp_path: Path, fuser_dir: Path, manifest: Manifest) -> Path:
    return build(tmp_path / "champion", fuser_dir=fuser_dir, manifest=manifest)


@pytest.fixture
def signed(tmp_path: Path, champion: Path, keys: tuple[Path, Path]) -> Path:
    export(champion, tmp_path / "signed", sign_with=keys[0])
    return tmp_path / "signed"


def _keys(folder: Path, name: str) -> tuple[Path, Path]:
    made = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(made.private_bytes(PEM, PKCS8, PLAIN))
    public.write_bytes(made.public_key().public_bytes(PEM, PUBLIC))
    return private, public


def test_a_signed_champion_is_known_by_its_makers_key(signed: Path, keys) -> None:
    assert len((signed / SIGNATURE).read_bytes()) == 64
    check_sums(signed)  # which a signature leaves as they are
    verify_signature(signed, keys[1])


def test_a_champion_is_not_signed_unless_asked(tmp_path: Path, champion: Path, keys) -> None:
    export(champion, tmp_path / "plain")
    assert not (tmp_path / "plain" / SIGNATURE).exists()
    with pytest.raises(IntegrityError, match="export it with --sign"):
        verify_signature(tmp_path / "plain", keys[1])


@pytest.mark.parametrize("what", ["another key", "redone sums", "signature"])
def test_what_another_signed_or_changed_is_refused(
    signed: Path, keys, tmp_path: Path, what: str
) -> None:
    public = keys[1]
    if what == "another key":
        _, public = _keys(tmp_path, "yours")
    elif what == "signature":
        (signed / SIGNATURE).write_bytes(bytes(64))
    else:
        signature = (signed / SIGNATURE).read_bytes()
        (signed / SIGNATURE).unlink()
        (signed / "README.md").write_text("better")
        write_sums(signed)
        (signed / SIGNATURE).write_bytes(signature)
        check_sums(signed)
    with pytest.raises(IntegrityError, match="must be the signature"):
        verify_signature(signed, public)


def test_a_changed_file_and_one_more_file_are_refused(signed: Path, keys) -> None:
    (signed / "runtime" / "setup.py").write_text("import os")
    with pytest.raises(IntegrityError, match=r"holds only what was signed.*runtime/setup\.py"):
        verify_signature(signed, keys[1])
    (signed / "runtime" / "setup.py").unlink()
    (signed / "runtime" / "link").symlink_to("/tmp")
    with pytest.raises(IntegrityError, match="runtime/link"):
        verify_signature(signed, keys[1])
    (signed / "runtime" / "link").unlink()
    (signed / "README.md").write_text("better")
    with pytest.raises(IntegrityError, match=r"README\.md: expected"):
        verify_signature(signed, keys[1])


def test_what_is_no_key_is_named(tmp_path: Path, champion: Path, signed: Path, keys) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "ec.pem").write_bytes(other.private_bytes(PEM, PKCS8, PLAIN))
    locked = serialization.BestAvailableEncryption(b"secret")
    mine = Ed25519PrivateKey.generate().private_bytes(PEM, PKCS8, locked)
    (tmp_path / "locked.pem").write_bytes(mine)
    for wrong in (tmp_path / "ec.pem", tmp_path / "locked.pem", tmp_path / "no.pem", keys[1]):
        with pytest.raises(ConfigError, match="Ed25519 private key") as told:
            export(champion, tmp_path / "out", sign_with=wrong)
        assert wrong.name in str(told.value)
        assert not (tmp_path / "out").exists()
    for wrong in (tmp_path / "ec.pem", keys[0], champion / "manifest.json"):
        with pytest.raises(ConfigError, match="Ed25519 public key"):
            verify_signature(signed, wrong)
