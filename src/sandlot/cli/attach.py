"""A person's terminal on a shell: ``workspace shell`` and ``workspace shell attach``.

Bytes go both ways as they are. Whatever ends the attachment (the shell, the detach keys, a signal, an error, the end of
the workspace), the person's terminal is as it was before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys
import termios
import time
import tty
from collections import deque
from collections.abc import Iterator
from typing import Any

from sandlot.cli.terminal import shown
from sandlot.errors import CommandInterrupted, SandlotError, UsageError, WorkspaceNotFound
from sandlot.model.command import CommandRecord, CommandState
from sandlot.model.workspace import WorkspaceRecord
from sandlot.runtimes.channel import raise_failure
from sandlot.wire import messages
from sandlot.wire import shell as wire
from sandlot.workspaces import keys, ring, shells
from sandlot.workspaces.context import Context
from sandlot.workspaces.secrets import redactor_of
from sandlot.workspaces.shells import Link

__all__ = ["Attachment", "detach_bytes", "need_terminal", "terminal_size"]

PIECE = 64 * 1024
"""Most bytes that go to the terminal before its keys are looked at again."""
TYPED = 4096
"""Most bytes that are sent to the shell at once."""
MOST_TYPED = 64 * 1024
"""Typed (pasted) bytes that wait for the shell; more stay in the terminal until there is room."""
RETRY_S = 0.02
HOLD_S = 0.5
"""How long the first of the detach keys is held back; then it is for the shell."""
_ALTERNATE_ON, _ALTERNATE_OFF = b"\x1b[?1049h", b"\x1b[?1049l"
_MODES_OFF = b"\x1b[?2004l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1l\x1b>\x1b[?25h\x1b[0m"
"""Bracketed paste, the mouse, application keys, a hidden cursor, colours: what a program that goes on has switched."""


def detach_bytes(words: str) -> bytes:
    """The keys of ``ctrl-],d``: names, or single characters, with commas between. Raises UsageError."""
    names = [word for word in words.split(",") if word]
    if not names:
        raise UsageError("there are no detach keys", hint="name some, as in: --detach-keys ctrl-],d")
    return "".join(name if len(name) == 1 else keys.typed([name]) for name in names).encode()


def need_terminal() -> None:
    """Raises UsageError without one."""
    if not (os.isatty(0) and os.isatty(1)):
        raise UsageError(
            "attaching needs a terminal on standard input and output",
            hint="programs use: sandlot workspace shell open, write, read",
        )


def terminal_size() -> tuple[int, int]:
    """(rows, columns) of our terminal, within what a shell may have."""
    try:
        columns, rows = os.get_terminal_size(1)
    except OSError:
        columns, rows = 0, 0
    return min(rows or 24, wire.MAX_ROWS), min(columns or 80, wire.MAX_COLUMNS)


class Attachment:
    """One person at one shell."""

    def __init__(
        self, context: Context, record: WorkspaceRecord, command: CommandRecord, link: Link, detach: bytes
    ) -> None:
        self.context = context
        self.record = record
        self.command = command
        self.link = link
        self.detach = detach
        self.folder = shells.folder_of(context, record, command)
        self.redactor = redactor_of(context, record)
        self.cursor = 0
        self.typed = bytearray()
        self.held = b""
        self.held_at = 0.0
        self.asked: deque[int] = deque()
        """What we have asked for and not yet heard of, in order."""
        self.in_flight = 0
        self.retry_at = 0.0
        self.alternate = False
        self.tail = b""
        self.detached = False
        self.gone = False

    def run(self, greeting: str, *, from_start: bool) -> int | None:
        """Until the shell ends (its exit status) or the person detaches (None). Raises CommandInterrupted.

        The greeting is said once the terminal is raw: from then on every key is the shell's.
        """
        with self._raw(), self._signals() as wake:
            try:
                _put(shown(greeting).encode() + b"\r\n")
                if not from_start:
                    self._paint()
                self._resize()
                while not self.detached and not self._over():
                    self._step(wake)
            except OSError as error:
                if error.errno not in (errno.EIO, errno.ENXIO):
                    raise
                self.detached = True  # our terminal is gone; the shell stays
        with contextlib.suppress(SandlotError):
            self.context.store.touch(self.record.id)
        if self.detached:
            return None
        return self._status()

    def _over(self) -> bool:
        """Whether there will be no more to show."""
        return (self.link.ended or self.gone) and not self._more()

    def _more(self) -> bool:
        try:
            head = ring.head(self.folder)
        except OSError:
            return False
        return head is not None and head.total > self.cursor

    def _step(self, wake: int) -> None:
        poller = select.poll()
        poller.register(wake, select.POLLIN)
        if not (self.link.ended or self.gone):
            poller.register(self.link.channel.fileno(), select.POLLIN)
        if len(self.typed) < MOST_TYPED:
            poller.register(0, select.POLLIN)
        more = self.cursor < self.link.total or self.link.ended or self.gone
        ready = [descriptor for descriptor, _ in poller.poll(0 if more else self._timeout())]
        if wake in ready:
            self._woken(wake)
        if 0 in ready:
            self._keys()
        if self.link.channel.fileno() in ready:
            self._heard()
        if more or self.cursor < self.link.total:
            self._show()
        now = time.monotonic()
        if self.held and now - self.held_at >= HOLD_S:
            self.typed += self.held
            self.held = b""
        if self.typed and not self.in_flight and now >= self.retry_at:
            self._send()

    def _timeout(self) -> float | None:
        now = time.monotonic()
        due = [self.held_at + HOLD_S] if self.held else []
        if self.typed and not self.in_flight:
            due.append(self.retry_at)
        return max(0.0, (min(due) - now) * 1000 + 1) if due else None

    def _keys(self) -> None:
        """Take in what was typed, and look for the detach keys: the first ones are held back until it is clear."""
        data = os.read(0, TYPED)
        if not data:  # our terminal is gone
            self.detached = True
            return
        data, self.held = self.held + data, b""
        before, found, _ = data.partition(self.detach)
        if found:
            self.detached = True
            return
        for size in range(min(len(self.detach) - 1, len(data)), 0, -1):
            if data.endswith(self.detach[:size]):
                self.held, self.held_at = self.detach[:size], time.monotonic()
                before = data[:-size]
                break
        self.typed += before

    def _send(self) -> None:
        chunk = bytes(self.typed[:TYPED])
        self.in_flight = len(chunk)
        self._ask(wire.INPUT, [chunk])

    def _ask(self, kind: int, fields: list[bytes]) -> None:
        try:
            self.link.channel.send(kind, fields)
            self.asked.append(kind)
        except CommandInterrupted:
            self.gone = True

    def _heard(self) -> None:
        arrived = self.link.channel.arrived()
        if arrived is None:
            self.gone = True
            return
        for kind, fields in arrived:
            if kind in (messages.RESULT, messages.FAILED) and self.asked:
                self._answered(self.asked.popleft(), kind, fields)
            else:
                self.link.note(kind, fields)

    def _answered(self, asked: int, kind: int, fields: list[bytes]) -> None:
        if asked != wire.INPUT:
            return
        if kind == messages.RESULT:
            del self.typed[: self.in_flight]
        elif fields[:1] == [b"shell_busy"]:  # it does not read: what was typed waits here
            self.retry_at = time.monotonic() + RETRY_S
        else:
            raise_failure(fields)
        self.in_flight = 0

    def _show(self) -> None:
        """Pass on one piece of what there is."""
        try:
            piece = ring.read(self.folder, self.cursor, PIECE, self.redactor)
        except OSError:  # the workspace is being deleted
            self.gone = True
            return
        data = piece.data
        if piece.dropped:  # we were too slow: begin at a line rather than within an escape sequence
            data = data[data.find(b"\n") + 1 :]
        self.cursor = piece.end
        self.link.total = max(self.link.total, piece.end)
        seen = self.tail + data
        on, off = seen.rfind(_ALTERNATE_ON), seen.rfind(_ALTERNATE_OFF)
        if on != off:
            self.alternate = on > off
        self.tail = seen[1 - len(_ALTERNATE_ON) :]
        _put(data)

    def _paint(self) -> None:
        """What the shell shows now, drawn by us: its own bytes would have our terminal answer old questions again."""
        from sandlot.workspaces import screen

        try:
            piece = ring.read(self.folder, None, screen.RENDERED, self.redactor)
        except OSError:
            self.gone = True
            return
        self.cursor = piece.end
        rows, columns = terminal_size()
        head = ring.head(self.folder)
        picture = screen.render(piece.data, *((head.rows, head.columns) if head else (rows, columns)))
        self.alternate = picture.alternate
        lines = list(picture.screen) + [""] * (picture.row + 1 - len(picture.screen))
        first = max(0, len(lines) - rows)
        text = "\r\n".join(line[:columns] for line in lines[first:])
        up, right = len(lines) - 1 - max(picture.row, first), min(picture.column, columns - 1)
        text += (f"\x1b[{up}A" if up else "") + "\r" + (f"\x1b[{right}C" if right else "")
        _put((_ALTERNATE_ON + b"\x1b[2J\x1b[H" if self.alternate else b"") + text.encode())

    def _resize(self) -> None:
        self._ask(wire.RESIZE, [b"%d" % number for number in terminal_size()])

    def _woken(self, wake: int) -> None:
        numbers = os.read(wake, 4096)
        if signal.SIGCONT in numbers:  # somebody had stopped us, and had the terminal meanwhile
            tty.setraw(0, termios.TCSADRAIN)
        if signal.SIGWINCH in numbers or signal.SIGCONT in numbers:
            self._resize()

    @contextlib.contextmanager
    def _raw(self) -> Iterator[None]:
        """Our terminal without a will of its own, and as it was before afterwards."""
        before = termios.tcgetattr(0)
        try:
            # Not TCSAFLUSH, Python's default: what was typed before is for the shell, and must not be lost.
            tty.setraw(0, termios.TCSADRAIN)
            yield
        finally:
            # A second signal must not end us before this has been done.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM})
            with contextlib.suppress(OSError, termios.error):  # it may be gone
                termios.tcsetattr(0, termios.TCSANOW, before)
            with contextlib.suppress(OSError):
                os.set_blocking(1, True)
                _put((_ALTERNATE_OFF if self.alternate else b"") + _MODES_OFF + (b"\r\n" if self.detached else b""))
            signal.pthread_sigmask(signal.SIG_SETMASK, set())

    @contextlib.contextmanager
    def _signals(self) -> Iterator[int]:
        """Window changes wake the loop; what would end us, or stop us with the terminal raw, leaves it in order."""
        read, write = os.pipe()
        os.set_blocking(write, False)
        handlers: dict[int, Any] = {signal.SIGWINCH: _noted, signal.SIGCONT: _noted, signal.SIGQUIT: _ended}
        handlers[signal.SIGTSTP] = signal.SIG_IGN
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        old = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        try:
            yield read
        finally:
            signal.set_wakeup_fd(old)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(read)
            os.close(write)

    def _status(self) -> int:
        """The shell's own exit status. Raises CommandInterrupted when it ended with its workspace."""
        from sandlot.operations.executed import exit_status

        try:
            command = shells.ended(self.context, self.record, self.command)
        except WorkspaceNotFound:
            raise CommandInterrupted(
                f"workspace {self.record.label} was deleted while you were attached", hint="sandlot workspace list"
            ) from None
        if command.outcome is None or command.outcome.state is CommandState.INTERRUPTED:
            raise CommandInterrupted(
                f"shell {command.name} ended with its workspace, which was stopped or reset",
                hint="sandlot workspace shell ID",
            )
        return exit_status(command.outcome)


def _noted(_number: int, _frame: object) -> None:
    """The number is in the wakeup pipe."""


def _ended(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def _put(data: bytes) -> None:
    """Write all of it to our terminal."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(1, view) :]
        except BlockingIOError:  # somebody has made it non-blocking
            select.select([], [1], [], 1)


def say(text: str) -> None:
    """A line for the person, if there still is one."""
    with contextlib.suppress(OSError):
        print(shown(text), file=sys.stderr, flush=True)
