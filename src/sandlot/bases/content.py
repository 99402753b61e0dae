"""The content of one regular file: hashed while it is copied, holes and zeros for next to nothing."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable

__all__ = ["CHUNK", "Digest", "ReadFailed", "Truncated", "copy_hashed", "write_stream"]

CHUNK = 1 << 20
"""Bytes read at a time, and the unit in which long files are hashed. Part of the content id: never change it."""

_ZEROS = bytes(CHUNK)


class Truncated(Exception):
    """The file turned out shorter than it said."""


class Digest:
    """The hash of a file of known size.

    Up to one chunk it is the SHA-256 of the bytes. A longer file is the SHA-256 over its chunks: the digest of each,
    and a count for each run of chunks that hold only zeros, so that a terabyte of hole costs nothing and a file
    hashes the same whether its zeros are stored or not.
    """

    __slots__ = ("_chunked", "_hash", "_zeros")

    def __init__(self, size: int) -> None:
        self._chunked = size > CHUNK
        self._hash = hashlib.sha256()
        self._zeros = 0

    def data(self, chunk: bytes | bytearray) -> None:
        """The next chunk: exactly CHUNK bytes, fewer only at the end."""
        if not self._chunked:
            self._hash.update(chunk)
        else:
            self._end_run()
            self._hash.update(b"d" + hashlib.sha256(chunk).digest())

    def zeros(self, chunks: int) -> None:
        """The next ``chunks`` full chunks are zeros."""
        if not self._chunked:
            self._hash.update(_ZEROS)
        else:
            self._zeros += chunks

    def _end_run(self) -> None:
        if self._zeros:
            self._hash.update(b"z%d;" % self._zeros)
            self._zeros = 0

    def hex(self) -> bytes:
        """The digest; nothing may be added afterwards."""
        self._end_run()
        return self._hash.hexdigest().encode()


class ReadFailed(Exception):
    """The source could not be read (as against: the target could not be written)."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def copy_hashed(source: int, size: int, target: int | None) -> tuple[bytes, int]:
    """Hash ``size`` bytes of ``source`` and write them to the empty file ``target`` (None: hash only).

    Returns the hash and the bytes written. Raises Truncated when there are fewer bytes, ReadFailed, and OSError for
    the target.
    """
    if size <= CHUNK:
        data = _read(source, 0, size)
        if target is not None:
            _write(target, data, 0)
        return hashlib.sha256(data).hexdigest().encode(), size
    digest = Digest(size)
    written = 0
    at = 0
    start, end = _next_data(source, 0, size)
    while at < size:
        if end <= at < size and start < size:
            start, end = _next_data(source, at, size)
        length = min(CHUNK, size - at)
        if start >= at + length:  # nothing but hole up to start
            whole = (start - at) // CHUNK
            if whole:
                digest.zeros(whole)
                at += whole * CHUNK
            else:
                digest.data(_ZEROS[:length])
                at += length
            continue
        if start <= at and end >= at + length:
            chunk: bytes | bytearray = _read(source, at, length)
            pieces = [(0, length)]
        else:
            chunk, pieces, start, end = _read_pieces(source, at, length, size, (start, end))
        if length == CHUNK and chunk == _ZEROS:
            digest.zeros(1)
        else:
            digest.data(chunk)
            if target is not None:
                for low, high in pieces:
                    _write(target, memoryview(chunk)[low:high], at + low)
                    written += high - low
        at += length
    if os.fstat(source).st_size < size:  # what is missing looked like a hole
        raise Truncated
    if target is not None:
        os.ftruncate(target, size)
    return digest.hex(), written


def write_stream(read: Callable[[int], bytes], size: int, target: int) -> tuple[bytes, int]:
    """Hash and write ``size`` bytes that ``read`` gives, to the empty file ``target``; as copy_hashed otherwise."""
    digest = Digest(size)
    at = written = 0
    while at < size:
        length = min(CHUNK, size - at)
        parts = []
        missing = length
        while missing:
            part = read(missing)
            if not part:
                raise Truncated
            parts.append(part)
            missing -= len(part)
        chunk = parts[0] if len(parts) == 1 else b"".join(parts)
        if length == CHUNK and chunk == _ZEROS:
            digest.zeros(1)
        else:
            digest.data(chunk)
            _write(target, chunk, at)
            written += length
        at += length
    os.ftruncate(target, size)
    return digest.hex(), written


def _next_data(fd: int, at: int, size: int) -> tuple[int, int]:
    """The first stretch of data at or after ``at``; (size, size) when only hole follows."""
    try:
        start = os.lseek(fd, at, os.SEEK_DATA)
        end = os.lseek(fd, start, os.SEEK_HOLE)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size, size
        if error.errno in (errno.EINVAL, errno.ENOTSUP):  # a file system that does not know
            return at, size
        raise ReadFailed(error) from error
    return min(start, size), min(end, size)


def _read_pieces(
    fd: int, at: int, length: int, size: int, data: tuple[int, int]
) -> tuple[bytearray, list[tuple[int, int]], int, int]:
    """A chunk that is partly hole: its bytes, the stretches of it that are data, and the last data seen."""
    start, end = data
    chunk = bytearray(length)
    pieces = []
    while start < at + length:
        low, high = max(start, at) - at, min(end, at + length) - at
        chunk[low:high] = _read(fd, at + low, high - low)
        pieces.append((low, high))
        if end >= at + length:
            break
        start, end = _next_data(fd, end, size)
    return chunk, pieces, start, end


def _read(fd: int, at: int, length: int) -> bytes:
    parts = []
    missing = length
    while missing:
        try:
            data = os.pread(fd, missing, at + length - missing)
        except OSError as error:
            raise ReadFailed(error) from error
        if not data:
            raise Truncated
        parts.append(data)
        missing -= len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _write(fd: int, data: bytes | memoryview, at: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, at)
        view = view[done:]
        at += done
