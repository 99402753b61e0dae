"""Changing an environment's root in a guest: what a setup sees of it, and what it may do there.

The setup's processes are root by name. Everything there belongs to root, as with namespaces (bubblewrap's setups), they
may override what that does not give them, and nothing else: no mount, no device, no other user, no module. What they
change is an overlay's upper on the data disk.
"""

import ctypes
import os

MERGED = "/run/sandlot/root"
"""Where guest/storage.py has put the root and its changes together."""
CAPABILITIES = (1, 3)
"""CAP_DAC_OVERRIDE and CAP_FOWNER: the project's files, and what warm layers hold, belong to the agent's usual user."""
_SHOWN = ("/proc", "/dev", "/tmp", "/workspace", "/home/agent", "/etc/sandlot")  # noqa: S108  the guest's
_OURS = ("/run/sandlot/lib", "/run/sandlot/python")
_HIDDEN = ("/dev/console", "/dev/vda", "/dev/vdb", "/dev/vdc")
"""Nodes that are root's."""
_RDONLY, _NOSUID, _NODEV, _REMOUNT, _BIND, _REC = 1, 2, 4, 32, 0x1000, 0x4000
_DETACH = 2
_PIVOT_ROOT = 155  # of x86_64, the one architecture of guests
_VERSION_3 = 0x20080522  # capget(2)


def enter(library: "ctypes.CDLL") -> None:
    """Make the merged root the root of our mount namespace, with nothing of the guest's own in it. Raises OSError."""
    run = MERGED + "/run"
    _mount(library, "tmpfs", run, "tmpfs", _NOSUID | _NODEV, "mode=755,size=64m")
    for path in _SHOWN:
        if os.path.isdir(path):
            _mount(library, path, MERGED + path, "", _BIND | _REC)
    for path in _OURS:
        if os.path.isdir(path):
            os.makedirs(MERGED + path)
            _mount(library, path, MERGED + path, "", _BIND | _REC)
            _mount(library, "none", MERGED + path, "", _BIND | _REMOUNT | _RDONLY | _NOSUID | _NODEV)
    for path in _HIDDEN:
        if os.path.lexists(path):
            _mount(library, "/dev/null", MERGED + path, "", _BIND)
    # The nodes stay as usable as they are; but nobody takes away what hides one.
    _mount(library, "none", MERGED + "/dev", "", _BIND | _REMOUNT | _RDONLY | _NOSUID)
    os.chdir(MERGED)
    _check(library.syscall(_PIVOT_ROOT, b".", b"."), "pivot_root")
    _check(library.umount2(b".", _DETACH), "leave the guest's root")
    os.chdir("/")


def keep_capabilities(library: "ctypes.CDLL") -> None:
    """Give up all capabilities but ours; the bounding set holds no other. Raises OSError."""
    bits = sum(1 << number for number in CAPABILITIES)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(bits, bits, 0, 0, 0, 0)
    _check(library.capset(ctypes.byref(header), ctypes.byref(data)), "give up capabilities")


def _mount(library: "ctypes.CDLL", source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    words = [os.fsencode(word) for word in (source, target, kind)]
    _check(library.mount(*words, ctypes.c_ulong(flags), os.fsencode(options) or None), target)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, "%s: %s" % (what, os.strerror(number)))
