"""Copying a file or a tree faithfully, for moves that a rename cannot do."""

from __future__ import annotations

import errno
import os
import stat

from sandlot.guest.tools import ToolError
from sandlot.guest.tools.arguments import display
from sandlot.guest.tools.bulk import CHUNK, write_all
from sandlot.guest.tools.reading import kind_of, open_regular
from sandlot.guest.tools.tree import Descent, children, identity, open_path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


def copy(source: int, name: bytes, target: int, new_name: bytes) -> None:
    """Copy an entry of one open folder, with all that is below it, to a new name in another.

    Keeps content (holes stay holes), permission bits, mtimes, symlinks, hard links within the tree, ``user.*`` extended
    attributes and, where we may, owners. Raises OSError, ToolError; what was copied so far is left to the caller.
    """
    info = os.stat(name, dir_fd=source, follow_symlinks=False)
    if stat.S_ISDIR(info.st_mode):
        _copy_folder(source, name, target, new_name)
    else:
        _copy_one(source, name, target, new_name, info)


def _copy_folder(source: int, name: bytes, target: int, new_name: bytes) -> None:
    links: dict[tuple[int, int], bytes] = {}
    os.mkdir(new_name, 0o700, dir_fd=target)
    with (
        Descent(os.open(name, _FOLDER, dir_fd=source)) as here,
        Descent(os.open(new_name, _FOLDER, dir_fd=target)) as there,
    ):
        top = os.open(b".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=there.folder)
        try:
            stack = [(b"", *children(here.folder))]
            while stack:
                prefix, names, folders = stack[-1]
                if not names:
                    _finish(there.folder, here.folder)
                    stack.pop()
                    if stack:
                        here.leave()
                        there.leave()
                    continue
                child = names.pop()
                if child in folders:
                    os.mkdir(child, 0o700, dir_fd=there.folder)
                    here.enter(child)
                    there.enter(child)
                    stack.append((prefix + child + b"/", *children(here.folder)))
                    continue
                info = os.stat(child, dir_fd=here.folder, follow_symlinks=False)
                if info.st_nlink > 1 and identity(info) in links:
                    _link_again(top, links[identity(info)], there.folder, child)
                    continue
                _copy_one(here.folder, child, there.folder, child, info)
                if info.st_nlink > 1:
                    links[identity(info)] = prefix + child
        finally:
            os.close(top)


def _link_again(top: int, first: bytes, folder: int, name: bytes) -> None:
    parent, slash, first_name = first.rpartition(b"/")
    holder = open_path(parent if slash else b".", os.O_PATH | os.O_DIRECTORY, top)
    try:
        os.link(first_name, name, src_dir_fd=holder, dst_dir_fd=folder, follow_symlinks=False)
    finally:
        os.close(holder)


def _copy_one(source: int, name: bytes, target: int, new_name: bytes, info: os.stat_result) -> None:
    """Copy anything but a folder."""
    if stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), new_name, dir_fd=target)
        _stamp(target, new_name, info)
    elif stat.S_ISREG(info.st_mode):
        copy_file(source, name, target, new_name)
    elif stat.S_ISFIFO(info.st_mode) or stat.S_ISSOCK(info.st_mode):
        os.mknod(new_name, info.st_mode, dir_fd=target)
        os.chmod(new_name, stat.S_IMODE(info.st_mode), dir_fd=target)
        _stamp(target, new_name, info)
    else:
        raise ToolError("file_refused", f"{display(name)} is {kind_of(info.st_mode)} and cannot be copied")


def copy_file(source: int, name: bytes, target: int, new_name: bytes) -> os.stat_result:
    """Copy a regular file to a new name, never through a symlink; what the source was when it was read."""
    read, info = open_regular(source, name, name, os.O_NOFOLLOW)
    try:
        written = os.open(new_name, _NEW_FILE, 0o600, dir_fd=target)
        try:
            _content(read, written, info.st_size)
            _finish(written, read)
        finally:
            os.close(written)
    finally:
        os.close(read)
    return info


def _content(read: int, written: int, size: int) -> None:
    """Copy the parts that are not holes."""
    offset = 0
    while offset < size:
        try:
            offset = os.lseek(read, offset, os.SEEK_DATA)
            end = os.lseek(read, offset, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                break
            end = size  # the filesystem does not tell holes
        os.lseek(written, offset, os.SEEK_SET)
        while offset < end:
            chunk = os.pread(read, min(CHUNK, end - offset), offset)
            if not chunk:
                end = size = offset  # it became shorter
                break
            write_all(written, chunk)
            offset += len(chunk)
    os.ftruncate(written, size)


def _finish(copied: int, original: int) -> None:
    """Owner, extended attributes, permission bits and mtime, in the order in which each survives the next."""
    info = os.fstat(original)
    now = os.fstat(copied)
    if (now.st_uid, now.st_gid) != (info.st_uid, info.st_gid):
        try:
            os.fchown(copied, info.st_uid, info.st_gid)
        except OSError:
            pass  # only root may
    try:
        for attribute in os.listxattr(original):
            if attribute.startswith("user."):
                os.setxattr(copied, attribute, os.getxattr(original, attribute))
    except OSError:
        pass  # not kept on this filesystem
    os.fchmod(copied, stat.S_IMODE(info.st_mode))
    os.utime(copied, ns=(info.st_atime_ns, info.st_mtime_ns))


def _stamp(folder: int, name: bytes, info: os.stat_result) -> None:
    os.utime(name, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=folder, follow_symlinks=False)
