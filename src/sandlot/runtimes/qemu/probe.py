"""Finding out what this machine allows, by starting a guest with a deadline.

That ``/dev/kvm`` is there, can be opened and answers is no proof: on some machines all that works and the guest hangs.
So nothing is believed that has not run. Emulation needs no device and works everywhere, at a price.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

from sandlot import process
from sandlot.errors import IsolationUnavailable, SandlotError, StateUnwritable
from sandlot.model.isolation import IsolationLevel
from sandlot.model.limits import Enforcement
from sandlot.paths import Paths
from sandlot.runtimes import disks
from sandlot.runtimes.base import Finding, ProbeReport, StorageKind
from sandlot.runtimes.qemu import commandline, initramfs, kernel
from sandlot.runtimes.qemu.commandline import Machine
from sandlot.runtimes.qemu.places import Places

__all__ = ["Prober", "processors"]

FORMAT = 2
KVM_S = 20.0
"""How long a guest with KVM may take to run its kernel: less than one second is usual."""
TCG_S = 120.0
"""The same under emulation: two seconds are usual, a loaded machine needs many times that."""
KVM = "/dev/kvm"

KNOWN_GAPS = (
    "an emulated guest (isolation level vm-emulated) has QEMU's code between itself and the host, not the processor",
    "processor side channels between guests and the host: they share its caches",
    "shares of a processor cannot be limited, only whole ones",
    "a guest's memory is fixed at its start: a limit above a quarter of the machine's (2 GiB at least) means that much",
    "a limit of disk is up to 3 % more, and never below 64 MiB; one that is raised from less than 1 GiB, and a new "
    "limit of inodes, hold from the next reset on",
    "a limit of inodes is one of the disk: files in /tmp and /dev/shm count as the guest's memory only",
    "a crash of the host, not of a guest, can damage the disks of guests that ran in the half minute before",
    "what was written in the last two seconds before a guest was killed (not stopped) may be lost; sync keeps it",
)
_TAKEN_OVER = (
    (0, "what its user may, but starting programs: this kernel has no Landlock"),
    (1, "programs and libraries, this guest's files, the memory that guests are cloned from at that moment, "
        "signals and connections"),
    (4, "programs and libraries, this guest's files, the memory that guests are cloned from at that moment, "
        "signals and unix sockets"),
    (6, "programs and libraries, this guest's files, the memory that guests are cloned from at that moment, "
        "and unix sockets that have a path"),
)  # fmt: skip
"""What a QEMU can still get at, by what the kernel's Landlock can do (landlock.py)."""
_ENFORCEMENT = {
    "memory": Enforcement.POLLED, "cpus": Enforcement.KERNEL, "processes": Enforcement.KERNEL,
    "open_files": Enforcement.KERNEL, "disk": Enforcement.KERNEL, "inodes": Enforcement.KERNEL,
    "tmp": Enforcement.KERNEL, "max_duration": Enforcement.POLLED,
}  # fmt: skip


def processors(accelerator: str) -> int:
    """How many a guest gets that is not limited.

    Emulated ones slow each other down: one of them starts programs twice as fast as two do.
    """
    return min(2, len(os.sched_getaffinity(0))) if accelerator == "kvm" else 1


