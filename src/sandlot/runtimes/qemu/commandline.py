"""The command line of QEMU: a list of data before it is a string.

One machine, always the same devices, none by default and no network card: whatever a guest reaches goes through the
channel. A template can be cloned only by a QEMU of the same version with the same machine, processor and devices, so
all that is hashed into its key.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from sandlot import process
from sandlot.errors import IsolationUnavailable
from sandlot.runtimes.base import DISK_BYTES
from sandlot.runtimes.qemu.starter import CONSOLE_FD, CONTROL_FD, PORT_FD

__all__ = ["GUEST_MACHINE", "PORT_NAME", "Emulator", "Machine", "boot", "clone", "find", "trial"]

FORMAT = "4"
GUEST_MACHINE = "x86_64"
"""What the one QEMU that we start emulates."""
MEMORY = 2 << 30
"""Bytes of memory that a guest believes to have; on the host it takes what it has touched."""
TRANSLATED_MIB = 64
"""What an emulated guest's translated code may take on the host: QEMU's default is an eighth of the memory."""
EMULATED = "max,-erms,-la57"
"""An emulated processor, without what only real ones are fast at: kernels copy memory with `rep movsb` where that is
said to be fast, which an emulator does byte by byte (output at half its speed), and a fifth level of page tables."""
PORT_NAME = "sandlot"
_VERSION = re.compile(rb"version (\d+(?:\.\d+)+)")
_OLDEST = (6, 0)
_KERNEL_WORDS = "console=ttyS0 quiet loglevel=4 panic=-1 reboot=t,force rdinit=/init random.trust_cpu=on audit=0"
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


@dataclass(frozen=True, slots=True)
class Emulator:
    """A QEMU on this machine."""

    path: Path
    version: str
    stamp: str
    """Changes when the file does."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a guest's hardware looks like: what a template and its clones must have in common."""

    emulator: Emulator
    accelerator: str
    """``kvm`` or ``tcg``."""
    processors: int
    memory: int = MEMORY

    @property
    def key(self) -> str:
        """Of everything that a clone must have like its template."""
        words = _hardware(self, Path("RAM"), "share", Path("ROOT"), Path("DATA"), own=False)
        text = "\0".join((FORMAT, self.emulator.version, self.emulator.stamp, *words))
        return hashlib.sha256(text.encode()).hexdigest()[:24]


def find() -> Emulator:
    """The QEMU of this machine: SANDLOT_QEMU, else the one on the PATH. Raises IsolationUnavailable."""
    name = os.environ.get("SANDLOT_QEMU") or shutil.which("qemu-system-x86_64")
    if not name or not os.access(name, os.X_OK):
        raise IsolationUnavailable("qemu-system-x86_64 is not there", hint="apt-get install qemu-system-x86")
    info = os.stat(name)
    stamp = f"{info.st_ino}:{info.st_size}:{info.st_mtime_ns}"
    return Emulator(Path(name), _version(name, stamp), stamp)


def _version(name: str, stamp: str) -> str:
    known = _versions.get((name, stamp))
    if known is None:
        done = process.run([name, "--version"], env={"LC_ALL": "C"}, timeout=30)
        match = _VERSION.search(done.stdout)
        if match is None or tuple(map(int, match[1].split(b"."))) < _OLDEST:
            raise IsolationUnavailable(
                f"{name} is no QEMU of version {'.'.join(map(str, _OLDEST))} or later",
                hint="install your distribution's qemu-system-x86 package",
            )
        known = _versions[name, stamp] = match[1].decode()
    return known


_versions: dict[tuple[str, str], str] = {}


