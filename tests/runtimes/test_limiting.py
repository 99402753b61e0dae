"""What the host does to hold an instance to its limits: control groups, resource limits, processors."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandlot.model.limits import Limits
from sandlot.runtimes.bubblewrap import cgroups, limiting

TOKEN = "0123456789abcdef"
LIMITS = Limits(memory=128 << 20, processes=64, cpus=0.5)


@pytest.fixture
def groups(tmp_path: Path) -> Iterator[cgroups.Groups]:
    """Groups that were really made."""
    made = cgroups.make(tmp_path, TOKEN, LIMITS)
    made.close()
    if not made.folders:
        pytest.skip("nobody may make control groups here")
    yield made
    made.give_up()


def delegated(folder: Path, controllers: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.procs").write_text("")
    (folder / "cgroup.subtree_control").write_text(controllers)


def test_a_group_enforces_what_it_says(groups: cgroups.Groups, tmp_path: Path) -> None:
    assert groups.enforced <= {"memory", "processes", "cpus"}
    for name, value in (("pids.max", 64 + cgroups.RESERVE), ("memory.max", 192 << 20)):
        for folder in groups.folders:
            if (folder / name).exists():
                assert int((folder / name).read_text()) == value
    folders = list(groups.folders)
    assert {str(each) for each in folders} & set(cgroups.strays(tmp_path, frozenset())) == set()  # young
    groups.give_up()
    assert not any(each.exists() for each in folders)


def test_only_old_groups_that_nobody_owns_are_strays(
    groups: cgroups.Groups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "YOUNG_S", -1.0)
    assert set(cgroups.strays(tmp_path, frozenset())) == {str(each) for each in groups.folders}
    assert cgroups.strays(tmp_path, frozenset({TOKEN})) == []
    assert cgroups.strays(tmp_path / "other", frozenset()) == []


def test_nothing_but_our_groups_is_removed(tmp_path: Path) -> None:
    other = tmp_path / "user.slice"
    other.mkdir()
    cgroups.remove((str(other), str(tmp_path / "sandlot-gone")))
    assert other.exists()


def test_no_limits_make_no_groups(tmp_path: Path) -> None:
    made = cgroups.make(tmp_path, TOKEN, Limits())
    assert (made.folders, made.enforced, made.events) == ([], set(), {})


def test_the_nearest_delegated_folder_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A systemd user session: the processes are in a scope, controllers are handed down to the slice above it."""
    session = tmp_path / "user.slice" / "session.scope"
    delegated(session, "")
    delegated(tmp_path / "user.slice", "memory pids")
    monkeypatch.setattr(cgroups, "_mounts", lambda: {"": (tmp_path, "/")})
    monkeypatch.setattr(cgroups, "_own_groups", lambda: {"": "/user.slice/session.scope"})
    monkeypatch.setattr(cgroups, "_write", lambda *_: False)  # the kernel refuses where processes live
    (found,) = cgroups._places(["memory", "pids", "cpu"])
    assert (found.folder, found.version, found.controllers) == (tmp_path / "user.slice", 2, ("memory", "pids"))


def test_a_file_system_that_is_no_control_group_enforces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writable folder that looks like one: what was set must be there to be read."""
    delegated(tmp_path, "memory pids cpu")
    monkeypatch.setattr(cgroups, "_mounts", lambda: {"": (tmp_path, "/")})
    monkeypatch.setattr(cgroups, "_own_groups", lambda: {"": "/"})
    made = cgroups.make(tmp_path, TOKEN, LIMITS)
    assert (made.folders, made.enforced) == ([], set())


@pytest.mark.parametrize(
    ("release", "counts"),
    [
        ("5.4.0-150-generic", False),
        ("5.13.19", False),
        ("5.14.0-rc1", True),
        ("6.18.0", True),
        ("10.0", True),
        ("", False),
    ],
)
def test_processes_are_counted_for_each_workspace_since_linux_5_14(release: str, counts: bool) -> None:
    assert limiting._counts_by_namespace(release) is counts


def test_a_resource_limit_is_never_raised() -> None:
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        limiting._lower(os.getpid(), resource.RLIMIT_NOFILE, 5000)
        os._exit(0 if resource.getrlimit(resource.RLIMIT_NOFILE) == (100, 100) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_the_kernel_s_limit_leaves_room_for_those_who_help() -> None:
    assert cgroups.ceiling("processes", 64) > 64
    assert cgroups.ceiling("memory", 64 << 20) > 64 << 20


def test_the_trial_leaves_nothing_behind(tmp_path: Path) -> None:
    found = limiting.trial(tmp_path)
    assert set(found.values()) <= {"kernel", "polled", "none"}
    assert (found["tmp"], found["disk"]) == ("kernel", "polled")
    assert cgroups.strays(tmp_path, frozenset()) == []
