"""Limits as users meet them: words, what answers say, what holds them, and getting going again."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandlot.errors import Conflict, LimitReached, UsageError
from sandlot.model.command import CommandState
from sandlot.model.limits import Limits
from sandlot.operations.limited import limit_findings
from sandlot.runtimes.bubblewrap import cgroups, limiting
from sandlot.sdk import Sandlot, Workspace
from sandlot.workspaces.limits import limits_changed, limits_of
from tests.conftest import Cli
from tests.workspaces.conftest import record_of, wait_until

GREEDY = ["python3", "-c", "kept = [bytearray(b'x' * 1048576) for _ in range(600)]"]
SMALL = {"memory": "128M", "processes": 64, "disk": "20M", "inodes": 2000, "tmp": "20M", "open_files": 256}
NOTHING: dict[str, Any] = dict.fromkeys(("memory", "processes", "open_files", "disk", "inodes"))


def shown(workspace: Workspace) -> dict[str, tuple[float, str | None]]:
    """Value and enforcement of each limit, as ``status`` has them."""
    return {each.name: (each.value, each.enforcement) for each in workspace.status().workspace.limits}


@pytest.fixture
def without_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where nobody may make control groups."""
    monkeypatch.setattr(cgroups, "make", lambda *_: cgroups.Groups())


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("memory", "1M"), ("memory", "x"), ("memory", "-1"), ("memory", ""), ("memory", "0%"), ("memory", "101%"),
        ("memory", "nan%"), ("memory", "9999999999T"), ("cpus", "0"), ("cpus", "nan"), ("cpus", "inf"), ("cpus", "-1"),
        ("cpus", "99999"), ("processes", "0"), ("processes", "1.5"), ("processes", "50%"), ("open_files", "3"),
        ("disk", "10"), ("disk", "110%"), ("inodes", "1"), ("tmp", "never"), ("tmp", "1"), ("max_duration", "0"),
        ("max_duration", "-3"), ("max_duration", "soon"),
    ],
)  # fmt: skip
def test_a_limit_that_makes_no_sense_is_an_error_with_a_hint(sandlot: Sandlot, name: str, word: str) -> None:
    with pytest.raises(UsageError) as raised:
        limits_of(sandlot._context, {name: word})
    assert raised.value.hint
    with pytest.raises(UsageError):
        sandlot.create(**{name: word})  # type: ignore[arg-type]  # what a user may write
    assert sandlot.list() == []


def test_a_word_nobody_knows_is_refused(sandlot: Sandlot) -> None:
    with pytest.raises(TypeError, match="'ram'"):
        sandlot.create(ram="1G")  # type: ignore[call-arg]  # the mistake


def test_words_numbers_and_shares_mean_what_they_say(sandlot: Sandlot) -> None:
    context = sandlot._context
    words = {"memory": "2G", "cpus": "1.5", "processes": "100", "open_files": "never", "max_duration": "90s"}
    limits = limits_of(context, {**words, "disk": "1M", "inodes": "100", "tmp": "64M"})
    assert limits == Limits(2 << 30, 1.5, 100, None, 1 << 20, 100, 64 << 20, 90.0)
    everything = limits_of(context, {"memory": "100%"}).memory
    half = limits_of(context, {"memory": "50%"}).memory
    assert everything is not None
    assert half is not None
    assert abs(everything - 2 * half) <= 2
    assert limits_of(context, {"cpus": "50%"}).cpus == (os.cpu_count() or 1) / 2
    assert limits_of(context, {"memory": "64M"}).tmp == 32 << 20  # twice that is all the memory there is


