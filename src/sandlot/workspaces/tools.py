"""Calling the tools that run inside a workspace (``sandlot.guest.tools``; their docstrings define the fields)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import BinaryIO

from sandlot.errors import CommandInterrupted, ProtocolError
from sandlot.model.workspace import WorkspaceRecord
from sandlot.runtimes.base import PROJECT
from sandlot.wire import messages
from sandlot.workspaces.cancellation import Cancellation
from sandlot.workspaces.context import Context
from sandlot.workspaces.lifecycle import connect

__all__ = ["TOOL_S", "Answer", "call", "collect", "feed", "flag"]

TOOL_S = 300.0
"""Longest silence of a tool before it is given up (and thereby ended)."""

PIECE = 1 << 18
ROOT = os.fsencode(PROJECT)


def flag(value: bool) -> bytes:
    """A flag as tools read it."""
    return b"1" if value else b"0"


class Answer:
    """The fields of a tool's result, checked as they are taken: they come from inside."""

    def __init__(self, fields: Sequence[bytes]) -> None:
        self._fields = iter(fields)

    def raw(self) -> bytes:
        field = next(self._fields, None)
        if field is None:
            raise ProtocolError("the workspace sent a short answer")
        return field

    def text(self) -> str:
        """A path or a line; bytes that are not UTF-8 become lone surrogates, as os.fsdecode gives them."""
        return os.fsdecode(self.raw())

    def number(self) -> int:
        try:
            return messages.integer(self.raw(), -(2**63))
        except ValueError as error:
            raise ProtocolError("the workspace sent a malformed number") from error

    def flag(self) -> bool:
        return self.raw() == b"1"


def call(
    context: Context,
    record: WorkspaceRecord,
    tool: str,
    arguments: Sequence[bytes],
    *,
    bulk: int | None = None,
    item: Callable[[Answer], None] | None = None,
    cancellation: Cancellation | None = None,
) -> Answer:
    """Run a tool and return its result; ``item`` gets each list entry, ``bulk`` is a descriptor for content.

    Counts as activity. Raises the error that the tool names; CommandInterrupted, too, after ``cancellation``.
    """
    record, channel = connect(context, record)
    with channel, (cancellation or Cancellation()).waking(channel.shutdown):
        context.store.touch(record.id)
        channel.send(messages.TOOL, [tool.encode(), ROOT, *arguments], [] if bulk is None else [bulk])
        for kind, fields in channel.stream(TOOL_S):
            if kind == messages.ITEM and item is not None:
                item(Answer(fields))
            elif kind == messages.RESULT:
                return Answer(fields)
    raise CommandInterrupted(f"workspace {record.label} ended during {tool}")


def feed(
    context: Context,
    record: WorkspaceRecord,
    tool: str,
    arguments: Sequence[bytes],
    source: bytes | BinaryIO,
    item: Callable[[Answer], None] | None = None,
) -> Answer:
    """Run a tool that takes content: the source is pumped through a pipe, so no host file gets inside.

    When reading the source fails, the tool is ended before it sees an end of content, and that error is raised.
    """
    with _Feed(source) as pump:
        return call(context, record, tool, arguments, bulk=pump.read, item=item, cancellation=pump.cancellation)


class _Feed:
    """A thread that writes a source into a pipe."""

    def __init__(self, source: bytes | BinaryIO) -> None:
        self.cancellation = Cancellation()
        self.read, self._write = os.pipe()
        self._source = source
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._pump, daemon=True, name="sandlot-content")

    def __enter__(self) -> _Feed:
        self._thread.start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        os.close(self.read)
        if error is None or self._failure is not None:
            self._thread.join()  # else it may wait for a source that nobody needs any more, such as a terminal
        if self._failure is not None:
            os.close(self._write)
            raise self._failure from None

    def _pump(self) -> None:
        try:
            if isinstance(self._source, bytes):
                self._put(self._source)
            else:
                while data := self._source.read(PIECE):
                    self._put(data)
        except _Unwanted:
            pass
        except BaseException as error:  # handed to the caller; the pipe stays open: this is no end of content
            self._failure = error
            self.cancellation.cancel()
            return
        os.close(self._write)

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._write, view) :]
        except BrokenPipeError:
            raise _Unwanted from None


class _Unwanted(Exception):
    """The tool has ended and takes no more; its answer says why."""


def collect(
    context: Context, record: WorkspaceRecord, tool: str, arguments: Sequence[bytes], sink: Callable[[bytes], object]
) -> Answer:
    """Run a tool that gives content; ``sink`` gets it piece by piece. What the sink raises is raised."""
    read, write = os.pipe()
    failure: list[BaseException] = []

    def drain() -> None:
        with open(read, "rb", buffering=0) as pipe:
            try:
                while data := pipe.read(PIECE):
                    sink(data)
            except BaseException as error:  # handed to the caller; closing the pipe ends the tool
                failure.append(error)

    reader = threading.Thread(target=drain, daemon=True, name="sandlot-content")
    reader.start()
    try:
        return call(context, record, tool, arguments, bulk=write)
    finally:
        os.close(write)
        reader.join()
        if failure:
            raise failure[0]
