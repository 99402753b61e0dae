"""What a workspace may be made from and shown."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from sandlot.errors import PathNotFound, UsageError
from sandlot.model.base import OriginKind
from sandlot.operations.seeding import SeedRequest, idle_timeout_of, source_of, toolchains_of
from sandlot.sdk import Sandlot


def test_no_source_is_an_empty_workspace_and_takes_no_options() -> None:
    assert source_of(SeedRequest(), None).kind is OriginKind.NOTHING
    for request in (SeedRequest(ref="x"), SeedRequest(include_ignored=True), SeedRequest(committed_only=True)):
        with pytest.raises(UsageError):
            source_of(request, None)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/etc",
        "/usr",
        "/usr/lib",
        "/proc",
        "/dev",
        "/run",
        "/var",
        "~",
        "/bin",
        "/home",
        "/tmp",
        "/var/tmp",
        "/var/run",
        "/var/lib",
    ],
)
def test_a_toolchain_that_would_show_too_much_or_hide_something_is_refused(path: str) -> None:
    with pytest.raises(UsageError):
        toolchains_of(SeedRequest(toolchains=(path,)))


def test_a_link_to_too_much_is_too_much(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")
    with pytest.raises(UsageError):
        toolchains_of(SeedRequest(toolchains=(str(tmp_path / "link"),)))


def test_a_toolchain_must_exist() -> None:
    with pytest.raises(PathNotFound):
        toolchains_of(SeedRequest(toolchains=("/opt/no/such/toolchain",)))


def test_a_folder_of_somebody_called_like_the_agent_is_not_the_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "isdir", lambda _path: True)
    assert toolchains_of(SeedRequest(toolchains=("/home/agentsmith/python",))) == ("/home/agentsmith/python",)
    for path in ("/home/agent", "/home/agent/python", "/workspace/x"):
        with pytest.raises(UsageError):
            toolchains_of(SeedRequest(toolchains=(path,)))


def test_a_toolchain_is_shown_read_only_and_its_programs_come_first(sandlot: Sandlot, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "ls"
    program.write_text("#!/bin/sh\necho mine\n")
    program.chmod(0o755)
    tmp_path.chmod(0o755)
    workspace = sandlot.create(toolchains=[tmp_path])
    assert workspace.exec(["ls"]).stdout.text == "mine\n"
    assert not workspace.exec(["sh", "-c", f"echo x > {program}"]).ok
    assert workspace.info.toolchains == (str(tmp_path),)
    assert workspace.exec("echo $PATH", env={"PATH": "/bin"}).stdout.text == "/bin\n"


def test_an_idle_timeout_of_nothing_is_refused_and_never_is_understood() -> None:
    assert idle_timeout_of("never") is None
    assert idle_timeout_of("1500ms") == 2
    for text in ("0", "0s", "0ms"):
        with pytest.raises(UsageError):
            idle_timeout_of(text)


@pytest.mark.parametrize("parent", ["/tmp", "/var/tmp", "/home", "/root", "/opt"])
def test_a_toolchain_may_lie_anywhere_that_a_workspace_has_nothing_of_its_own(sandlot: Sandlot, parent: str) -> None:
    if not os.access(parent, os.W_OK):
        pytest.skip(f"{parent} is not ours to write")
    with tempfile.TemporaryDirectory(prefix="sl-toolchain-", dir=parent) as folder:
        program = Path(folder, "bin", "mine")
        program.parent.mkdir()
        program.write_text("#!/bin/sh\necho mine\n")
        program.chmod(0o755)
        with sandlot.create(toolchains=[folder]) as workspace:
            assert workspace.exec(["mine"]).stdout.text == "mine\n"
            assert not workspace.exec(["touch", f"{folder}/x"]).ok
            # /tmp and /var/tmp are the workspace's own, and what lies beside the toolchain on the host is not there.
            told = workspace.exec(
                "for at in /tmp /var/tmp; do echo x > $at/probe && rm $at/probe; done; ls -A " + parent
            )
            assert set(told.stdout.text.split()) - {"agent"} == {os.path.basename(folder)}
            assert told.stderr.text == ""
            assert workspace.fork()[0].exec(["mine"]).ok


def test_a_toolchain_whose_name_would_break_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a:b").mkdir()
    with pytest.raises(UsageError, match="its name has a colon"):
        toolchains_of(SeedRequest(toolchains=(str(tmp_path / "a:b"),)))
