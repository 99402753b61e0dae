"""Writing a layer stream (see wire/layers.py) into an empty folder, whoever sent it: the host or a hostile guest.

Nothing is ever resolved: every name is one component, made with O_EXCL or its like in a folder that we hold by its
descriptor, and which nobody else knows. What a stream may cost is bounded.
"""

from __future__ import annotations

import errno
import os
import stat

from sandlot.wire import layers as wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK = 256 * 1024
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_ATTRIBUTES = (errno.EOPNOTSUPP, errno.ENOSPC, errno.E2BIG, errno.ERANGE, errno.EINVAL)
"""What a file system says that cannot hold an attribute; the file itself matters more."""
_LONGEST = 1 << 62


class LayerError(Exception):
    """The stream is no layer, or more than was agreed on."""


class Reader:
    """Takes exact amounts from a stream. ``read(size)`` gives up to so many bytes, b"" at the end."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._data = b""
        self._at = 0

    def exactly(self, size: int) -> bytes:
        """The next ``size`` bytes. Raises LayerError when there are fewer."""
        at = self._at
        end = at + size
        if end <= len(self._data):
            self._at = end
            return self._data[at:end]
        parts = [self._data[at:]]
        missing = end - len(self._data)
        while missing > 0:
            part = self._read(CHUNK)
            if not part:
                raise LayerError("the stream was cut short")
            parts.append(part)
            missing -= len(part)
        self._data = b"".join(parts)
        self._at = size
        return self._data[:size]

    def pieces(self, size: int) -> Iterator[bytes]:
        """The next ``size`` bytes, in pieces."""
        while size:
            if self._at == len(self._data):
                self._data, self._at = self._read(CHUNK), 0
                if not self._data:
                    raise LayerError("the stream was cut short")
            piece = self._data[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            yield piece


class Unpacking:
    """Writes one stream. ``run`` may be called once; after an error the folder is to be thrown away."""

    def __init__(
        self,
        reader: Reader,
        target: int,
        scratch: int,
        *,
        opaque: str,
        unmasked: bool = False,
        most_bytes: int = _LONGEST,
        most_entries: int = _LONGEST,
    ) -> None:
        """``target``, ``scratch``: descriptors of empty folders on the same file system; the latter is left filled
        with names of files that have several. ``opaque``: the attribute by which overlayfs knows an opaque folder.
        ``unmasked``: this process's umask is 0, so what is made need not be given its mode once more."""
        self._reader = reader
        self._target = target
        self._scratch = scratch
        self._opaque = opaque
        self._unmasked = unmasked
        self._most_bytes = most_bytes
        self._most_entries = most_entries
        self._shared = 0
        self.entries = 0
        self.bytes = 0
        """Of content and attributes; holes are not counted."""
        self.skipped = 0

    def run(self) -> None:
        """Write it all. Raises LayerError, OSError."""
        exactly = self._reader.exactly
        if exactly(len(wire.MAGIC)) != wire.MAGIC:
            raise LayerError("not a layer")
        kind, flags, mode, length, mtime, _ = wire.HEAD.unpack(exactly(wire.HEAD.size))
        if kind != wire.FOLDER or length or flags & wire.OPAQUE:
            raise LayerError("no root at the start of a layer")
        above = [(mode, mtime)]
        folder = os.dup(self._target)
        try:
            if flags & wire.ATTRIBUTES:
                self._attributes(folder)
            while above:
                kind, flags, mode, length, mtime, number = wire.HEAD.unpack(exactly(wire.HEAD.size))
                if kind == wire.UP:
                    folder = self._leave(folder, *above.pop(), last=not above)
                    continue
                if kind == wire.BROKEN:
                    raise LayerError("the other side gave up: %r" % self._text(number)[:400])
                self._count(0)
                self.entries += 1
                name = self._name(length)
                try:
                    if kind == wire.FILE:
                        self._file(folder, name, flags, mode, mtime)
                    elif kind == wire.FOLDER:
                        if len(above) >= wire.MAX_DEPTH:
                            raise LayerError("the layer has folders too deep in each other")
                        above.append((mode, mtime))
                        folder = self._enter(folder, name, flags)
                    else:
                        self._other(folder, name, kind, mode, mtime, number)
                except FileExistsError:
                    raise LayerError("%r occurs twice" % name) from None
            if wire.HEAD.unpack(exactly(wire.HEAD.size))[0] != wire.END:
                raise LayerError("more than one root in a layer")
        finally:
            os.close(folder)

    def _count(self, size: int) -> None:
        self.bytes += size
        if self.bytes > self._most_bytes or self.entries >= self._most_entries:
            raise LayerError("the layer is larger than it may be")

    def _name(self, length: int) -> bytes:
        if not 0 < length <= wire.MAX_NAME:
            raise LayerError("a name of %d bytes" % length)
        name = self._reader.exactly(length)
        if b"/" in name or b"\0" in name or name in (b".", b".."):
            raise LayerError("%r is not a name" % name)
        return name

    def _text(self, length: int) -> bytes:
        if not 0 < length <= wire.MAX_TEXT:
            raise LayerError("a text of %d bytes" % length)
        self._count(length)
        return self._reader.exactly(length)

    def _enter(self, folder: int, name: bytes, flags: int) -> int:
        os.mkdir(name, 0o700, dir_fd=folder)
        deeper = os.open(name, FOLDER, dir_fd=folder)
        os.close(folder)
        if flags & wire.OPAQUE:
            self.mark_opaque(deeper)
        if flags & wire.ATTRIBUTES:
            self._attributes(deeper)
        return deeper

    def mark_opaque(self, folder: int) -> None:
        """For subclasses that must be somebody else to do so."""
        os.setxattr(folder, self._opaque, b"y")

    def _leave(self, folder: int, mode: int, mtime: int, *, last: bool) -> int:
        """Give a folder its own mode and times, now that nothing more is put into it; returns the one above."""
        above = os.dup(folder) if last else os.open("..", FOLDER, dir_fd=folder)
        try:
            os.fchmod(folder, mode & 0o7777)
            os.utime(folder, ns=(mtime, mtime))
        except BaseException:
            os.close(above)
            raise
        os.close(folder)
        return above

    def _file(self, folder: int, name: bytes, flags: int, mode: int, mtime: int) -> None:
        # An attribute can be set only where the owner may write; and not every bit can be given to open.
        at_once = self._unmasked and not flags & wire.ATTRIBUTES and not mode & 0o7000
        file = os.open(name, _NEW, mode if at_once else 0o600, dir_fd=folder)
        try:
            if flags & wire.ATTRIBUTES:
                self._attributes(file)
            self._content(file)
            if not at_once:
                os.fchmod(file, mode & 0o7777)
            os.utime(file, ns=(mtime, mtime))
        finally:
            os.close(file)
        if flags & wire.SHARED:
            os.link(name, b"%d" % self._shared, src_dir_fd=folder, dst_dir_fd=self._scratch, follow_symlinks=False)
            self._shared += 1

    def _content(self, file: int) -> None:
        exactly = self._reader.exactly
        at = 0
        hole = False
        while True:
            (size,) = wire.PIECE.unpack(exactly(8))
            if size == 0:
                break
            hole = bool(size & wire.HOLE)
            size &= wire.HOLE - 1
            if at + size > _LONGEST:
                raise LayerError("a file that is longer than files can be")
            at += size
            if hole:
                self._count(wire.PIECE.size)  # an endless file of holes ends, too
                os.lseek(file, at, os.SEEK_SET)
                continue
            self._count(size)
            for piece in (exactly(size),) if size <= CHUNK else self._reader.pieces(size):
                done = os.write(file, piece)
                while done < len(piece):
                    done += os.write(file, piece[done:])
        if hole:
            os.ftruncate(file, at)

    def _attributes(self, descriptor: int) -> None:
        """Only a user's own: overlayfs's, or the system's, would change what the tree means."""
        while True:
            length, size = wire.VALUE.unpack(self._reader.exactly(wire.VALUE.size))
            if not length:
                return
            if length > wire.MAX_NAME or size > wire.MAX_VALUE:
                raise LayerError("an attribute that is larger than attributes can be")
            self._count(length + size)
            name = self._reader.exactly(length)
            value = self._reader.exactly(size)
            if not name.startswith(b"user.") or name.startswith(b"user.overlay.") or b"\0" in name:
                continue
            try:
                os.setxattr(descriptor, name, value)
            except OSError as error:
                if error.errno not in _NO_ATTRIBUTES:
                    raise

    def _other(self, folder: int, name: bytes, kind: int, mode: int, mtime: int, number: int) -> None:
        if kind == wire.AGAIN:
            if number >= self._shared:
                raise LayerError("one more name of a file that did not come")
            os.link(b"%d" % number, name, src_dir_fd=self._scratch, dst_dir_fd=folder, follow_symlinks=False)
            return
        if kind == wire.SKIPPED:
            self.skipped += 1
            return
        if kind == wire.WHITEOUT:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=folder)
            return
        if kind == wire.SYMLINK:
            target = self._text(number)
            if b"\0" in target:
                raise LayerError("a symlink with an unusable target")
            os.symlink(target, name, dir_fd=folder)
        elif kind == wire.FIFO:
            os.mkfifo(name, 0o600, dir_fd=folder)
            os.chmod(name, mode & 0o7777, dir_fd=folder)
        else:
            raise LayerError("an entry of kind %d" % kind)
        os.utime(name, ns=(mtime, mtime), dir_fd=folder, follow_symlinks=False)
