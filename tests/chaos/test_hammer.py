"""Many clients at once: every answer is right, and no record is lost.

``SANDLOT_CHAOS_CLIENTS`` and ``SANDLOT_CHAOS_WORKSPACES`` choose how many in the slow tests.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandlot.model.command import CommandState
from sandlot.sdk import Sandlot
from tests.chaos.barrier import run_together
from tests.chaos.leaks import find_leaks
from tests.chaos.test_kill import playground
from tests.conftest import Cli

CLIENTS = int(os.environ.get("SANDLOT_CHAOS_CLIENTS", "32"))
WORKSPACES = int(os.environ.get("SANDLOT_CHAOS_WORKSPACES", "50"))
THREADS = 4
slow = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.mark.parametrize(("clients", "rounds"), [(8, 3), pytest.param(CLIENTS, 40, marks=slow)])
def test_many_clients_hammer_one_workspace_and_each_gets_its_own_answers(clients: int, rounds: int) -> None:
    started = time.monotonic()
    with playground() as (state, _):
        with Sandlot(state) as sandlot:
            workspace = sandlot.create()
            processes = max(1, clients // THREADS)
            work = [("hammer", workspace.id, f"client{number}", THREADS, rounds) for number in range(processes)]
            reports = run_together(state, *work)
            ran = [(number, text) for report in reports for number, text in report["ran"]]
            history = workspace.logs(count=1000).commands
            while more := workspace.logs(count=1000, after=history[-1].number).commands:
                history += more
            assert [each.number for each in history] == list(range(1, len(ran) + 1))
            assert sorted(number for number, _ in ran) == list(range(1, len(ran) + 1))
            assert {each.state for each in history} == {CommandState.EXITED}
            for number, text in ran:
                assert workspace.logs(number).output == text
            assert len(workspace.diff().files) == processes * THREADS * min(rounds, 3)
        assert not find_leaks(state)
    print(f"\n{processes * THREADS} clients in {processes} processes, {len(ran)} commands in one workspace, "
          f"every answer right, no record lost; {time.monotonic() - started:.0f} s")  # fmt: skip


def test_command_lines_share_a_workspace_with_the_sdk(sandlot: Sandlot, cli: Cli) -> None:
    workspace = sandlot.create(name="shared")

    def client(number: int) -> tuple[int, bytes]:
        done = cli("workspace", "exec", "shared", "--", "sh", "-c", f"echo {number}; exit {number}")
        return done.returncode, done.stdout

    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(client, range(8))
        own = [workspace.exec(f"echo sdk {number}").stdout.text for number in range(8)]
        assert list(answers) == [(number, b"%d\n" % number) for number in range(8)]
    assert own == [f"sdk {number}\n" for number in range(8)]
    assert [each.number for each in workspace.logs().commands] == list(range(1, 17))


@pytest.mark.parametrize("count", [8, pytest.param(WORKSPACES, marks=slow)])
def test_many_workspaces_live_at_once_and_none_sees_another(count: int) -> None:
    started = time.monotonic()
    with playground() as (state, _):
        processes = max(2, count // 10)
        shares = [count // processes + (number < count % processes) for number in range(processes)]
        run_together(state, *(("lives", f"client{number}", share) for number, share in enumerate(shares)))
        with Sandlot(state) as sandlot:
            assert sandlot.list() == []
            sandlot.repair()
        assert not find_leaks(state)
    print(f"\n{count} workspaces at once from {processes} processes, each made, forked, saved, reset, stopped, "
          f"deleted: no content mixed, nothing left; {time.monotonic() - started:.0f} s")  # fmt: skip


def test_exactly_one_of_many_gets_a_name() -> None:
    with playground() as (state, _):
        reports = run_together(state, *[("claim", "name", 4)] * 4)
        won = [workspace for report in reports for workspace in report["won"]]
        with Sandlot(state) as sandlot:
            listed = sandlot.list()
            sandlot.repair()  # what the others had begun is in the trash
        assert sorted(won) == sorted(info.id for info in listed)
        assert sorted(info.name or "" for info in listed) == ["name0", "name1", "name2", "name3"]
        assert not find_leaks(state)


@pytest.mark.parametrize("how", ["reset", "stop", "snapshot"])
def test_whoever_uses_a_workspace_that_changes_its_life_gets_a_right_answer_or_is_told_why(how: str) -> None:
    with playground() as (state, _):
        with Sandlot(state) as sandlot:
            workspace = sandlot.create()
            users = [("use", workspace.id, f"user{number}", 20) for number in range(3)]
            _, *reports = run_together(state, ("disturb", workspace.id, how, 10), *users)
            assert all(report["answers"] + report["errors"] == 20 and not report["deleted"] for report in reports)
            if how == "snapshot":  # the commands were paused, nothing else
                assert all(report["errors"] == 0 for report in reports)
            assert workspace.exec("echo fine").stdout.text == "fine\n"
            history = workspace.logs(count=1000).commands
            assert [each.number for each in history] == list(range(1, len(history) + 1))
            assert all(each.outcome is not None for each in history)
        assert not find_leaks(state)


def test_a_workspace_that_is_deleted_while_it_is_used_is_gone_for_all() -> None:
    with playground() as (state, _):
        with Sandlot(state) as sandlot:
            doomed = [sandlot.create().id for _ in range(4)]
        users = [("use", workspace, f"user{number}", 100000) for number, workspace in enumerate(doomed)]
        reports = run_together(state, ("remove", *doomed), ("remove", *reversed(doomed)), *users)
        assert sorted([*reports[0]["deleted"], *reports[1]["deleted"]]) == sorted(doomed)
        assert all(report["deleted"] for report in reports[2:])
        assert not find_leaks(state)


def test_many_first_uses_of_a_state_folder_make_it_once() -> None:
    with playground() as (state, _):
        run_together(state, *[("first",)] * 6)
        assert not find_leaks(state)


def test_a_repair_disturbs_nobody_who_is_at_work(tmp_path: Path) -> None:
    with playground() as (state, _):
        with Sandlot(state) as sandlot, ThreadPoolExecutor(1) as pool:
            lives = pool.submit(run_together, state, ("lives", "one", 3), ("lives", "two", 3))
            repairs = 0
            while not lives.done() or not repairs:
                sandlot.repair()
                repairs += 1
            lives.result()
        assert not find_leaks(state)