def test_a_user_s_settings_are_the_defaults(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDLOT_MEMORY", "256M")
    monkeypatch.setenv("SANDLOT_PROCESSES", "never")
    with Sandlot(state_dir) as made, made.create(cpus=1) as workspace:
        limits = record_of(workspace).limits
        assert (limits.memory, limits.processes, limits.cpus) == (256 << 20, None, 1.0)
        assert "processes" not in shown(workspace)


def test_create_and_status_say_who_holds_each_limit(sandlot: Sandlot) -> None:
    workspace = sandlot.create(**SMALL, max_duration=60)  # type: ignore[arg-type]  # each is an Amount
    found = shown(workspace)
    assert {each.name: (each.value, each.enforcement) for each in workspace.info.limits} == found
    assert {name: value for name, (value, _) in found.items()} == {
        "memory": 128 << 20, "processes": 64, "open_files": 256, "disk": 20 << 20, "inodes": 2000, "tmp": 20 << 20,
        "max_duration": 60,
    }  # fmt: skip
    assert {name for name, (_, word) in found.items() if word == "none"} == set()
    assert (found["disk"][1], found["inodes"][1], found["tmp"][1]) == ("polled", "polled", "kernel")
    workspace.stop()
    assert {word for _, word in shown(workspace).values()} == {None}  # nobody knows before the next start


@pytest.mark.usefixtures("without_groups")
def test_what_nobody_enforces_is_said(sandlot: Sandlot) -> None:
    workspace = sandlot.create(cpus=0.5, memory="128M")
    found = shown(workspace)
    assert found["memory"][1] == "polled"
    assert found["cpus"][1] == "none"
    expected = "the limit cpus is not enforced on this machine"
    assert any(expected in each and "here 1" in each for each in workspace.info.warnings)
    assert any(expected in each for each in workspace.status().workspace.warnings)
    whole = sandlot.create(cpus=1)
    held = (os.cpu_count() or 1) > 1
    assert (shown(whole)["cpus"][1] == "kernel") is held
    assert len(whole.exec("grep Cpus_allowed_list /proc/self/status").stdout.text.split()[1].split(",")) == 1


@pytest.mark.usefixtures("without_groups")
def test_a_watcher_ends_what_no_control_group_would(sandlot: Sandlot) -> None:
    workspace = sandlot.create(**SMALL)  # type: ignore[arg-type]  # each is an Amount
    done = workspace.exec(GREEDY)
    assert (done.command.state, done.command.outcome and done.command.outcome.limit) == ("killed", "memory")
    many = "for n in $(seq 200); do sleep 60 & done; wait"  # no bomb: nothing but the watcher would be in its way
    done = workspace.exec(many)
    assert done.command.outcome is not None
    assert (done.ok, done.command.outcome.limit) == (False, "processes")  # ended, or told by the kernel
    count = "set -- /proc/[0-9]*; echo $#"  # without another process
    wait_until(lambda: int(workspace.exec(count).stdout.text or 99) < 9, "they are still there")
    assert workspace.exec("echo fine").stdout.text == "fine\n"


def test_doctor_has_a_line_for_each_limit(sandlot: Sandlot) -> None:
    report = sandlot.doctor()
    found = {each.check: each for each in report.findings if each.check.startswith("limits.")}
    assert set(found) == {f"limits.{name}" for name in Limits.__dataclass_fields__ if name != "max_duration_s"} | {
        "limits.max_duration"
    }
    assert not any(each.required for each in found.values())
    assert any("disk and inodes" in gap for gap in report.runtimes[0].known_gaps)


def test_doctor_says_what_is_not_enforced_and_what_helps() -> None:
    missing = {each.check: each for each in limit_findings({"memory": "polled", "tmp": "kernel"})}
    assert missing["limits.memory"].ok
    assert "watcher" in missing["limits.memory"].detail
    assert not missing["limits.cpus"].ok
    assert "systemd-run" in missing["limits.cpus"].fix
    assert any("memory is watched" in gap for gap in limiting.gaps({"memory": "polled"}))
    assert not any("memory is watched" in gap for gap in limiting.gaps({"memory": "kernel"}))


def test_a_workspace_without_limits_has_nobody_watching(sandlot: Sandlot) -> None:
    workspace = sandlot.create(**NOTHING)
    assert set(shown(workspace)) == {"tmp"}
    agent = record_of(workspace).instance
    assert agent is not None
    told = Path(f"/proc/{agent.agent_pid}/cmdline").read_bytes().split(b"\0")
    assert [word for word in told if b"memory=" in word or b"disk=" in word] == []


def test_a_command_that_takes_too_long_is_ended_for_the_workspace_s_limit(sandlot: Sandlot) -> None:
    workspace = sandlot.create(max_duration=0.3)
    done = workspace.exec(["sleep", "60"], timeout=50)
    assert (done.command.state, done.command.outcome and done.command.outcome.limit) == ("killed", "duration")
    assert not done.ok
    forever = workspace.exec(["sleep", "60"], timeout=None)
    assert forever.command.outcome is not None
    assert forever.command.outcome.limit == "duration"
    own = workspace.exec(["sleep", "60"], timeout=0.1)
    assert (own.command.state, own.command.outcome and own.command.outcome.limit) == (CommandState.TIMED_OUT, None)


def test_a_command_that_succeeded_reached_no_limit(sandlot: Sandlot) -> None:
    workspace = sandlot.create(tmp="2M")
    done = workspace.exec("head -c 8M /dev/zero > /tmp/fill; echo handled it")
    assert (done.exit_status, done.command.outcome and done.command.outcome.limit) == (0, None)
    failed = workspace.exec("head -c 8M /dev/zero > /tmp/more")
    assert (failed.exit_status, failed.command.outcome and failed.command.outcome.limit) == (1, "tmp")


def test_a_service_and_a_shell_over_a_limit_say_so(sandlot: Sandlot) -> None:
    workspace = sandlot.create(memory="128M")
    workspace.services.start("greedy", [*GREEDY[:2], f"{GREEDY[2]}; import time; time.sleep(60)"], wait=False)
    wait_until(lambda: workspace.services.status("greedy").service.state == "failed", "the service goes on")
    assert "limit of memory" in workspace.services.status("greedy").service.reason
    shell = workspace.shells.open(GREEDY)
    wait_until(lambda: not shell.read().running, "the shell goes on")
    records = {record.kind: record for record in workspace.logs().commands}
    outcome = next(record.outcome for kind, record in records.items() if kind == "shell")
    assert outcome is not None
    assert outcome.limit == "memory"


@pytest.mark.usefixtures("storage")
def test_a_reset_gives_back_what_a_full_workspace_had(sandlot: Sandlot) -> None:
    workspace = sandlot.create(**SMALL)  # type: ignore[arg-type]  # each is an Amount
    done = workspace.exec("head -c 600M /dev/zero > fill; sleep 60")
    assert (done.command.state, done.command.outcome and done.command.outcome.limit) == ("killed", "disk")
    workspace.reset()
    assert workspace.exec("ls; echo fine").stdout.text == "fine\n"
    assert shown(workspace)["disk"] == (20 << 20, "polled")


def test_where_far_too_much_is_kept_files_can_be_deleted_and_nothing_runs_until_then(sandlot: Sandlot) -> None:
    workspace = sandlot.create(disk="20M")
    workspace.exec("fallocate -l 100M fill; sleep 60")

    def refused() -> bool:
        try:
            workspace.exec("true")
        except LimitReached as error:
            return "file delete" in error.hint
        return False

    wait_until(refused, "commands still run")
    assert workspace.status().responsive
    workspace.files.delete("fill")

    def accepted() -> bool:
        try:
            return workspace.exec("echo fine").stdout.text == "fine\n"
        except LimitReached:
            return False

    wait_until(accepted, "nothing runs although there is room")


def test_limits_change_between_two_starts(sandlot: Sandlot) -> None:
    workspace = sandlot.create(memory="128M", processes=64)
    with pytest.raises(Conflict, match="running") as raised:
        workspace.update(memory="256M")
    assert "workspace stop" in raised.value.hint
    assert workspace.update(memory="128M", max_duration=5).state == "running"  # the same, and one that we hold
    workspace.stop()
    info = workspace.update(memory="256M", processes=None)
    assert {each.name: each.value for each in info.limits}["memory"] == 256 << 20
    assert workspace.exec("echo fine").stdout.text == "fine\n"
    found = shown(workspace)
    assert found["memory"][0] == 256 << 20
    assert found["max_duration"][0] == 5
    assert "processes" not in found


def test_a_changed_limit_leaves_the_others_alone(sandlot: Sandlot) -> None:
    old = Limits(1 << 30, 2.0, 10, 100, 1 << 30, 1000, 512 << 20, 5.0)
    assert limits_changed(sandlot._context, {"cpus": "never"}, old) == replace(old, cpus=None)
    assert limits_changed(sandlot._context, {"memory": "64M"}, old) == replace(old, memory=64 << 20, tmp=32 << 20)
    assert limits_changed(sandlot._context, {}, old) == old


def test_a_fork_has_the_limits_of_its_origin(sandlot: Sandlot) -> None:
    workspace = sandlot.create(memory="128M", disk="20M")
    (fork,) = workspace.fork()
    assert record_of(fork).limits == record_of(workspace).limits
    done = fork.exec(GREEDY)
    assert done.command.outcome is not None
    assert done.command.outcome.limit == "memory"


def test_people_read_which_limit_it_was_and_what_to_do(cli: Cli, sandlot: Sandlot) -> None:
    workspace = sandlot.create(open_files=64, memory="128M", name="box")
    many = "import os; kept = [os.open('/dev/null', 0) for _ in range(1000)]"
    done = cli("workspace", "exec", "box", "--", "python3", "-c", many)
    assert done.returncode == 1
    assert b"limit reached: open files; the command ran into it" in done.stderr
    assert b"--open-files" in done.stderr
    done = cli("workspace", "exec", "box", "--json", "--", *GREEDY)
    assert done.returncode == 137
    assert json.loads(done.stdout)["command"]["outcome"]["limit"] == "memory"
    assert b"memory 128 MiB" in cli("workspace", "status", workspace.id).stdout
    wrong = cli("workspace", "create", "--memory", "lots")
    assert wrong.returncode == 2
    assert b"error: memory cannot be 'lots'\nhint: " in wrong.stderr
