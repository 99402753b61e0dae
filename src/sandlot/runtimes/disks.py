"""Data disks of guests: raw sparse images with an ext4 in them, made by the host without root.

Formatting is done once for each size, with the host's own mke2fs; a disk is a copy of that, which takes no more room
than what is written in it (and shares blocks where the file system can). Most workspaces have the usual disk, whatever
their limit: templates of guests have one mounted, and their kernel is told what may be filled (guest/storage.py).
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Final

from sandlot import process
from sandlot.bases.copying import copy_content
from sandlot.errors import IsolationUnavailable, StateUnwritable
from sandlot.model.limits import Limits
from sandlot.paths import Paths
from sandlot.runtimes.base import DISK_BYTES, Bounds

__all__ = ["blanks_of", "bounds_of", "copy_disk", "is_usual", "make_disk", "make_usual_disk", "mke2fs", "room"]

DEFAULT_BYTES: Final = 16 << 30
"""What a workspace without a limit may write."""
OVERHEAD: Final = 24 << 20
"""What the file system itself needs, its journal included, beside what it may hold."""
JOURNAL_MIB: Final = 8
LEAST_BYTES: Final = 64 << 20
STEP: Final = 16 << 20
EXTRA_STEP: Final = 256 << 20
USUAL_LIMIT: Final = 2 << 20
USUAL_INODES: Final = USUAL_LIMIT + USUAL_LIMIT // 8
"""What the usual disk can hold, and the limit that it holds a workspace to: the settings' default."""
USUAL_FROM: Final = 1 << 30
"""Limits of bytes from which on a workspace gets the usual disk. With less, the tables of so many inodes, which are not
counted, would be half of what the limit allows."""
LEAST_INODES: Final = 4096
BYTES_PER_INODE: Final = 16384
"""As mke2fs does it by itself."""
INODE_BYTES: Final = 256
FORMAT_S: Final = 60.0
_FEATURES: Final = (
    "has_journal,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,"
    "uninit_bg"
)
"""The same whatever the host's mke2fs.conf says, and all known to kernels for many years. No checksums of metadata: the
disk is a file on the host, and a guest without KVM would feel them."""


def mke2fs() -> Path | None:
    """The host's program that makes file systems; it may lie where an ordinary user's PATH does not lead."""
    found = shutil.which("mke2fs", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    return Path(found) if found else None


def room(limits: Limits, extra: int = 0) -> int:
    """Bytes that a workspace may fill, at most 3 % above its limit, and those that ``extra`` bytes of layers take."""
    return (DEFAULT_BYTES if limits.disk is None else limits.disk + limits.disk // 32) + extra


def is_usual(limits: Limits) -> bool:
    """Whether the usual disk holds a workspace to these limits: the inodes of a file system were made with it."""
    return limits.inodes in (None, USUAL_LIMIT) and room(limits) >= USUAL_FROM


def bounds_of(limits: Limits, disk: Path) -> Bounds:
    """The most that a guest can have on its disk, whose limits may have been others when it was made."""
    taken = os.stat(disk).st_blocks * 512
    most = USUAL_INODES if is_usual(limits) else _most_inodes(limits, 0)
    return Bounds(max(room(limits) + OVERHEAD, taken), max(most, min(USUAL_INODES, taken // INODE_BYTES)))


def _file_system_bytes(limits: Limits, extra: int) -> int:
    """The size of a file system of a workspace's own: few sizes, at most 3 % too large."""
    wanted = room(limits) + OVERHEAD
    step = max(STEP, (1 << wanted.bit_length()) // 64)  # a share of what is free is another number each time
    return min(max(LEAST_BYTES, -(-wanted // step) * step) + -(-extra // EXTRA_STEP) * EXTRA_STEP, DISK_BYTES)


def _most_inodes(limits: Limits, extra: int) -> int:
    """How many files and folders that file system can hold."""
    usual = _file_system_bytes(limits, extra) // BYTES_PER_INODE
    if limits.inodes is None or extra:
        return max(LEAST_INODES, usual)
    return max(LEAST_INODES, min(limits.inodes + limits.inodes // 8, 2 * usual))


def blanks_of(paths: Paths) -> Path:
    """Where the formatted images are kept that disks are copied from."""
    return paths.cache / "guests" / "disks"


def make_disk(blanks: Path, disk: Path, limits: Limits, *, extra: int = 0) -> None:
    """Make the new image ``disk``, empty, with room for what ``limits`` allow, and for ``extra`` bytes of layers.

    Raises IsolationUnavailable when there is no mke2fs, StateUnwritable.
    """
    _make(blanks, disk, _file_system_bytes(limits, extra), _most_inodes(limits, extra))


def make_usual_disk(blanks: Path, disk: Path) -> None:
    """Make the new image ``disk``, empty, as most workspaces have it. Raises as ``make_disk``."""
    _make(blanks, disk, DISK_BYTES, USUAL_INODES)


def copy_disk(original: Path, disk: Path) -> None:
    """Make the new image ``disk`` from another; half of one is never there. Raises StateUnwritable."""
    draft = disk.with_name(f".{disk.name}")
    try:
        draft.unlink(missing_ok=True)  # of somebody who was killed here
        source = os.open(original, os.O_RDONLY | os.O_CLOEXEC)
        try:
            target = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                copy_content(source, target, os.fstat(source))
            finally:
                os.close(target)
        finally:
            os.close(source)
        os.rename(draft, disk)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StateUnwritable(f"cannot make {disk}: {error.strerror}") from error


def _make(blanks: Path, disk: Path, size: int, inodes: int) -> None:
    blank = blanks / f"ext4-{size >> 20}-{inodes}.img"
    try:
        if not blank.exists():
            _format(blank, size, inodes)
    except OSError as error:
        raise StateUnwritable(f"cannot make {blank}: {error.strerror}") from error
    copy_disk(blank, disk)


def _format(blank: Path, size: int, inodes: int) -> None:
    folder = blank.parent
    program = mke2fs()
    if program is None:
        raise IsolationUnavailable(
            "there is no mke2fs to make the disk of a guest with", hint="install the package e2fsprogs"
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = folder / f".{os.urandom(6).hex()}"
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.ftruncate(fd, DISK_BYTES)
        os.close(fd)
        # Nothing is written that a sparse file has anyway (lazy, no discard); no reserve for root, who is not there.
        argv = [
            str(program), "-q", "-F", "-t", "ext4", "-m", "0", "-I", str(INODE_BYTES), "-N", str(inodes),
            "-J", f"size={JOURNAL_MIB}", "-O", f"none,{_FEATURES}",
            "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0",
            "-L", "sandlot", str(draft), f"{size >> 10}k",
        ]  # fmt: skip
        done = process.run(argv, env={"PATH": "/usr/sbin:/usr/bin", "MKE2FS_CONFIG": os.devnull}, timeout=FORMAT_S)
        if done.returncode != 0:
            raise OSError(errno.EIO, f"mke2fs failed: {done.message}")
        os.rename(draft, blank)
    finally:
        draft.unlink(missing_ok=True)
