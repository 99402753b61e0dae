"""Device nodes that a workspace may use and not change.

bubblewrap shows the host's own nodes. A root caller keeps its kernel uid inside and so owns them there: it may
``chmod 600 /dev/null`` for the whole machine, without any capability, and no mount option that bubblewrap offers makes
a device usable but its inode immutable. So root gets nodes of our own, which belong to somebody else.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from sandlot.paths import Paths
from sandlot.runtimes.bubblewrap.plan import DEVICES

__all__ = ["exposed", "own_nodes"]

_STRANGER = 65534
"""nobody: any uid but the caller's."""


def exposed() -> bool:
    """Whether the caller owns the host's nodes, so that its workspaces could change them."""
    return any(os.stat(f"/dev/{name}").st_uid == os.geteuid() for name in DEVICES)


def own_nodes(paths: Paths) -> Path | None:
    """A folder of nodes to show instead of the host's, made when it is not there yet.

    None when the host's are safe, or when none can be made: no CAP_MKNOD, or devices do not work on the file system.
    """
    if not exposed():
        return None
    if not _usable(paths.devices):
        _make(paths.devices)
    return paths.devices if _usable(paths.devices) else None


def _make(folder: Path) -> None:
    building = folder.with_name(f".{folder.name}.{os.urandom(4).hex()}")
    try:
        building.mkdir(mode=0o755)
        for name, minor in DEVICES.items():
            node = building / name
            os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(5 if name == "tty" else 1, minor))
            os.chown(node, _STRANGER, _STRANGER)
            os.chmod(node, 0o666)  # noqa: S103  as every /dev/null; the umask had its say in mknod
        if folder.exists():
            os.rename(folder, building / "replaced")
        os.rename(building, folder)
    except OSError:
        pass  # said by the probe
    finally:
        shutil.rmtree(building, ignore_errors=True)
        shutil.rmtree(folder / "replaced", ignore_errors=True)


def _usable(folder: Path) -> bool:
    for name, minor in DEVICES.items():
        try:
            info = os.stat(folder / name, follow_symlinks=False)
        except OSError:
            return False
        expected = os.makedev(5 if name == "tty" else 1, minor)
        if not stat.S_ISCHR(info.st_mode) or info.st_rdev != expected or info.st_uid == os.geteuid():
            return False
    try:
        os.close(os.open(folder / "null", os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True
