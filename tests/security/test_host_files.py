"""Cases 1 and 11: nothing of the host's files, environment or our own state is there, nothing outside is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandlot.sdk import Sandlot
from tests.conftest import GUESTS
from tests.security.conftest import Attacker, contents

WRITABLE = ("/workspace", "/home/agent", "/tmp", "/dev/shm", "/run")
"""Where a workspace may write; all of it is its own."""


def test_neither_secrets_nor_siblings_nor_our_state_can_be_read_or_written(
    attacker: Attacker, host_folder: Path
) -> None:
    planted = [host_folder / name for name in (".ssh/id_rsa", ".aws/credentials", ".netrc", "plain")]
    for path in planted:
        path.parent.mkdir(exist_ok=True)
        path.write_text(attacker.token)
        path.chmod(0o666)
    report = attacker(
        "reach", attacker.token, *map(str, planted), "/etc/shadow", "/root/.ssh", "/root/.bashrc", "{state}",
    )  # fmt: skip
    assert report["seen"] == []
    assert [path for path in report["written"] if not path.startswith(WRITABLE)] == []
    assert not report["shadow"]
    assert set(report["users"]) == {"root", "agent", "nobody"}
    assert not {"oldroot", "newroot", "mnt", "boot", "srv"} & set(report["top"])
    assert GUESTS or not {"sys", "root"} & set(report["top"])  # a guest's are empty
    outside = [place for place in report["places"] if not place.startswith(WRITABLE)]
    assert outside == []
    assert "/workspace" in report["places"]
    for path in planted:
        assert path.read_text() == attacker.token
    assert sorted(path.name for path in host_folder.iterdir()) == [".aws", ".netrc", ".ssh", "plain"]


def test_the_kernel_s_files_and_devices_cannot_be_changed(attacker: Attacker) -> None:
    devices = [Path("/dev", name) for name in ("null", "zero", "full", "random", "urandom", "tty")]
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()

    def facts() -> list[tuple[int, int, int]]:
        return [(info.st_mode, info.st_uid, info.st_mtime_ns) for info in (path.stat() for path in devices[:5])]

    before = facts()
    report = attacker("kernel_files")
    assert report["writable"] == []
    assert report["changed"] == []
    assert set(report["secret"]) <= ({"key-users"} if GUESTS else set())  # of a kernel with one user
    assert report["working"]
    assert [each[:2] for each in facts()] == [each[:2] for each in before]
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern


def test_nothing_of_the_caller_s_environment_is_inside(attacker: Attacker) -> None:
    secret = {"API_KEY": attacker.token, "LD_PRELOAD_X": attacker.token, "SSH_AUTH_SOCK": f"/tmp/{attacker.token}"}
    report = attacker("agent", attacker.token[::-1], environment=secret)
    assert report["found"] == []
    proxies = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}  # sandlot's own: the same in every workspace
    assert set(report["environment"]) == {
        *proxies, *(name.upper() for name in proxies),
        "HOME", "LANG", "LOGNAME", "PATH", "PWD", "SANDLOT", "SHELL", "TERM", "TMPDIR", "USER",
    }  # fmt: skip
    assert attacker.token not in report["agent"]


def test_the_agent_and_the_supervisor_are_closed_books(attacker: Attacker) -> None:
    report = attacker("agent", attacker.token[::-1])
    assert report["opened"] == []
    assert min(report["pids"]) == 1
    assert len(report["pids"]) <= 4
    assert sorted(report["own"]) == ["0", "1", "2"]
    assert report["own"]["0"].startswith("pipe:" if GUESTS else "/dev/null")
    assert report["own"]["1"].startswith("pipe:")
    assert report["own"]["2"].startswith("pipe:")


def test_even_the_host_s_side_of_a_workspace_holds_no_secret_of_the_caller(
    sandlot: Sandlot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What bubblewrap or QEMU, and the agent or keeper, were started with, as only the host can see it."""
    monkeypatch.setenv("API_KEY", "canary-in-the-environment")
    workspace = sandlot.create()
    workspace.exec(["true"], env={"GIVEN": "canary-for-one-command"})
    instance = sandlot._context.store.find(workspace.id).instance
    assert instance is not None
    for pid in (instance.agent_pid, instance.monitor_pid):
        for name in ("environ", "cmdline"):
            assert b"canary" not in Path(f"/proc/{pid}/{name}").read_bytes()
    assert b"canary-in" not in contents(sandlot._context.paths.state)
