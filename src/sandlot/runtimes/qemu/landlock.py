"""What QEMU may still open when a guest has taken it over: its own files, programs and libraries, and no other.

Landlock (kernel.org, Documentation/userspace-api/landlock.rst) lets a process without privilege give up rights for
good. Here these go: every file that is not named, every TCP port, signals to and abstract sockets of anybody else. Each
newer kernel can do more of that; one that cannot do any (before 5.13, or switched off) leaves QEMU what its user has,
which doctor says. Sockets with a path in the file system cannot be closed in this way.
"""

from __future__ import annotations

import ctypes
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PROGRAMS", "ruleset", "version"]

PROGRAMS = ("/usr", "/lib", "/lib64", "/opt", "/nix/store", "/gnu/store", "/snap", "/etc/ld.so.cache")
"""Where programs, their libraries and QEMU's firmware lie: read, and executed, by everybody anyway."""
DEVICES = {"/dev/urandom": False, "/dev/null": True, "/dev/kvm": True}
"""What QEMU opens, and whether it writes there."""

_CREATE, _ADD, _PATH_BENEATH, _VERSION = 444, 445, 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _IOCTL_DEV = 1, 2, 4, 8, 1 << 15
_HANDLED = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""What can be denied about files, since which version; everything that is not granted below is."""
_TCP, _TCP_SINCE = 3, 4
_SCOPES, _SCOPES_SINCE = 3, 6


def version() -> int:
    """What this kernel knows of it; 0: nothing."""
    return max(0, _call(_CREATE, None, 0, _VERSION))


def ruleset(readable: Iterable[str], writable: Iterable[str]) -> int | None:
    """A descriptor for landlock_restrict_self(2), or None where the kernel has none. Raises OSError.

    ``readable`` are files and folders, ``writable`` are files that are also read; PROGRAMS and DEVICES come with them.
    What is not there is left out: QEMU says itself what it misses.
    """
    known = version()
    if not known:
        return None
    handled = max(rights for since, rights in _HANDLED.items() if since <= known)
    words = (handled, _TCP if known >= _TCP_SINCE else 0, _SCOPES if known >= _SCOPES_SINCE else 0)
    size = 8 * (1 + (known >= _TCP_SINCE) + (known >= _SCOPES_SINCE))
    rules = _call(_CREATE, struct.pack("QQQ", *words)[:size], size, 0)
    if rules < 0:
        raise OSError(ctypes.get_errno(), "no Landlock ruleset could be made")
    try:
        os.set_inheritable(rules, False)
        for path in (*PROGRAMS, *readable):
            _grant(rules, path, _EXECUTE | _READ_FILE | _READ_DIR, handled)
        for path in writable:
            _grant(rules, path, _READ_FILE | _WRITE_FILE, handled)
        for path, written in DEVICES.items():
            _grant(rules, path, _READ_FILE | (_WRITE_FILE | _IOCTL_DEV if written else 0), handled)
    except BaseException:
        os.close(rules)
        raise
    return rules


def _grant(rules: int, path: str, rights: int, handled: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            rights &= ~_READ_DIR
        if _call(_ADD, rules, _PATH_BENEATH, struct.pack("=Qi", rights & handled, place), 0) != 0:
            raise OSError(ctypes.get_errno(), f"{path} cannot be granted")
    finally:
        os.close(place)


def _call(number: int, *arguments: bytes | int | None) -> int:
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    words = (ctypes.c_long(each) if isinstance(each, int) else each for each in arguments)
    return int(call(ctypes.c_long(number), *words))
