"""The members of a tar archive, plain or compressed, read from its start to its end."""

from __future__ import annotations

import gzip
import io
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from typing import BinaryIO

import zstandard

from sandlot.bases.members import MAX_EXPANDED, MAX_RATIO, RATIO_FROM, Member, refused
from sandlot.errors import ArchiveRefused

__all__ = ["tar_members"]

MAX_HEADER = 16 << 20
"""The longest extended header we read, in bytes."""
MAX_WINDOW = 128 << 20
"""Memory a zstd stream may ask for, in bytes."""
_SKIP_AT_ONCE = 1 << 20
_BLOCK = 512


def tar_members(archive: BinaryIO, name: str, size: int) -> Iterator[Member]:
    """The members of ``archive`` (open at its start, ``size`` bytes), whose compression its name tells.

    Raises ArchiveRefused for what is no intact archive.
    """
    with _translated():
        stream = _Forward(_expanded(archive, name), size)
        archive.seek(0)
        with tarfile.open(fileobj=stream, mode="r:", errorlevel=2) as tar:
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # not in typeshed; or it would remember a million of them
                yield _member(tar, info)
        stream.check_end()


def _expanded(archive: BinaryIO, name: str) -> BinaryIO:
    lower = name.lower()
    if lower.endswith((".gz", ".tgz")):
        return gzip.GzipFile(fileobj=archive, mode="rb")  # type: ignore[return-value]  # reads like one
    if lower.endswith(".zst"):
        reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
        return reader.stream_reader(archive, read_across_frames=True, closefd=False)
    return archive


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (
        tarfile.TarError,
        EOFError,
        zlib.error,
        gzip.BadGzipFile,
        zstandard.ZstdError,
        ValueError,
        OverflowError,
    ) as error:
        raise ArchiveRefused(f"not an intact archive: {error}") from error


class _Forward(io.RawIOBase):
    """A stream that tarfile may seek forward in; bounds what one header may make it read."""

    def __init__(self, stream: BinaryIO, archive_size: int) -> None:
        self._stream = stream
        self._at = 0
        self._limit = min(MAX_EXPANDED * 2, max(RATIO_FROM * 2, (MAX_RATIO + 1) * archive_size))
        self._last = b""

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > MAX_HEADER:
            raise ArchiveRefused("the archive has a header that is too long")
        parts = []
        missing = size
        while missing:
            part = self._stream.read(missing)
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        data = b"".join(parts)
        self._at += len(data)
        if size == _BLOCK:
            self._last = data
        if self._at > self._limit:
            raise ArchiveRefused("the archive expands to far more than its members say")
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or offset < self._at:
            raise tarfile.ReadError("members out of order")
        while self._at < offset:
            if not self.read(min(_SKIP_AT_ONCE, offset - self._at)):
                break
        return self._at

    def check_end(self) -> None:
        """Whether the archive ended as archives do: with a block of zeros, not in the middle."""
        if self._last != bytes(_BLOCK):
            raise ArchiveRefused("the archive is damaged or ends too early")
        while self.read(_SKIP_AT_ONCE):  # the checksum of a compressed stream is at its very end
            pass


def _member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    name = os.fsencode(info.name)
    mtime_ns = _mtime_ns(info)
    if info.isdir():
        return Member(name, "d", info.mode & 0o777, mtime_ns)
    if info.issym():
        return Member(name, "l", 0o777, mtime_ns, target=os.fsencode(info.linkname))
    if info.islnk():
        return Member(name, "h", 0, mtime_ns, target=os.fsencode(info.linkname))
    if info.ischr() or info.isblk() or info.isfifo():
        return Member(name, "s", 0, mtime_ns, device=not info.isfifo())
    if not info.isreg():
        raise refused(name, "is of a kind we do not know")
    content = tar.extractfile(info) if info.size else None
    read = None if content is None else _guarded(content.read)
    return Member(name, "f", info.mode & 0o777, mtime_ns, info.size, read=read)


def _guarded(read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """Content is read by our caller: what goes wrong then is to be told in our words all the same."""

    def guarded(size: int) -> bytes:
        with _translated():
            return read(size)

    return guarded


def _mtime_ns(info: tarfile.TarInfo) -> int:
    """To the nanosecond where the archive has it (a float loses that), within what file systems take."""
    text = info.pax_headers.get("mtime", "")
    try:
        seconds = Decimal(text) if re.fullmatch(r"-?\d{1,12}(\.\d{1,20})?", text) else Decimal(int(info.mtime))
        return int(min(max(seconds, Decimal(0)), Decimal(2**33)) * 10**9)
    except (InvalidOperation, ValueError, OverflowError):
        return 0