class Prober:
    """Probes once per boot, kernel, QEMU and user; what works is kept in the cache folder."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._places = Places.of(paths)
        self._report: ProbeReport | None = None
        self._accelerator = ""

    @property
    def accelerator(self) -> str:
        """``kvm`` or ``tcg``: what works here. Raises IsolationUnavailable."""
        report = self.report()
        if not report.available:
            raise report.refusal("qemu")
        return self._accelerator

    def report(self, *, fresh: bool = False) -> ProbeReport:
        """See Runtime.probe."""
        if self._report is None or fresh:
            self._report = (None if fresh else self._load()) or self._probe_and_save()
        return self._report

    def template(self) -> Finding:
        """A line of doctor: how soon a guest can start that has the host's userland."""
        state = self.standing()
        fix = "" if state == "warm" else "sandlot prepare --runtime qemu"
        return Finding("qemu.template", state == "warm", f"{state}: {_STANDINGS[state]}", fix, required=False)

    def standing(self, environment: str = "", root: Path | None = None) -> str:
        """``warm``, ``cold`` or ``stale``: how soon a guest of an environment (the host's userland) can start.

        Nothing is started or made to find out. Raises IsolationUnavailable where there is no QEMU.
        """
        from sandlot.runtimes.qemu import image, template

        system = kernel.cached(self._places)
        if system is None or not self.known().available:
            return "cold"
        return template.standing(
            self._places,
            root=image.packed(self._paths, environment, root),
            source=root,
            initramfs=initramfs.key_of(system),
            stamp=commandline.find().stamp,
            accelerator=self._accelerator,
        )

    def known(self) -> ProbeReport:
        """What is known without starting a guest: the last answer, or what can be seen of what a guest needs."""
        found = self._report or self._load()
        if found is not None:
            return found
        try:
            emulator = commandline.find()
            findings = [Finding("qemu.program", True, f"QEMU {emulator.version} at {emulator.path}"), *_tools()]
        except IsolationUnavailable as error:
            return self._told("", "", (Finding("qemu.program", False, error.message, error.hint),))
        untried = Finding("qemu.guest", False, "no guest has been tried here yet", "sandlot prepare --runtime qemu")
        return self._told("", emulator.version, (*findings, untried))

    def _key(self) -> str:
        emulator = commandline.find()
        return "|".join((
            str(FORMAT), process.boot_id(), platform.release(), str(os.getuid()), str(emulator.path), emulator.stamp,
            _permissions(),
        ))  # fmt: skip

    def _load(self) -> ProbeReport | None:
        try:
            saved = json.loads(self._places.probe.read_text())
            if saved["key"] != self._key():
                return None
            findings = tuple(Finding(**finding) for finding in saved["findings"])
            return self._told(str(saved["accelerator"]), str(saved["version"]), findings, int(saved["landlock"]))
        except (OSError, ValueError, KeyError, TypeError, IsolationUnavailable):
            return None

    def _told(
        self, accelerator: str, version: str, findings: tuple[Finding, ...], walls: int | None = None
    ) -> ProbeReport:
        self._accelerator = accelerator
        return ProbeReport(
            available=bool(accelerator),
            isolation=IsolationLevel.VM if accelerator == "kvm" else IsolationLevel.VM_EMULATED,
            storage=StorageKind.GUEST,
            findings=findings,
            version=version,
            enforcement={name: str(word) for name, word in _ENFORCEMENT.items()} if accelerator else {},
            known_gaps=(*KNOWN_GAPS, _taken_over(_landlock() if walls is None else walls)),
        )

    def _probe_and_save(self) -> ProbeReport:
        report = self._probe()
        if report.available:  # a failure is never kept: the user may just have fixed it
            self._save(report)
        return report

    def _save(self, report: ProbeReport) -> None:
        saved = {
            "key": self._key(),
            "accelerator": self._accelerator,
            "version": report.version,
            "landlock": _landlock(),
            "findings": [asdict(finding) for finding in report.findings],
        }
        draft = self._places.probe.with_name(f".probe.{os.urandom(4).hex()}")
        try:
            draft.write_text(json.dumps(saved))
            os.replace(draft, self._places.probe)
        except OSError as error:
            raise StateUnwritable(f"cannot write {self._places.probe}: {error.strerror}") from error

    def _probe(self) -> ProbeReport:
        findings: list[Finding] = []
        try:
            emulator = commandline.find()
            findings.append(Finding("qemu.program", True, f"QEMU {emulator.version} at {emulator.path}"))
            findings += _tools()
            if not all(finding.ok for finding in findings):
                return self._told("", emulator.version, tuple(findings))
            self._places.ensure()
            system = kernel.get(self._places)
            archive = initramfs.get(self._places, system)
            findings.append(Finding("qemu.kernel", True, f"guests run Linux {system.release}"))
        except SandlotError as error:
            check = "qemu.kernel" if findings else "qemu.program"
            findings.append(Finding(check, False, error.message, error.hint))
            return self._told("", "", tuple(findings))
        accelerator = ""
        kvm = self._try("kvm", emulator, system.image, archive.file)
        findings.append(kvm)
        if kvm.ok:
            accelerator = "kvm"
        else:
            emulated = self._try("tcg", emulator, system.image, archive.file)
            findings.append(emulated)
            accelerator = "tcg" if emulated.ok else ""
        return self._told(accelerator, emulator.version, tuple(findings))

    def _try(self, accelerator: str, emulator: commandline.Emulator, image: Path, archive: Path) -> Finding:
        kvm = accelerator == "kvm"
        check, what = ("qemu.kvm", "KVM") if kvm else ("qemu.emulation", "emulation")
        if kvm and not os.access(KVM, os.R_OK | os.W_OK):
            there = os.path.exists(KVM)
            why = f"this user may not open {KVM}" if there else f"there is no {KVM}"
            fix = "add the user to the group kvm, and log in again" if there else ""
            return Finding(check, False, f"{why}; guests are emulated, several times slower", fix, required=False)
        deadline = KVM_S if kvm else TCG_S
        argv = commandline.trial(Machine(emulator, accelerator, processors(accelerator)), image, archive)
        why = ""
        try:
            done = process.run(argv, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}, timeout=deadline)
            if initramfs.ALIVE.encode() in done.stdout:
                return Finding(check, True, f"a guest ran with {what}", required=not kvm)
            why = f"QEMU ended without running a guest ({done.message[:200]})"
        except subprocess.TimeoutExpired:
            why = f"a guest did not run within {deadline:g} s"
        except OSError as error:
            why = f"QEMU could not be started ({error.strerror})"
        if kvm:
            detail = f"{KVM} is there and does not work: {why}; guests are emulated, several times slower"
            return Finding(check, False, detail, "use a machine, or a virtual machine, that offers KVM", required=False)
        return Finding(check, False, f"emulation does not work: {why}", "try another build of qemu-system-x86")


_STANDINGS = {
    "warm": "a guest starts at once, from its template",
    "cold": "the first guest has to pack its files and boot first, which takes a minute",
    "stale": "sandlot, QEMU or this machine's programs have changed: the next guest boots first",
}


def _landlock() -> int:
    from sandlot.runtimes.qemu import landlock  # what it needs takes milliseconds to import, and a start has it from us

    return landlock.version()


def _taken_over(known: int) -> str:
    left = [words for since, words in _TAKEN_OVER if since <= known][-1]
    return f"a guest that takes over its QEMU has {left}"


def _permissions() -> str:
    with contextlib.suppress(OSError):
        info = os.stat(KVM)
        return f"{info.st_mode}:{info.st_uid}:{info.st_gid}:{os.access(KVM, os.R_OK | os.W_OK)}"
    return ""


def _tools() -> list[Finding]:
    found = []
    for name, path, package in (
        ("mksquashfs", shutil.which("mksquashfs"), "squashfs-tools"),
        ("mke2fs", disks.mke2fs(), "e2fsprogs"),
    ):
        fix = "" if path else f"apt-get install {package}"
        found.append(Finding(f"qemu.{name}", bool(path), str(path) if path else f"{name} is not there", fix))
    return found
