"""A person's terminal on a shell: real terminals, real bytes, and the terminal as it was in every case."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandlot import Secret
from sandlot.cli.attach import detach_bytes
from sandlot.errors import UsageError
from sandlot.sdk import Sandlot, Workspace
from tests.conftest import Cli, clean_environment
from tests.workspaces.conftest import folder_of, kill_agent, wait_until

DEADLINE_S = 60.0
DETACH = b"\x1dd"


class Person:
    """Somebody at a terminal who has typed a command line."""

    def __init__(self, state_dir: Path, words: tuple[str, ...], rows: int, columns: int, **environment: str) -> None:
        self.control, self.terminal = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.terminal)
        self.seen = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sandlot", *words],
            stdin=self.terminal,
            stdout=self.terminal,
            stderr=self.terminal,
            env={**clean_environment(state_dir), "TERM": "xterm", **environment},
            start_new_session=True,
        )

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, data: bytes) -> None:
        os.write(self.control, data)

    def see(self, text: bytes) -> bytes:
        """Wait until the terminal has shown this since the last call; all that came up to it."""
        end = time.monotonic() + DEADLINE_S
        while text not in self.seen:
            assert select.select([self.control], [], [], max(0.0, end - time.monotonic()))[0], self.seen
            self.seen += os.read(self.control, 1 << 16)
        before, _, self.seen = self.seen.partition(text)
        return before

    def end(self) -> int:
        """The exit status; the terminal is as it was."""
        end = time.monotonic() + DEADLINE_S
        while self.process.poll() is None:
            assert time.monotonic() < end, self.seen
            if select.select([self.control], [], [], 0.02)[0]:
                self.seen += os.read(self.control, 1 << 16)
        while select.select([self.control], [], [], 0)[0]:
            self.seen += os.read(self.control, 1 << 16)
        assert termios.tcgetattr(self.terminal) == self.before
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.control)
        os.close(self.terminal)


Sit = Callable[..., Person]


@pytest.fixture
def sit(state_dir: Path, sandlot: Sandlot) -> Iterator[Sit]:
    """Sit somebody down at a command line."""
    people: list[Person] = []

    def start(*words: str, rows: int = 24, columns: int = 100, **environment: str) -> Person:
        people.append(Person(state_dir, words, rows, columns, **environment))
        return people[-1]

    yield start
    for each in people:
        each.close()


@pytest.fixture
def named(sandlot: Sandlot) -> Workspace:
    return sandlot.create(name="w")


def test_a_shell_is_opened_used_and_left_with_its_exit_code(named: Workspace, sit: Sit) -> None:
    person = sit("workspace", "shell", "w", rows=33, columns=111)
    person.see(b"detach with ctrl-] d")
    person.see(b"$ ")
    person.type(b"stty size; echo $((6 * 7))ok\r")
    assert b"33 111" in person.see(b"42ok")
    person.type(b"exit 7\r")
    assert person.end() == 7
    (info,) = named.shells.list()
    assert (info.state, info.exit_code) == ("exited", 7)


def test_what_was_typed_before_it_was_attached_reaches_the_shell(named: Workspace, sit: Sit) -> None:
    person = sit("workspace", "shell", "w")
    person.type(b"echo early-$((40 + 2)); exit\r")
    person.see(b"attached")
    person.see(b"early-42")
    assert person.end() == 0


def test_detaching_leaves_it_open_and_says_how_to_come_back(named: Workspace, sit: Sit) -> None:
    person = sit("workspace", "shell", "w")
    person.see(b"$ ")
    person.type(b"export MARK=kept; printf 'red \\033[31mherring\\033[0m\\n'\r")
    person.see(b"herring\x1b[0m")
    person.type(DETACH)
    person.see(b"it stays open: sandlot workspace shell attach w shell-1")
    assert person.end() == 0
    again = sit("workspace", "shell", "attach", "w")
    again.see(b"red herring\r\n")  # the screen is painted, without the bytes that made it
    again.type(b"echo still-$MARK; exit\r")
    again.see(b"still-kept")
    assert again.end() == 0


def test_only_the_whole_sequence_detaches_and_its_beginning_reaches_the_shell(named: Workspace, sit: Sit) -> None:
    person = sit("workspace", "shell", "w", "--", "cat", "-A")
    person.type(b"")
    person.see(b"attached")
    wait_until(lambda: bool(named.shells.list(running=True)), "it is not open")
    person.type(b"a\x1db\rc\x1d")
    person.see(b"a^]b$")
    person.type(b"\r")
    person.see(b"c^]$")
    person.type(DETACH[:1])
    person.type(DETACH[1:])
    person.see(b"detached")
    assert person.end() == 0


def test_the_detach_keys_are_chosen_by_option_and_environment(named: Workspace, sit: Sit) -> None:
    person = sit("workspace", "shell", "w", "--detach-keys", "ctrl-p,ctrl-q")
    person.see(b"detach with ctrl-p ctrl-q")
    person.see(b"$ ")
    person.type(b"\x10\x11")
    assert person.end() == 0
    person = sit("workspace", "shell", "attach", "w", SANDLOT_DETACH_KEYS="ctrl-b,x")
    person.see(b"detach with ctrl-b x")
    person.see(b"2$")
    person.type(b"\x02x")
    assert person.end() == 0


def test_detach_keys_that_are_none_are_refused() -> None:
    assert detach_bytes("ctrl-],d") == DETACH
    for words in ("", ",", "hyper-x"):
        with pytest.raises(UsageError):
            detach_bytes(words)


def test_the_shell_follows_the_size_of_the_window(named: Workspace, sit: Sit) -> None:
    person = sit("workspace", "shell", "w")
    person.see(b"$ ")
    person.type(b"trap 'stty size' WINCH; echo rea''dy\r")
    person.see(b"ready")
    person.resize(50, 132)
    person.process.send_signal(signal.SIGWINCH)  # a kernel tells only the foreground of a controlling terminal
    person.see(b"50 132")
    person.type(b"exit\r")
    assert person.end() == 0
    assert (named.shells.list()[0].rows, named.shells.list()[0].columns) == (50, 132)


def test_bytes_pass_exactly_in_both_directions(named: Workspace, sit: Sit) -> None:
    script = (
        "import os, sys, tty; tty.setraw(0); os.write(1, b'<' + bytes(range(256)) + b'>')\n"
        "data = b''\n"
        "while len(data) < 252: data += os.read(0, 4096)\n"
        "os.write(1, b'GOT' + data + b'END'); os.read(0, 1)"
    )
    person = sit("workspace", "shell", "w", "--", "python3", "-c", script)
    person.see(b"<")
    assert person.see(b"\xff>") + b"\xff" == bytes(range(256))
    everything = bytes(number for number in range(256) if number != DETACH[0])
    person.type(everything[:252])
    person.see(b"GOT")
    assert person.see(b"END") == everything[:252]
    person.type(b"x")
    assert person.end() == 0


def test_control_c_goes_to_the_shell_and_not_to_us(named: Workspace, sit: Sit) -> None:
    person = sit("workspace", "shell", "w")
    person.see(b"$ ")
    person.type(b"sleep 1000\r")
    wait_until(lambda: "sleep" in named.exec("cat /proc/[0-9]*/comm").stdout.text, "sleep does not run")
    person.type(b"\x03")
    person.see(b"$ ")
    person.type(b"echo status-$?; exit 0\r")
    person.see(b"status-130")
    assert person.end() == 0


def test_a_large_paste_arrives_whole(named: Workspace, sit: Sit) -> None:
    size = 300_000
    script = f"stty raw -echo; echo; printf ready; head -c {size} | sha256sum"
    person = sit("workspace", "shell", "w", "--", "sh", "-c", script)
    person.see(b"ready")
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    import hashlib

    sent = 0
    end = time.monotonic() + DEADLINE_S
    os.set_blocking(person.control, False)
    while sent < size:
        assert time.monotonic() < end, sent
        if select.select([], [person.control], [], 0.1)[1]:
            sent += os.write(person.control, data[sent : sent + 2048])
    os.set_blocking(person.control, True)
    person.see(hashlib.sha256(data).hexdigest().encode())
    assert person.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_to_us_restores_the_terminal_and_leaves_the_shell(
    named: Workspace, sit: Sit, number: signal.Signals
) -> None:
    person = sit("workspace", "shell", "w")
    person.see(b"$ ")
    assert termios.tcgetattr(person.terminal) != person.before
    person.process.send_signal(number)
    assert person.end() == 128 + number
    assert len(named.shells.list(running=True)) == 1


@pytest.mark.parametrize("how", ["delete", "stop", "reset", "kill"])
def test_the_end_of_the_workspace_is_told_and_the_terminal_restored(named: Workspace, sit: Sit, how: str) -> None:
    person = sit("workspace", "shell", "w")
    person.see(b"$ ")
    person.type(b"trap '' HUP; echo we-are-''in\r")
    person.see(b"we-are-in")
    actions: dict[str, Callable[[], Any]] = {
        "delete": named.delete, "stop": named.stop, "reset": named.reset, "kill": lambda: kill_agent(named),
    }  # fmt: skip
    actions[how]()
    assert person.end() == 125
    assert b"error: " in person.seen
    assert (b"was deleted" if how == "delete" else b"ended with its workspace") in person.seen
    assert b"hint: " in person.seen
    assert b"\x1b[?2004l" in person.seen  # what the program had switched on


def test_an_error_of_our_own_is_told_and_the_terminal_restored(named: Workspace, sit: Sit) -> None:
    person = sit("workspace", "shell", "w")
    person.see(b"$ ")
    transcript = folder_of(named) / "commands" / str(named.shells.list()[0].number) / "ring"
    transcript.unlink()
    transcript.write_bytes(b"...")
    person.type(b"\r")
    assert person.end() == 125
    assert b"error: the transcript of the shell is damaged" in person.seen


def test_reading_shows_no_escape_code_to_a_persons_terminal(named: Workspace, sit: Sit) -> None:
    script = r"printf 'a\033]52;c;ZXZpbA==\007b\033[5n\033Pq\033\\\\c\302\2335n\ne'"
    shell = named.shells.open(["sh", "-c", script])
    wait_until(lambda: not shell.read().running, "it has not ended")
    assert "\x1b]52" in shell.read().text
    for words in ((), ("--plain",), ("--cursor", "0")):
        person = sit("workspace", "shell", "read", "w", "shell-1", *words)
        assert person.end() == 0
        assert b"has ended" in person.seen
        assert not {0x1B, 0x07} & set(person.seen)
        assert b"\xc2\x9b" not in person.seen


def test_a_value_that_was_printed_is_not_shown_to_whoever_attaches(sandlot: Sandlot, sit: Sit) -> None:
    value = "value-0123456789"
    named = sandlot.create(name="w", secrets={"API_KEY": Secret(value=value, hosts=())})
    named.exec("echo $API_KEY > leak.txt", reveal=["API_KEY"])
    person = sit("workspace", "shell", "w", "--", "sh")
    person.see(b"$ ")
    for _ in range(2):
        person.type(b"cat leak.txt; echo do''ne\r")
        assert b"*" * len(value) in person.see(b"done\r\n")
        person.type(DETACH)
        person.see(b"detached")
        assert person.end() == 0
        person = sit("workspace", "shell", "attach", "w")
        assert b"*" * len(value) in person.see(b"done\r\n")
    assert value.encode() not in person.seen


def test_a_program_on_the_alternate_screen_is_left_behind(named: Workspace, sit: Sit) -> None:
    person = sit("workspace", "shell", "w")
    person.see(b"$ ")
    person.type(b"printf 'before\\n\\033[?1049h\\033[Hfull''screen'\r")
    person.see(b"fullscreen")
    person.type(DETACH)
    person.see(b"\x1b[?1049l")
    assert person.end() == 0
    again = sit("workspace", "shell", "attach", "w")
    again.see(b"\x1b[?1049h")
    assert b"before" not in again.see(b"fullscreen")
    again.type(DETACH)
    assert again.end() == 0


def test_two_people_see_the_same_shell(named: Workspace, sit: Sit) -> None:
    one = sit("workspace", "shell", "w")
    one.see(b"$ ")
    two = sit("workspace", "shell", "attach", "w", "shell-1")
    two.see(b"2$")
    one.type(b"echo from-''one\r")
    two.see(b"from-one")
    two.type(b"echo from-''two; exit 3\r")
    one.see(b"from-two")
    assert (one.end(), two.end()) == (3, 3)


def test_somebody_who_does_not_read_does_not_hold_up_the_shell(named: Workspace, sit: Sit) -> None:
    person = sit("workspace", "shell", "w")
    person.see(b"$ ")
    person.process.send_signal(signal.SIGSTOP)
    shell = named.shells.get("shell-1")
    start = shell.write("seq 200000; echo all-''done", enter=True).cursor
    cursor = start
    end = time.monotonic() + DEADLINE_S
    text = ""
    while "all-done" not in text:
        assert time.monotonic() < end
        found = shell.read(cursor, wait=5, plain=False)
        cursor, text = found.next_cursor, text[-20:] + found.text
    person.process.send_signal(signal.SIGCONT)
    person.see(b"all-done")
    person.type(b"exit\r")
    assert person.end() == 0


def test_without_a_terminal_it_says_what_to_use(named: Workspace, cli: Cli) -> None:
    for words in (("workspace", "shell", "w"), ("workspace", "shell", "attach", "w")):
        done = cli(*words)
        assert done.returncode == 125
        assert b"needs a terminal" in done.stderr
        assert b"sandlot workspace shell open" in done.stderr
    assert named.shells.list() == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("shell", "gone"), b"no workspace has the id or name 'gone'"),
        (("shell", "attach", "w"), b"no open shell"),
        (("shell", "attach", "w", "nobody"), b"no shell 'nobody'"),
        (("shell", "w", "--", "no-such-program"), b"cannot be opened"),
        (("shell", "w", "--detach-keys", "hyper-x"), b"unknown key"),
        (("shell", "w", "--cwd", "nowhere"), b"cannot be opened"),
    ],
)
def test_a_mistake_is_told_before_the_terminal_is_touched(
    named: Workspace, sit: Sit, words: tuple[str, ...], said: bytes
) -> None:
    person = sit("workspace", *words)
    assert person.end() == 125
    assert said in person.seen
    assert b"hint: " in person.seen
