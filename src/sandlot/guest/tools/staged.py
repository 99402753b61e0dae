"""A file that is written out of sight and then given its name in one step."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


def spare_name(purpose: bytes) -> bytes:
    """A name nobody has; all of ours begin with ``.sandlot-``."""
    return b".sandlot-" + purpose + b"-" + os.urandom(8).hex().encode()


class StagedFile:
    """A new file in an open folder, nameless where the filesystem can do that (open(2), O_TMPFILE).

    A nameless file vanishes with its process, SIGKILL included; otherwise leaving the block removes it.
    """

    def __init__(self, folder: int) -> None:
        self._folder = folder
        self._name: bytes | None = None
        self.descriptor = -1

    def __enter__(self) -> StagedFile:
        try:
            os.stat("/proc/self/fd")  # the way to give it a name later
            self.descriptor = os.open(b".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=self._folder)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
                raise
            self._name = spare_name(b"write")
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
            self.descriptor = os.open(self._name, flags, 0o600, dir_fd=self._folder)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        if self._name is not None:
            try:
                os.unlink(self._name, dir_fd=self._folder)
            except FileNotFoundError:
                pass  # renamed into place

    def publish(self, name: bytes, replace: bool) -> None:
        """Give the file its name. Raises FileExistsError when it is taken and ``replace`` is false."""
        if not replace:
            self._link(name)
            return
        if self._name is None:
            spare = spare_name(b"write")
            self._name = spare  # before it exists, so that an interruption here leaves nothing
            os.link(self._source(), spare, dst_dir_fd=self._folder, follow_symlinks=True)
        os.rename(self._name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def _source(self) -> bytes:
        return b"/proc/self/fd/%d" % self.descriptor

    def _link(self, name: bytes) -> None:
        if self._name is None:
            os.link(self._source(), name, dst_dir_fd=self._folder, follow_symlinks=True)
        else:
            os.link(self._name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder, follow_symlinks=False)
