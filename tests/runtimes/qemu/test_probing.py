"""What a machine allows is found out by running a guest, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandlot.errors import IsolationUnavailable
from sandlot.model.isolation import IsolationLevel
from sandlot.runtimes.qemu import probe
from sandlot.runtimes.qemu.initramfs import ALIVE
from sandlot.runtimes.qemu.probe import Prober
from tests.runtimes.qemu.guests import NEEDS_QEMU, paths_in

pytestmark = [NEEDS_QEMU, pytest.mark.xdist_group("guests")]

WORKS = f"echo '{ALIVE}'"
HANGS = "sleep 1000"


def a_qemu(folder: Path, *, kvm: str, emulation: str) -> str:
    """A program that does as QEMU does on some machine."""
    program = folder / "qemu"
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "*--version*) echo 'QEMU emulator version 7.2.0' ;;\n"
        f"*'-accel kvm'*) {kvm} ;;\n"
        f"*) {emulation} ;;\n"
        "esac\n"
    )
    program.chmod(0o755)
    return str(program)


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /dev/kvm that can be opened."""
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(probe, "KVM", str(device))
    return device


@pytest.fixture
def prober(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prober:
    """One that keeps its answer for itself."""
    made = Prober(paths_in(tmp_path / "state"))
    monkeypatch.setattr(made, "_save", lambda _: None)
    return made


@pytest.mark.usefixtures("device")
def test_kvm_that_runs_a_guest_is_used(prober: Prober, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDLOT_QEMU", a_qemu(tmp_path, kvm=WORKS, emulation="exit 1"))
    report = prober.report(fresh=True)
    assert (report.available, report.isolation, prober.accelerator) == (True, IsolationLevel.VM, "kvm")


@pytest.mark.parametrize("kvm", [HANGS, "echo 'failed to set MSR' >&2; exit 1"])
@pytest.mark.usefixtures("device")
def test_kvm_that_is_there_and_runs_no_guest_is_found_out(
    prober: Prober, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kvm: str
) -> None:
    monkeypatch.setattr(probe, "KVM_S", 0.5)
    monkeypatch.setenv("SANDLOT_QEMU", a_qemu(tmp_path, kvm=kvm, emulation=WORKS))
    report = prober.report(fresh=True)
    assert (report.available, report.isolation, prober.accelerator) == (True, IsolationLevel.VM_EMULATED, "tcg")
    [finding] = [each for each in report.findings if each.check == "qemu.kvm"]
    assert not finding.ok
    assert not finding.required
    assert "is there and does not work" in finding.detail


def test_a_machine_without_kvm_emulates(prober: Prober, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "KVM", str(tmp_path / "nowhere"))
    monkeypatch.setenv("SANDLOT_QEMU", a_qemu(tmp_path, kvm=HANGS, emulation=WORKS))
    report = prober.report(fresh=True)
    assert report.isolation is IsolationLevel.VM_EMULATED
    assert any("there is no" in each.detail for each in report.findings)


@pytest.mark.usefixtures("device")
def test_where_no_guest_runs_there_is_no_runtime(
    prober: Prober, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "KVM_S", 0.5)
    monkeypatch.setattr(probe, "TCG_S", 0.5)
    monkeypatch.setenv("SANDLOT_QEMU", a_qemu(tmp_path, kvm=HANGS, emulation=HANGS))
    report = prober.report(fresh=True)
    assert not report.available
    assert report.problem is not None
    assert "emulation does not work" in report.problem.detail
    with pytest.raises(IsolationUnavailable):
        _ = prober.accelerator


def test_a_missing_program_is_named_with_its_package(prober: Prober, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("SANDLOT_QEMU", raising=False)
    report = prober.report(fresh=True)
    assert report.problem is not None
    assert (report.problem.check, report.problem.fix) == ("qemu.program", "apt-get install qemu-system-x86")
