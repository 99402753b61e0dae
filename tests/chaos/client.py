"""One client of a busy workspace: ``python -m tests.chaos.client STATE WORK...``; see ``WORK`` at the end of the file.

Checks every answer it gets, and says at the end, as one line of JSON, which commands it ran and what they printed.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sandlot.errors import (
    AgentUnresponsive,
    CommandInterrupted,
    FileRefused,
    NameTaken,
    PathNotFound,
    SandlotError,
    WorkspaceNotFound,
)
from sandlot.sdk import Sandlot, Workspace
from tests.chaos.barrier import wait_for_start

Report = dict[str, Any]


def hammer(state: Path, workspace_id: str, client: str, threads: str, rounds: str) -> Report:
    """Several threads do everything at once to one workspace; each knows what it must see."""
    ran: list[tuple[int, str]] = []
    with Sandlot(state) as sandlot:
        workspace = sandlot.get(workspace_id)
        _together(int(threads), lambda thread: _hammer(workspace, f"{client}-{thread}", int(rounds), ran))
    return {"ran": ran}


def _hammer(workspace: Workspace, who: str, rounds: int, ran: list[tuple[int, str]]) -> None:
    dice = random.Random(who)
    for number in range(rounds):
        text = f"{who} {number} " + "x" * dice.randrange(3000)
        path = f"{who}/{number % 3}"
        workspace.files.write(path, text)
        assert workspace.files.read(path).content == text
        done = workspace.exec(
            ["sh", "-c", 'printf %s "$1"; printf %s "$2" >&2; exit $3', "sh", text, who, str(number % 7)]
        )
        assert (done.stdout.text, done.stderr.text, done.exit_status) == (text, who, number % 7)
        ran.append((done.command.number, text))
        assert workspace.logs(done.command.number).output == text
        echoed = workspace.exec(["cat"], stdin=text.encode(), cwd=f"/workspace/{who}")
        assert echoed.stdout.text == text
        ran.append((echoed.command.number, text))
        if number == 0:
            found = [each.number for each in workspace.logs(search=text, count=1000).commands]
            assert found == [done.command.number, echoed.command.number]
        status = workspace.status()
        assert status.responsive
        assert status.commands >= len(ran)
        if number % 4 == 0:
            added = [change.path for change in workspace.diff(who).files]
            assert path in added, (path, added)
            matches = workspace.files.search(f"{who} {number} ", who, literal=True).matches
            assert [match.path for match in matches] == [str(number % 3)]
        if number % 5 == 0:
            background = workspace.exec(f"sleep 0.01; echo {who}", background=True)
            ended = workspace.wait(background.command.number, timeout=60)
            assert (ended.stdout.text, ended.exit_status) == (f"{who}\n", 0)
            ran.append((background.command.number, f"{who}\n"))


def lives(state: Path, client: str, count: str) -> Report:
    """Whole lives of workspaces with content of their own, all at once."""
    with Sandlot(state) as sandlot:
        _together(int(count), lambda number: _life(sandlot, state.parent, f"{client}-{number}"))
    return {}


def _life(sandlot: Sandlot, scratch: Path, who: str) -> None:
    seed = scratch / who
    seed.mkdir()
    (seed / "who").write_text(who)
    with sandlot.create(seed, name=who, labels={"who": who}) as workspace:
        assert workspace.exec("cat who").stdout.text == who
        workspace.files.write("own", who)
        workspace.snapshots.create("own")
        workspace.files.delete("who")
        forked = workspace.fork(name=f"{who}-fork")[0]
        workspace.reset("own")
        assert workspace.exec("cat who own").stdout.text == who + who
        assert forked.exec("cat own; test -e who || echo gone").stdout.text == f"{who}gone\n"
        assert [change.path for change in workspace.diff().files] == ["own"]
        workspace.stop()
        assert workspace.files.read("own").content == who
        assert [info.id for info in sandlot.list(labels={"who": who}, name=who)] == [workspace.id]
        forked.delete()
    assert not sandlot.list(labels={"who": who})


def claim(state: Path, name: str, tries: str) -> Report:
    """Try to be the one workspace of a name."""
    won = []
    with Sandlot(state) as sandlot:
        for number in range(int(tries)):
            try:
                won.append(sandlot.create(name=f"{name}{number}").id)
            except NameTaken:
                pass
    return {"won": won}


def disturb(state: Path, workspace_id: str, how: str, rounds: str) -> Report:
    """Reset, stop or snapshot a workspace again and again while others use it."""
    with Sandlot(state) as sandlot:
        workspace = sandlot.get(workspace_id)
        for number in range(int(rounds)):
            if how == "reset":
                workspace.reset()
            elif how == "stop":
                workspace.stop()
            else:
                workspace.snapshots.create(f"s{number}")
    return {}


def use(state: Path, workspace_id: str, client: str, rounds: str) -> Report:
    """Use a workspace that others disturb or delete: a right answer or one of the errors that say why not."""
    answers = errors = 0
    with Sandlot(state) as sandlot:
        try:
            workspace = sandlot.get(workspace_id)
            for number in range(int(rounds)):
                text = f"{client} {number}"
                try:
                    done = workspace.exec(["sh", "-c", f"sleep 0.005; echo '{text}'"])
                    outcome = done.command.outcome
                    assert outcome is not None
                    if outcome.signal is None:  # else the stop ended it, and says so
                        assert (done.stdout.text, done.exit_status) == (f"{text}\n", 0)
                    workspace.files.write(client, text)
                    answers += 1
                except (CommandInterrupted, AgentUnresponsive, PathNotFound, FileRefused):
                    errors += 1
        except WorkspaceNotFound:
            return {"answers": answers, "errors": errors, "deleted": True}
    return {"answers": answers, "errors": errors, "deleted": False}


def remove(state: Path, *workspace_ids: str) -> Report:
    """Delete what others use, or delete, too."""
    deleted = []
    with Sandlot(state) as sandlot:
        for workspace_id in workspace_ids:
            try:
                sandlot.call("workspace_delete", workspaces=(workspace_id,))
                deleted.append(workspace_id)
            except WorkspaceNotFound:
                pass
    return {"deleted": deleted}


def first(state: Path) -> Report:
    """The first use of a state folder."""
    with Sandlot(state) as sandlot, sandlot.create() as workspace:
        assert workspace.exec("echo first").stdout.text == "first\n"
    return {}


def _together(count: int, work: Callable[[int], object]) -> None:
    """Run ``work`` in threads; the first failure is raised."""
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


WORK: dict[str, Callable[..., Report]] = {
    each.__name__: each for each in (hammer, lives, claim, disturb, use, remove, first)
}

if __name__ == "__main__":
    state, work, *rest = sys.argv[1:]
    wait_for_start()
    try:
        print(json.dumps(WORK[work](Path(state), *rest)))
    except SandlotError as error:
        print(error.code, error.message, error.details, file=sys.stderr)
        raise
