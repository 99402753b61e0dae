"""The members of a zip archive."""

from __future__ import annotations

import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from sandlot.bases.members import MAX_TARGET, Member, refused
from sandlot.errors import ArchiveRefused

__all__ = ["zip_members"]

_UTF8 = 0x800
_ENCRYPTED = 0x1
_EXTENDED_TIME = 0x5455
_UNIX = 3


def zip_members(archive: BinaryIO) -> Iterator[Member]:
    """The members of ``archive``. Raises ArchiveRefused for what is no intact archive."""
    with _translated(), zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            name = _name(info)
            if info.flag_bits & _ENCRYPTED:
                raise refused(name, "is encrypted")
            mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
            kind = stat.S_IFMT(mode)
            if info.is_dir() or kind == stat.S_IFDIR:
                yield Member(name, "d", mode & 0o777 or 0o755, _mtime_ns(info))
            elif kind == stat.S_IFLNK:
                if not 0 < info.file_size <= MAX_TARGET:
                    raise refused(name, "is a symlink with an unusable target")
                yield Member(name, "l", 0o777, _mtime_ns(info), target=opened.read(info))
            elif kind in (0, stat.S_IFREG):
                with opened.open(info) as content:
                    yield Member(
                        name, "f", mode & 0o777 or 0o644, _mtime_ns(info), info.file_size, read=_guarded(content.read)
                    )
            else:
                yield Member(name, "s", 0, _mtime_ns(info))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        EOFError,
        zlib.error,
        NotImplementedError,
        RuntimeError,
        ValueError,
        OverflowError,
        struct.error,
    ) as error:
        raise ArchiveRefused(f"not an intact archive: {error}") from error


def _guarded(read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """Content is read by our caller: what goes wrong then is to be told in our words all the same."""

    def guarded(size: int) -> bytes:
        with _translated():
            return read(size)

    return guarded


def _name(info: zipfile.ZipInfo) -> bytes:
    """The name's own bytes: zip tools on Linux write them as they are, whatever the format says about code pages."""
    if info.flag_bits & _UTF8:
        return info.filename.encode("utf-8", "surrogateescape")
    return info.filename.encode("cp437", "replace")


def _mtime_ns(info: zipfile.ZipInfo) -> int:
    """The UTC time of the extended field when there is one, else the local time that DOS kept."""
    extra = info.extra
    while len(extra) >= 4:
        tag, length = struct.unpack_from("<HH", extra)
        if tag == _EXTENDED_TIME and length >= 5 and len(extra) >= 9 and extra[4] & 1:
            return int(struct.unpack_from("<I", extra, 5)[0]) * 10**9
        extra = extra[4 + length :]
    try:
        return int(max(time.mktime((*info.date_time, 0, 0, -1)), 0.0)) * 10**9
    except (ValueError, OverflowError):
        return 0