def _hardware(machine: Machine, ram: Path, share: str, root: Path, data: Path, own: bool) -> list[str]:
    """Everything that a saved state is about. The slots are given, so that nothing depends on the order of options."""
    kvm = machine.accelerator == "kvm"
    # What a guest flushes is the host's, and safe from every kill; only a crash of the host could lose it, as it
    # could with files of the host that were never synced.
    disk = (
        f"driver=raw,discard=unmap,detect-zeroes=unmap,cache.no-flush=on,"
        f"file.driver=file,file.discard=unmap,file.filename={_escaped(data)}"
    )
    none = f"driver=null-co,size={DISK_BYTES},read-zeroes=on"
    # On a full disk of the host the guest is told so; QEMU's own way is to stop it until somebody comes along.
    told = "werror=report,rerror=report"
    return [
        "-machine", "q35,usb=off,smbus=off,sata=off,vmport=off,hpet=off,graphics=off,memory-backend=ram",
        "-accel", "kvm" if kvm else f"tcg,thread=multi,tb-size={TRANSLATED_MIB}",
        "-cpu", "host,migratable=on" if kvm else EMULATED,
        "-smp", str(machine.processors), "-m", f"{machine.memory >> 20}M",
        "-object", f"memory-backend-file,id=ram,size={machine.memory},mem-path={_escaped(ram)},share={share}",
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none",
        "-rtc", "base=utc",
        "-object", "rng-random,id=rng,filename=/dev/urandom",
        "-device", "virtio-rng-pci,rng=rng,addr=0x3",
        "-blockdev", f"driver=raw,node-name=root,read-only=on,file.driver=file,file.filename={_escaped(root)}",
        "-device", "virtio-blk-pci,drive=root,addr=0x4",
        "-blockdev", f"node-name=new,{none if own else disk}",
        "-device", f"virtio-blk-pci,drive=new,addr=0x5,{told}",
        "-blockdev", f"node-name=own,{disk if own else none}",
        "-device", f"virtio-blk-pci,drive=own,addr=0x7,{told}",
        "-chardev", f"socket,id=port,fd={PORT_FD}",
        "-device", "virtio-serial-pci,id=serial,max_ports=2,addr=0x6",
        "-device", f"virtserialport,chardev=port,name={PORT_NAME},nr=1",
        "-chardev", f"socket,id=control,fd={CONTROL_FD}",
        "-mon", "chardev=control,mode=control",
    ]  # fmt: skip


def _escaped(path: Path) -> str:
    """A path as a value of a QEMU option, in which commas are doubled."""
    return str(path).replace(",", ",,")


def boot(
    machine: Machine,
    *,
    ram: Path,
    root: Path,
    data: Path,
    kernel: Path,
    initramfs: Path,
    python: str,
) -> list[str]:
    """Start a guest from nothing, its memory in the shared file ``ram``"""
    # An emulated processor has no side channels of its own to defend a guest's kernel from its programs; and clearing
    # all memory once more when it is handed out costs it a twentieth of a start.
    emulated = "" if machine.accelerator == "kvm" else "mitigations=off init_on_alloc=0 "
    words = f"{_KERNEL_WORDS} {emulated}sandlot.python={python}"
    return [
        str(machine.emulator.path), *_hardware(machine, ram, "on", root, data, own=False), *_console(),
        "-kernel", str(kernel), "-initrd", str(initramfs), "-append", words, *_walls(),
    ]  # fmt: skip


def trial(machine: Machine, kernel: Path, initramfs: Path) -> list[str]:
    """Start a kernel that says something on its console, which is our output, and ends."""
    words = f"{_KERNEL_WORDS} sandlot.probe"
    kvm = machine.accelerator == "kvm"
    return [
        str(machine.emulator.path), "-machine", "q35,usb=off,smbus=off,sata=off,vmport=off,hpet=off,graphics=off",
        "-accel", "kvm" if kvm else "tcg,thread=multi", "-cpu", "host" if kvm else EMULATED,
        "-smp", str(machine.processors), "-m", "256M", "-nodefaults", "-no-user-config", "-display", "none",
        "-no-reboot", "-nic", "none", "-serial", "stdio",
        "-kernel", str(kernel), "-initrd", str(initramfs), "-append", words, *_walls(),
    ]  # fmt: skip


def clone(machine: Machine, *, ram: Path, root: Path, data: Path, own: bool) -> list[str]:
    """Wait for a template's state; its memory is the file ``ram``, mapped privately: changes are the clone's own.

    ``own``: ``data`` is no copy of the template's disk, but another that the guest is to mount.
    """
    return [
        str(machine.emulator.path), *_hardware(machine, ram, "off", root, data, own), *_console(),
        "-incoming", "defer", *_walls(),
    ]  # fmt: skip


def _console() -> list[str]:
    return ["-chardev", f"socket,id=console,fd={CONSOLE_FD}", "-serial", "chardev:console"]


def _walls() -> list[str]:
    """What keeps QEMU itself from doing more than it must: it has no privilege to drop, and may start nothing."""
    return ["-sandbox", SANDBOX]
