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
from sandlot.workspaces.context import Context
from sandlot.workspaces.lifecycle import connect

__all__ = ["TOOL_S", "Answer", "call", "collect", "feed", "flag"]

TOOL_S = 300.0
"""Longest silence of a tool before it is given up (and thereby ended)."""

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
) -> Answer:
    """Run a tool and return its result; ``item`` gets each list entry, ``bulk`` is a descriptor for content.

    Counts as activity. Raises the error that the tool names.
    """
    record, channel = connect(context, record)
    with channel:
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
    """Run a tool that takes content: the source is pumped through a pipe, so no host file gets inside."""
    read, write = os.pipe()
    pump = threading.Thread(target=_pump_in, args=(source, write), daemon=True, name="sandlot-content")
    pump.start()
    try:
        return call(context, record, tool, arguments, bulk=read, item=item)
    finally:
        os.close(read)
        pump.join(5)


def _pump_in(source: bytes | BinaryIO, write: int) -> None:
    with open(write, "wb", buffering=0) as pipe:
        try:
            if isinstance(source, bytes):
                view = memoryview(source)
                while view:
                    view = view[pipe.write(view) or 0 :]
                return
            while data := source.read(1 << 18):
                view = memoryview(data)
                while view:
                    view = view[pipe.write(view) or 0 :]
        except (BrokenPipeError, OSError):
            pass  # the tool ended early; its answer says why


def collect(
    context: Context, record: WorkspaceRecord, tool: str, arguments: Sequence[bytes], sink: Callable[[bytes], object]
) -> Answer:
    """Run a tool that gives content; ``sink`` gets it piece by piece."""
    read, write = os.pipe()
    failure: list[BaseException] = []

    def drain() -> None:
        with open(read, "rb", buffering=0) as pipe:
            try:
                while data := pipe.read(1 << 18):
                    sink(data)
            except BaseException as error:  # handed to the caller below
                failure.append(error)

    reader = threading.Thread(target=drain, daemon=True, name="sandlot-content")
    reader.start()
    try:
        answer = call(context, record, tool, arguments, bulk=write)
    finally:
        os.close(write)
        reader.join()
    if failure:
        raise failure[0]
    return answer
