"""The one file that holds the values of a workspace's secrets, and the key of its certificate authority.

It lies in the workspace's folder (0700), is 0600, and is replaced as a whole. Nothing else on disk ever holds a value.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from sandlot.errors import StateCorrupt, StateUnwritable
from sandlot.model.secret import SecretBinding
from sandlot.paths import WorkspacePaths

__all__ = ["Kept", "Vault", "destroy", "load", "save"]


@dataclass(frozen=True, slots=True)
class Kept:
    """One secret, with its value."""

    binding: SecretBinding
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Vault:
    """All secrets of a workspace, by name."""

    secrets: dict[str, Kept] = field(default_factory=dict)
    authority_key: str = field(default="", repr=False)
    """PEM; empty as long as no secret is bound to an https host."""
    authority_certificate: str = ""


def load(own: WorkspacePaths) -> Vault:
    """What is kept; nothing, when there is no file. Raises StateCorrupt."""
    try:
        data = json.loads(_read(own.secrets))
        secrets = {
            each["name"]: Kept(SecretBinding(each["name"], tuple(each["hosts"]), each["placeholder"]), each["value"])
            for each in data["secrets"]
        }
        return Vault(secrets, data["authority_key"], data["authority_certificate"])
    except FileNotFoundError:
        return Vault()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _foreign(own.secrets) from error
        raise StateUnwritable(f"cannot read {own.secrets}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError):  # its text may hold a value: nothing of it is told
        raise StateCorrupt(
            f"the secrets in {own.secrets} are damaged", hint="remove that file, then set the secrets again"
        ) from None


def _read(path: Path) -> bytes:
    """The file, of which nobody else can read or has made anything. Raises OSError, StateCorrupt."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or (found.st_uid != os.geteuid() and os.geteuid() != 0):
            raise _foreign(path)
        if found.st_mode & 0o077:  # a backup or a careless chmod has opened it
            os.fchmod(descriptor, 0o600)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _foreign(path: Path) -> StateCorrupt:
    return StateCorrupt(f"{path} is not a file of yours", hint="remove it, then set the secrets again")


def save(own: WorkspacePaths, vault: Vault) -> None:
    """Replace the file, durably; the caller holds the workspace's lock. Raises StateUnwritable."""
    data = {
        "version": 1,
        "secrets": [
            {
                "name": kept.binding.name,
                "hosts": kept.binding.hosts,
                "placeholder": kept.binding.placeholder,
                "value": kept.value,
            }
            for kept in vault.secrets.values()
        ],
        "authority_key": vault.authority_key,
        "authority_certificate": vault.authority_certificate,
    }
    draft = own.secrets_draft
    try:
        _sweep(own)
        _write(draft, json.dumps(data).encode())
        os.replace(draft, own.secrets)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise StateUnwritable(f"cannot write {own.secrets}: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def destroy(own: WorkspacePaths) -> None:
    """Remove the file and what a killed writer left of one: at once, while all the rest may wait in the trash."""
    with contextlib.suppress(OSError):
        _sweep(own)
        own.secrets.unlink(missing_ok=True)


def _sweep(own: WorkspacePaths) -> None:
    """Remove what a killed writer left: a value that has been replaced or deleted since must not stay there."""
    for entry in list(own.root.iterdir()):
        if own.is_secrets_draft(entry):
            entry.unlink()
