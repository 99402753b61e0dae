"""Shells through the SDK: what they do, how they end, and what a hostile one cannot do."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sandlot.errors import (
    CommandNotFound,
    LimitReached,
    NameTaken,
    ProtocolError,
    ShellBusy,
    ShellEnded,
    ShellNotFound,
    UsageError,
)
from sandlot.model.command import CommandKind
from sandlot.operations import shell_read
from sandlot.sdk import Sandlot, Shell, Workspace
from sandlot.wire import shell as wire
from sandlot.workspaces import ring, shells
from sandlot.workspaces.cancellation import Cancellation, Cancelled
from tests.conftest import LEFT, Cli
from tests.workspaces.conftest import folder_of, kill_agent, record_of, running, wait_until


def ask(shell: Shell, line: str, awaited: str, *, cursor: int | None = None) -> str:
    """Type a line and read until its output shows ``awaited``; all of it, as a terminal would show it."""
    cursor = shell.write(line, enter=True).cursor if cursor is None else cursor
    for _ in range(600):
        found = shell.read(cursor, plain=True, wait=1, idle=0.02)
        if awaited in found.text:
            return found.text
        assert found.running or found.more, found
    raise AssertionError(found.text)


def until_end(shell: Shell) -> None:
    wait_until(lambda: not shell.read().running, "the shell has not ended")


def children(workspace: Workspace) -> list[str]:
    """The commands that run inside, apart from ours."""
    return workspace.exec(LEFT).stdout.text.split()


def transcript(workspace: Workspace, shell: Shell) -> Path:
    return folder_of(workspace) / "commands" / str(shell.info.number) / ring.NAME


def test_a_shell_keeps_its_state_between_calls_and_tells_its_exit_code(workspace: Workspace) -> None:
    shell = workspace.shells.open()
    assert (shell.name, shell.info.state, shell.info.rows, shell.info.columns) == ("shell-1", "running", 24, 80)
    ask(shell, "cd /tmp && export A=5 && echo set-''up", "set-up")
    assert "/tmp 5 24 80" in ask(shell, "echo $PWD $A $(stty size)", "24 80")
    shell.write("exit 3", enter=True)
    until_end(shell)
    assert (shell.info.state, shell.info.exit_code) == ("exited", 3)


def test_it_has_a_terminal_of_its_own_that_controls_jobs(workspace: Workspace) -> None:
    shell = workspace.shells.open()
    assert "xterm-256color" in ask(shell, "test -t 0 && test -t 2 && : </dev/tty && echo $TERM", "xterm")
    shell.write("sleep 1000", enter=True)
    wait_until(lambda: "sleep" in str(children(workspace)), "sleep does not run")
    shell.write(keys=["ctrl-z"])
    assert "Stopped" in ask(shell, "jobs", "Stopped")
    shell.write("fg", enter=True)
    shell.signal("INT")
    assert "130" in ask(shell, "echo $?", "130")


def test_a_signal_reaches_the_program_in_front_and_not_the_shell(workspace: Workspace) -> None:
    shell = workspace.shells.open()
    line = "sh -c \"trap 'echo caught; exit 9' USR1; echo up; while :; do sleep 0.02; done\"; echo $?-x\n"
    cursor = shell.write(line)
    ask(shell, "", "\nup", cursor=cursor.cursor)
    shell.signal("USR1")
    assert "caught" in ask(shell, "", "9-x", cursor=cursor.cursor)
    for wrong in ("NOSUCH", ""):
        with pytest.raises(UsageError):
            shell.signal(wrong)


def test_a_resize_is_seen_by_the_program_in_front(workspace: Workspace) -> None:
    shell = workspace.shells.open(["sh"], rows=10, columns=20)
    assert "10 20" in ask(shell, "stty size", "10 20")
    shell.resize(40, 132)
    assert "40 132" in ask(shell, "stty size", "40 132")
    assert (shell.info.rows, shell.info.columns) == (40, 132)
    for rows, columns in ((0, 80), (24, 0), (wire.MAX_ROWS + 1, 80), (24, wire.MAX_COLUMNS + 1)):
        with pytest.raises(UsageError):
            shell.resize(rows, columns)


def test_reading_goes_on_where_it_stopped_and_loses_nothing(workspace: Workspace) -> None:
    shell = workspace.shells.open(["sh", "-c", "stty -opost; seq 5000; printf 'h\\303\\251\\377'"])
    until_end(shell)
    cursor, data = 0, b""
    while True:
        found = shell.read(cursor, max_bytes=1000)
        assert found.cursor == cursor
        data += os.fsencode(found.text)
        cursor = found.next_cursor
        if not found.more:
            break
    assert data == "".join(f"{number}\n" for number in range(1, 5001)).encode() + b"h\xc3\xa9\xff"
    assert shell.read().cursor == max(0, len(data) - 64 * 1024)
    with pytest.raises(UsageError):
        shell.read(len(data) + 1)


def test_a_character_is_never_cut_while_more_may_come(workspace: Workspace) -> None:
    shell = workspace.shells.open(["sh", "-c", "stty -echo; printf 'ab\\303'; read x; printf '\\251'; read x"])
    wait_until(lambda: shell.read(0).shell.total_bytes == 3, "nothing came")
    assert (shell.read(0).text, shell.read(0).next_cursor) == ("ab", 2)
    shell.write(enter=True)
    wait_until(lambda: shell.read(2).text == "é", "the rest has not come")
    assert shell.read(0, max_bytes=3).text == "ab"
    assert shell.read(2, max_bytes=1).next_cursor == 3  # no deadlock when there is room for nothing else


def test_plain_is_what_a_terminal_shows(workspace: Workspace) -> None:
    script = r"printf 'wrong\rright\n\033[31mred\033[0m \033]0;title\007\033[2Cgap\nabc\b\bX\n\a'"
    shell = workspace.shells.open(["sh", "-c", script])
    until_end(shell)
    assert shell.read(plain=True).text == "right\nred   gap\naXc"
    assert "\x1b" in shell.read().text


def test_waiting_ends_with_output_with_quiet_with_the_shell_and_with_patience(workspace: Workspace) -> None:
    shell = workspace.shells.open(["sh", "-c", "read a; echo one; read b; exit 4"])
    total = shell.read(0, wait=0.05).shell.total_bytes
    assert shell.read(total, wait=0.05).text == ""
    shell.write("x\n")
    assert "one" in shell.read(total, wait=30, idle=0.2).text
    total = shell.read().shell.total_bytes
    shell.write("y\n")
    found = shell.read(total, wait=None, idle=30)  # its end, not 30 s of silence
    while found.running:
        found = shell.read(found.next_cursor, wait=None)
    assert found.shell.exit_code == 4
    assert not shell.read(found.next_cursor, wait=None).running


def test_waiting_is_cancelled(workspace: Workspace) -> None:
    shell = workspace.shells.open(["sleep", "1000"])
    cancellation = Cancellation()
    timer = threading.Timer(0.2, cancellation.cancel)
    timer.start()
    with pytest.raises(Cancelled):
        shell.read(wait=None, cancellation=cancellation)
    timer.join()
    assert shell.read().running


def test_keys_have_names(workspace: Workspace) -> None:
    shell = workspace.shells.open(["sh", "-c", "stty raw -echo; printf ready; head -c 10 | od -An -c; echo end"])
    ask(shell, "", "ready", cursor=0)
    shell.write("a", keys=["ctrl-c", "UP", "tab", "alt-b", "escape"], enter=True)
    found = re.sub(r"\s+", " ", ask(shell, "", "end", cursor=0))
    assert "a 003 033 [ A \\t 033 b 033 \\r" in found
    for wrong in ("hyper-x", ""):
        with pytest.raises(UsageError):
            shell.write(keys=[wrong])
    with pytest.raises(UsageError):
        shell.write()


def test_names_are_given_or_chosen_and_never_used_by_two_open_shells(workspace: Workspace) -> None:
    first = workspace.shells.open(["sleep", "1000"], name="one")
    assert workspace.shells.open(["sleep", "1000"]).name == "shell-2"
    with pytest.raises(NameTaken):
        workspace.shells.open(name="one")
    for wrong in ("shell-9", "7", "a b", "", "../x", "ws-1"):
        with pytest.raises(UsageError):
            workspace.shells.open(name=wrong)
    first.close()
    second = workspace.shells.open(["sleep", "1000"], name="one")
    assert workspace.shells.get("one").info.number == second.info.number
    assert workspace.shells.get("1").info.state == "killed"
    with pytest.raises(ShellNotFound):
        workspace.shells.get("nobody")


def test_of_two_that_take_a_name_at_once_one_gets_it(workspace: Workspace) -> None:
    results: list[str] = []

    def take() -> None:
        try:
            results.append(workspace.shells.open(["sleep", "1000"], name="mine").name)
        except NameTaken:
            results.append("taken")

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["mine", "taken", "taken", "taken"]
    assert len(workspace.shells.list(running=True)) == 1


def test_closing_ends_the_whole_tree_whatever_it_ignores_and_wherever_it_went(workspace: Workspace) -> None:
    shell = workspace.shells.open()
    script = (
        "sleep 1001 & nohup sleep 1002 >/dev/null 2>&1 & setsid sleep 1003 & (setsid sh -c 'sleep 1004 &') ;"
        " sh -c \"trap '' HUP TERM INT; sleep 1005\" & disown -a; echo all-''up"
    )
    ask(shell, script, "all-up")
    wait_until(lambda: len(children(workspace)) >= 5, "not all are up")
    info = shell.close()
    assert info.state == "killed"
    assert children(workspace) == []
    assert shell.close().state == "killed"  # again is no error


def test_leaving_a_shell_leaves_what_was_put_in_the_background_as_on_any_terminal(workspace: Workspace) -> None:
    shell = workspace.shells.open()
    ask(shell, "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo up-''now", "up-now")
    wait_until(lambda: len(children(workspace)) == 1, "it does not run")
    shell.write("exit", enter=True)
    until_end(shell)
    assert len(children(workspace)) == 1


def test_an_ended_shell_is_read_and_listed_and_nothing_else(workspace: Workspace) -> None:
    shell = workspace.shells.open(["sh", "-c", "echo last words"])
    until_end(shell)
    actions: list[Callable[[], object]] = [
        lambda: shell.write("x"), lambda: shell.resize(5, 5), lambda: shell.signal("INT"),
    ]  # fmt: skip
    for action in actions:
        with pytest.raises(ShellEnded) as caught:
            action()
        assert "sandlot workspace shell open" in caught.value.hint
    assert "last words" in shell.read(plain=True).text
    assert [each.name for each in workspace.shells.list()] == ["shell-1"]
    assert workspace.shells.list(running=True) == []


def test_a_program_that_cannot_run_is_a_mistake_and_told(workspace: Workspace) -> None:
    for command, cwd in ((["no-such-program"], "."), (["/etc/passwd"], "."), (["sh"], "nowhere")):
        with pytest.raises(UsageError):
            workspace.shells.open(command, cwd=cwd)
    assert workspace.shells.list(running=True) == []
    assert {each.exit_code for each in workspace.shells.list()} == {126, 127}


@pytest.mark.parametrize("how", ["stop", "reset", "kill"])
def test_the_end_of_the_workspace_is_the_end_of_its_shells_and_not_of_their_records(
    workspace: Workspace, how: str
) -> None:
    shell = workspace.shells.open()
    ask(shell, "echo before-''the-end", "before-the-end")
    stubborn = workspace.shells.open(["sh", "-c", "trap '' HUP TERM; echo deaf; while :; do sleep 0.05; done"])
    ask(stubborn, "", "deaf", cursor=0)
    ends: dict[str, Callable[[], object]] = {
        "stop": workspace.stop, "reset": workspace.reset, "kill": lambda: kill_agent(workspace),
    }  # fmt: skip
    ends[how]()
    assert [each.running for each in workspace.shells.list()] == [False, False]
    assert workspace.shells.list()[0].state == "interrupted"
    assert workspace.shells.list()[1].state == ("signaled" if how == "stop" else "interrupted")
    assert "before-the-end" in shell.read(plain=True).text
    assert running(workspace) == (how == "reset")  # reading has not started it
    with pytest.raises(ShellEnded):
        shell.write("x")
    fresh = workspace.shells.open()
    assert (fresh.name, running(workspace)) == ("shell-3", True)


def test_twenty_shells_at_once_each_answer_for_themselves(workspace: Workspace) -> None:
    answers: dict[int, str] = {}

    def use(number: int) -> None:
        shell = workspace.shells.open(["sh"], name=f"work{number}")
        ask(shell, f"mine={number}; cd /tmp; seq 20000 | tail -n 1", "20000")
        text = ask(shell, "echo is-''$mine-$((mine * mine))-in-$PWD", "-in-/tmp")  # as no echo of what was typed has it
        answers[number] = re.findall(r"is-(\S+)", text)[-1]

    threads = [threading.Thread(target=use, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: f"{number}-{number**2}-in-/tmp" for number in range(20)}
    assert len(workspace.shells.list(running=True)) == 20
    for shell in workspace.shells.list():
        workspace.shells.get(shell.name).close()
    assert children(workspace) == []


def test_only_so_many_are_open(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shells, "MOST_RUNNING", 2)
    opened = [workspace.shells.open(["sleep", "1000"]) for _ in range(2)]
    with pytest.raises(LimitReached):
        workspace.shells.open()
    opened[0].close()
    workspace.shells.open(["sleep", "1000"])


def test_a_flood_keeps_the_file_bounded_and_tells_what_was_dropped(workspace: Workspace) -> None:
    shell = workspace.shells.open(["sh", "-c", "stty -opost; yes 0123456789abcdef | head -c 8000000; read x"])
    file = transcript(workspace, shell)
    wait_until(lambda: shell.read().shell.total_bytes == 8_000_000, "it has not printed all")
    assert file.stat().st_size <= wire.DATA + wire.CAPACITY
    found = shell.read(1000)
    assert found.dropped == found.cursor - 1000
    assert found.cursor == 8_000_000 - ring.KEPT
    line = b"0123456789abcdef\n"
    expected = (line * 470_589)[found.cursor : found.next_cursor]
    assert os.fsencode(found.text) == expected
    assert "0123456789abcdef" in shell.read(plain=True).text


def test_reading_during_a_flood_answers_with_bytes_that_belong_together(workspace: Workspace) -> None:
    shell = workspace.shells.open(["sh", "-c", "stty -opost; seq -f %015.0f 1 2000000"])
    folder = transcript(workspace, shell).parent
    wait_until(lambda: shell.read().shell.total_bytes > wire.CAPACITY, "it is slow")
    for _ in range(200):
        piece = ring.read(folder, 0, 1 << 20)  # the oldest bytes: overwritten while they are read
        at = -piece.start % 16
        numbers = [int(word) for word in piece.data[at:].split(b"\n")[:-1]]
        first = (piece.start + at) // 16 + 1
        assert numbers == list(range(first, first + len(numbers)))
    shell.close()


def test_a_shell_that_does_not_read_refuses_input_and_stays_usable(workspace: Workspace) -> None:
    shell = workspace.shells.open(["sh", "-c", "stty raw -echo; printf ready; sleep 1000"])
    ask(shell, "", "ready", cursor=0)
    with pytest.raises(ShellBusy) as caught:  # noqa: PT012  what is refused is not the first one
        for _ in range(100):
            shell.write("x" * 32_000)
    assert "shell signal" in caught.value.hint
    with pytest.raises(UsageError):
        shell.write("x" * (wire.INPUT_QUEUE + 1))
    assert shell.read().running
    shell.resize(30, 90)
    shell.signal("TERM")
    until_end(shell)


def test_a_client_that_never_reads_costs_only_itself(workspace: Workspace) -> None:
    shell = workspace.shells.open()
    context, record = workspace._sandlot._context, record_of(workspace)
    command = shells.find(context, record, "shell-1")
    with shells.join(context, record, command) as deaf:
        for _ in range(4):
            ask(shell, "seq 20000 | tail -n 1; echo turn-''over", "turn-over")
        assert deaf.total == 18 or deaf.total >= 0  # it was told nothing that it did not take
        deaf.resize(10, 10)  # and its own requests are answered behind what it has not read
    assert "10 10" in ask(shell, "stty size", "10 10")


def test_nonsense_from_a_client_ends_only_its_connection(workspace: Workspace) -> None:
    shell = workspace.shells.open()
    context, record = workspace._sandlot._context, record_of(workspace)
    command = shells.find(context, record, "shell-1")
    requests: list[tuple[int, list[bytes]]] = [
        (99, []), (wire.RESIZE, [b"0", b"x"]), (wire.SIGNAL, [b"65"]), (wire.SIGNAL, []), (wire.INPUT, []),
    ]  # fmt: skip
    for kind, fields in requests:
        with shells.join(context, record, command) as link, pytest.raises(UsageError):
            link.ask(kind, fields)
    with shells.join(context, record, command) as link:
        link.channel._socket.sendall(b"\xff" * 64)
        assert link.channel.receive() is None
    assert "well" in ask(shell, "echo we''ll", "well")


def test_a_plain_command_cannot_be_joined(workspace: Workspace) -> None:
    number = workspace.exec(["sleep", "1000"], background=True).command.number
    with pytest.raises(ShellNotFound):
        workspace.shells.get(str(number))
    with pytest.raises(CommandNotFound):
        workspace.logs(99)
    workspace.kill(number)


def test_a_forged_transcript_is_refused_and_does_not_hide_the_others(workspace: Workspace) -> None:
    shell, other = (workspace.shells.open(["sleep", "1000"]) for _ in range(2))
    file = transcript(workspace, shell)
    for head in (b"", b"x", wire.HEADER.pack(1 << 40, 5, 24, 80), wire.HEADER.pack(0, 5, 24, 80),
                 wire.HEADER.pack(wire.CAPACITY, 1 << 63, 24, 80), wire.HEADER.pack(wire.CAPACITY, 5, 0, 80),
                 wire.HEADER.pack(wire.CAPACITY, 5, 60000, 60000)):  # fmt: skip
        file.write_bytes(head)
        with pytest.raises(ProtocolError):
            shell.read()
        assert [each.name for each in workspace.shells.list()] == [other.name, shell.name]
    file.write_bytes(wire.HEADER.pack(wire.CAPACITY, 1 << 61, 24, 80) + bytes(40))
    assert shell.read(plain=True).text == ""  # far shorter than it says


def test_nobody_inside_gets_hold_of_the_master_or_the_transcript(workspace: Workspace) -> None:
    workspace.shells.open()
    probe = (
        "for p in /proc/[0-9]*; do ls -l $p/fd 2>/dev/null; done | grep -e ptmx -e ring -e /commands/ ;"
        " cat /proc/1/maps 2>&1 | head -c 80; true"
    )
    assert "ptmx" not in workspace.exec(probe).stdout.text
    assert "ring" not in workspace.exec(probe).stdout.text


def test_typing_into_a_terminal_from_inside_stays_denied(workspace: Workspace) -> None:
    shell = workspace.shells.open()
    attack = (
        "import fcntl, termios\n"
        "for code in (termios.TIOCSTI, termios.TIOCSTI | 1 << 32):\n"
        "    try: fcntl.ioctl(0, code & 0xffffffffffffffff, b'x')\n"
        "    except (OSError, OverflowError) as error: print('denied', type(error).__name__)\n"
    )
    workspace.files.write("attack.py", attack)
    assert ask(shell, "python3 attack.py; echo don''e", "done").count("denied") == 2


def test_a_shell_that_is_only_open_does_not_keep_a_workspace_from_idling_out(sandlot: Sandlot) -> None:
    workspace = sandlot.create(idle_timeout=1)
    shell = workspace.shells.open()
    wait_until(lambda: not running(workspace), "it has not idled out")
    assert [each.state for each in workspace.shells.list()] == ["interrupted"]
    assert not shell.read().running


def test_a_shell_that_prints_keeps_its_workspace(sandlot: Sandlot) -> None:
    workspace = sandlot.create(idle_timeout=1)
    shell = workspace.shells.open(["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo $i; sleep 0.3; done"])
    wait_until(lambda: shell.info.state != "running" or not shell.read(wait=None).running, "it goes on and on")
    assert shell.info.exit_code == 0


def test_the_history_knows_shells_and_shows_what_they_printed(workspace: Workspace) -> None:
    shell = workspace.shells.open(["sh", "-c", "echo needle-''one"])
    until_end(shell)
    (found,) = workspace.logs(search="needle-one").commands
    assert (found.kind, found.name) == (CommandKind.SHELL, "shell-1")
    assert workspace.logs(1).output == "needle-one\r\n"
    assert workspace.logs(1, offset=7, limit=3).output == "one"


def test_a_short_transcript_gives_its_room_back(workspace: Workspace) -> None:
    shell = workspace.shells.open(["echo", "short"])
    until_end(shell)
    assert transcript(workspace, shell).stat().st_size == wire.DATA + len("short\r\n")


def test_killing_it_by_number_closes_it(workspace: Workspace) -> None:
    shell = workspace.shells.open()
    assert workspace.kill(shell.info.number).state == "killed"
    assert workspace.shells.list(running=True) == []


def test_a_worker_killed_from_inside_is_told_and_leaves_nobody(workspace: Workspace) -> None:
    shell = workspace.shells.open(["sleep", "1000"])
    # The worker has our uid inside; it is the parent of the shell.
    workspace.exec("kill -9 $(grep -l '^Name:.sleep' /proc/[0-9]*/status | xargs awk '/^PPid/ {print $2}')")
    wait_until(lambda: not shell.read().running, "it is shown running")
    assert shell.info.state == "interrupted"
    assert children(workspace) == []


def test_the_command_line_does_the_same(workspace: Workspace, cli: Cli) -> None:
    opened = cli("workspace", "shell", "open", workspace.id, "--name", "sh", "--columns", "90", "--", "sh")
    assert opened.stdout == b"sh is open, 24x90, sh\n"
    line = "echo o''k; printf '\\033[7mX\\n'"
    typed = cli("workspace", "shell", "write", workspace.id, "sh", line, "--enter", "--json")
    assert b'"bytes": 31' in typed.stdout
    shown = cli("workspace", "shell", "read", workspace.id, "sh", "--plain", "--wait", "10s", "--idle", "300ms")
    assert b"\nok\n" in shown.stdout
    assert b"\x1b" not in shown.stdout
    raw = cli("workspace", "shell", "read", workspace.id, "sh", "--cursor", "0")
    assert b"\x1b[7m" in raw.stdout
    assert b"next: --cursor" in raw.stderr
    as_json = cli("workspace", "shell", "read", workspace.id, "sh", "--cursor", "0", "--json")
    assert b"\x1b" not in as_json.stdout
    assert b"running" in cli("workspace", "shell", "list", workspace.id).stdout
    assert b"closed" in cli("workspace", "shell", "close", workspace.id, "sh").stdout
    ended = cli("workspace", "shell", "write", workspace.id, "sh", "x")
    assert ended.returncode == 4
    assert b"hint: sandlot workspace shell open " + workspace.id.encode() in ended.stderr


def test_who_asks_for_silence_alone_does_not_wait_for_what_has_been_answered_already(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell_read, "PATIENCE_S", 3600)
    shell = workspace.shells.open(["sh"])
    ask(shell, "echo said''-before", "said-before")
    assert "said-before" in shell.read(plain=True, idle=0.05).text
