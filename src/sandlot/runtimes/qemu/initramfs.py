"""The memory file system that a guest starts from: kernel modules, busybox, the agent's code and a script."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO

from sandlot.errors import IsolationUnavailable
from sandlot.runtimes import seccomp
from sandlot.runtimes.agent_code import sources
from sandlot.runtimes.curated import ETC_FILES
from sandlot.runtimes.qemu.commandline import GUEST_MACHINE
from sandlot.runtimes.qemu.kernel import BUSYBOX_PACKAGE, Kernel, fetch_package
from sandlot.runtimes.qemu.places import Places, building, only_one

__all__ = ["ALIVE", "Initramfs", "get", "key_of"]

FORMAT = "1"

ALIVE = "sandlot: the kernel runs"
"""What a guest says that was started to see whether one can be."""

INIT = f"""#!/bin/sh
fail() {{ echo "sandlot: $*" > /dev/console; poweroff -f; sleep 60; }}
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t devtmpfs -o nosuid dev /dev
for word in $(cat /proc/cmdline); do
    case $word in
        sandlot.probe) echo "{ALIVE}"; poweroff -f; sleep 60 ;;
        sandlot.python=*) python=$(echo "${{word#sandlot.python=}}" | tr , ' ') ;;
    esac
done
for module in $(cat /modules/order); do insmod /modules/$module || fail "module $module"; done
waited=0
while [ ! -b /dev/vda ]; do
    waited=$((waited + 1)); [ $waited -gt 600 ] && fail "no root disk"; sleep 0.05
done
mount -t squashfs -o ro,nodev,nosuid /dev/vda /newroot || fail "no root file system"
mount -t tmpfs -o mode=755,size=64m,nodev,nosuid run /newroot/run || fail "no /run in the root file system"
mkdir -p /newroot/run/sandlot
cp -r /lib/sandlot /newroot/run/sandlot/lib || fail "no room for the agent"
if [ -d /newroot/.sandlot-python ]; then
    mkdir /newroot/run/sandlot/python
    mount --bind /newroot/.sandlot-python /newroot/run/sandlot/python || fail "no interpreter"
fi
for each in proc sys dev; do mount --move /$each /newroot/$each || fail "no /$each in the root file system"; done
exec switch_root /newroot $python -I -S -E -B -c \\
    'import sys; sys.path.insert(0, "/run/sandlot/lib"); from sandlot.guest.boot import main; main()'
fail "no interpreter $python"
"""


class Initramfs:
    """One archive in the cache."""

    def __init__(self, key: str, file: Path) -> None:
        self.key = key
        """What is in it, for the keys of what was booted from it."""
        self.file = file


def key_of(kernel: Kernel) -> str:
    """What the archive for this kernel and this version of the agent is kept by."""
    digest = hashlib.sha256(f"{FORMAT}\0{kernel.release}\0{INIT}".encode())
    for name, file in sources():
        digest.update(f"\0{name}\0".encode())
        digest.update(file.read_bytes())
    digest.update(repr(sorted(ETC_FILES.items())).encode())
    digest.update(seccomp.program(GUEST_MACHINE))
    return digest.hexdigest()[:24]


def get(places: Places, kernel: Kernel) -> Initramfs:
    """The archive for this kernel and this version of the agent. Raises IsolationUnavailable, StateUnwritable."""
    key = key_of(kernel)
    target = places.initramfs / f"{key}.cpio"
    if not target.is_file():
        places.ensure()
        with only_one(places.lock("initramfs"), "the guests' start-up archive"):
            if not target.is_file():
                with building(places) as folder:
                    _build(places, kernel, folder, folder / "made")
                    os.rename(folder / "made", target)
    return Initramfs(key, target)


def _build(places: Places, kernel: Kernel, folder: Path, target: Path) -> None:
    busybox = _busybox(places, folder)
    with open(target, "wb") as out:
        writer = _Archive(out)
        for name in ("bin", "dev", "lib", "lib/sandlot", "modules", "newroot", "proc", "sys"):
            writer.folder(name)
        writer.file("bin/busybox", busybox.read_bytes(), 0o755)
        for name in ("cat", "cp", "insmod", "mkdir", "mount", "poweroff", "sh", "sleep", "switch_root", "tr"):
            writer.link(f"bin/{name}", "busybox")
        writer.file("init", INIT.encode(), 0o755)
        for path in kernel.modules:
            writer.file(f"modules/{path.name}", path.read_bytes())
        writer.file("modules/order", "\n".join(path.name for path in kernel.modules).encode())
        writer.folder("lib/sandlot/etc")
        writer.folder("lib/sandlot/etc/sandlot")
        for name, text in ETC_FILES.items():
            writer.file(f"lib/sandlot/etc/{name}", text.encode())
        writer.file("lib/sandlot/filter", seccomp.program(GUEST_MACHINE))
        writer.folder("lib/sandlot/sandlot")
        writer.file("lib/sandlot/sandlot/__init__.py", b"")
        made = set()
        for name, file in sources():
            for parent in reversed(Path(name).parents[:-2]):
                if str(parent) not in made:
                    made.add(str(parent))
                    writer.folder(f"lib/sandlot/{parent}")
            writer.file(f"lib/sandlot/{name}", file.read_bytes())
        writer.end()


def _busybox(places: Places, folder: Path) -> Path:
    """A busybox that needs no library: this machine's, or the distribution's package, which is kept."""
    kept = places.root / "busybox"
    if kept.is_file():
        return kept
    for candidate in (shutil.which("busybox"), "/bin/busybox"):
        if candidate and os.access(candidate, os.R_OK) and b"/ld-linux" not in Path(candidate).read_bytes()[:4096]:
            return Path(candidate)
    try:
        fetch_package(BUSYBOX_PACKAGE, folder, folder / "busybox")
    except IsolationUnavailable as error:
        raise IsolationUnavailable(error.message, hint=f"apt-get install {BUSYBOX_PACKAGE}") from error
    for name in ("bin/busybox", "usr/bin/busybox"):
        if (folder / "busybox" / name).is_file():
            os.rename(folder / "busybox" / name, kept)
            return kept
    raise IsolationUnavailable(f"the package {BUSYBOX_PACKAGE} holds no busybox")


class _Archive:
    """A cpio archive of the kind that kernels read (newc), owned by root, the same bytes for the same content."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._number = 0

    def folder(self, name: str) -> None:
        self._entry(name, 0o040755, b"")

    def link(self, name: str, target: str) -> None:
        self._entry(name, 0o120777, target.encode())

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        self._entry(name, 0o100000 | mode, data)

    def end(self) -> None:
        self._entry("TRAILER!!!", 0, b"")

    def _entry(self, name: str, mode: int, data: bytes) -> None:
        self._number += 1
        encoded = name.encode() + b"\0"
        fields = (self._number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        self._out.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))
