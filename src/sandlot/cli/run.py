"""Running one operation for the command line."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import IO, Any, BinaryIO

from sandlot.cli import formats, words
from sandlot.cli.answer import as_json
from sandlot.cli.progress import ProgressLine
from sandlot.cli.terminal import ByteWriter
from sandlot.errors import PathNotFound, UsageError
from sandlot.operations.operation import Caller, Operation
from sandlot.workspaces import reaper
from sandlot.workspaces.context import Context

__all__ = ["execute"]

NO_RECONCILE = frozenset({"repair", "doctor"})


def execute(operation: Operation[Any, Any], arguments: list[str], command: list[str] | None) -> int:
    """Parse, run, print; returns the exit status."""
    parsed = words.build(operation).parse_intermixed_args(arguments)  # ID --stat PATH is fine, too
    request = words.request_of(operation, parsed, command)
    context = Context.default()
    with contextlib.ExitStack() as stack:
        stack.callback(context.close)
        caller = _caller(stack, operation, parsed)
        if operation.name not in NO_RECONCILE:
            reaper.reconcile(context)
        result = operation.invoke(context, request, caller)
    if getattr(parsed, "id_only", False):
        formats.print_ids(result)
    elif parsed.json:
        print(as_json(result))
    else:
        formats.print_result(operation.name, result, streamed=caller.output is not None)
    if operation.passes_exit_code:
        return int(result.exit_status)
    return formats.exit_status(operation.name, result)


def _caller(stack: contextlib.ExitStack, operation: Operation[Any, Any], parsed: argparse.Namespace) -> Caller:
    progress = stack.enter_context(ProgressLine())
    output = None
    if operation.passes_exit_code and not parsed.json and not getattr(parsed, "background", False):
        writers = {"stdout": ByteWriter(sys.stdout), "stderr": ByteWriter(sys.stderr)}

        def output(stream: str, data: bytes) -> None:
            writers[stream].write(data)

    stdin = sys.stdin.buffer if getattr(parsed, "stdin", False) else None
    if operation.name == "workspace_wait":
        output = None
    return Caller(progress=progress, output=output, stdin=stdin, content=_content(stack, operation, parsed))


def _content(
    stack: contextlib.ExitStack, operation: Operation[Any, Any], parsed: argparse.Namespace
) -> bytes | BinaryIO | None:
    """What the operation writes: given as text, in a file, or on standard input."""
    field = next((field for field, about in operation.arguments() if about.kind == "content"), None)
    if field is None or getattr(parsed, field.name) is not None:
        return None
    if parsed.from_file is not None:
        try:
            file: IO[bytes] = stack.enter_context(open(Path(parsed.from_file), "rb"))
        except OSError as error:
            raise PathNotFound(f"cannot read {parsed.from_file}: {error.strerror}") from error
        return file  # type: ignore[return-value]  # a file opened "rb" is a BinaryIO
    if sys.stdin.isatty():
        raise UsageError("there is nothing to write", hint="use --text, --from-file, or pipe it in")
    return sys.stdin.buffer
