"""Reading a host's configuration file, and replacing it in one step."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from sandlot.errors import HostConfigUnreadable, HostConflict, UnsafePath
from sandlot.hosts.formats.base import Format, JsonObject, Unparsable

__all__ = ["ConfigFile", "read", "read_text", "replace"]

LARGEST = 64 << 20
"""Bytes; more is no configuration."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One file as it is now; ``text`` is None where there is none."""

    path: Path
    text: str | None
    value: JsonObject


def read(path: Path, form: Format) -> ConfigFile:
    """Read and parse. Raises HostConfigUnreadable, with line and column where it is a matter of those."""
    text = read_text(path)
    if text is None:
        return ConfigFile(path, None, {})
    try:
        return ConfigFile(path, text, form.parse(text))
    except Unparsable as error:
        raise HostConfigUnreadable(f"{path} is no {form.name}: {error}") from None


def read_text(path: Path) -> str | None:
    """The text of a file, or None. Raises HostConfigUnreadable for what is no text file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO must not hold us
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise HostConfigUnreadable(f"cannot read {path}: {error.strerror}", hint="make it readable") from None
    about = os.fstat(fd)
    if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST:
        os.close(fd)
        raise HostConfigUnreadable(f"{path} is no configuration file", hint="look at it with ls -l")
    with open(fd, "rb") as file:
        data = file.read(LARGEST)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise HostConfigUnreadable(f"{path} is no text in UTF-8: line {line}, column {column}") from None


def replace(path: Path, before: str | None, after: str | None, *, within: Path | None = None) -> None:
    """Put a text (None: nothing) in the place of what was read; mode, owner and symbolic links stay.

    ``within``: the folder that the file must really lie in. Raises HostConflict when the file is no longer what was
    read, UnsafePath when it lies elsewhere.
    """
    target = Path(os.path.realpath(path))
    if within is not None and not target.is_relative_to(os.path.realpath(within)):
        # A project's files come from whoever wrote it: a link must not make us change the user's own.
        raise UnsafePath(f"{path} leads out of its project, to {target}", hint="replace the link by a file")
    if read_text(target) != before:
        raise HostConflict(f"{path} has just been changed by another program", hint="try again")
    try:
        if after is None:
            target.unlink(missing_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(target, after)
    except OSError as error:
        raise HostConfigUnreadable(f"cannot write {path}: {error.strerror}", hint="make it writable") from None


def _write(target: Path, text: str) -> None:
    draft = target.with_name(f".{target.name}.{os.urandom(4).hex()}.sandlot")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with open(fd, "wb") as file:
            with contextlib.suppress(FileNotFoundError):
                about = target.stat()
                if (about.st_uid, about.st_gid) != (os.getuid(), os.getgid()):
                    with contextlib.suppress(PermissionError):  # a group we are not in: the mode still tells who reads
                        os.fchown(fd, about.st_uid, about.st_gid)
                os.fchmod(fd, stat.S_IMODE(about.st_mode))
            file.write(text.encode())
            file.flush()
            os.fsync(fd)
        os.rename(draft, target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
