"""Renames that never overwrite, and renames that swap (renameat2(2)), with the plain rename as fallback."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache
from typing import Final

__all__ = ["rename_new", "swap"]

_NOREPLACE: Final = 1
_EXCHANGE: Final = 2
_UNSUPPORTED: Final = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


def rename_new(source: int, old: bytes, target: int, new: bytes) -> None:
    """Rename ``old`` in the folder ``source`` to ``new`` in ``target`` (descriptors).

    Raises FileExistsError when something has that name; on file systems that cannot refuse by themselves there is a
    moment between looking and renaming.
    """
    if _renameat2(source, old, target, new, _NOREPLACE):
        return
    try:
        os.stat(new, dir_fd=target, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(old, new, src_dir_fd=source, dst_dir_fd=target)
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(new))


def swap(source: int, one: bytes, target: int, other: bytes) -> None:
    """Let two existing names change places; on file systems that cannot, ``other`` is missing for a moment.

    Raises FileNotFoundError when one of them is not there.
    """
    if _renameat2(source, one, target, other, _EXCHANGE):
        return
    aside = b".swap-" + os.urandom(8).hex().encode()
    os.rename(other, aside, src_dir_fd=target, dst_dir_fd=source)
    try:
        os.rename(one, other, src_dir_fd=source, dst_dir_fd=target)
    except BaseException:
        os.rename(aside, other, src_dir_fd=source, dst_dir_fd=target)
        raise
    os.rename(aside, one, src_dir_fd=source, dst_dir_fd=source)


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _renameat2(source: int, old: bytes, target: int, new: bytes, flags: int) -> bool:
    """Whether the kernel did it; False when this libc, kernel or file system does not know how."""
    call = getattr(_library(), "renameat2", None)
    if call is None:
        return False
    if call(source, old, target, new, flags) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), os.fsdecode(new))
