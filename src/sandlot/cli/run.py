"""Running one operation for the command line."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

from sandlot.cli import words
from sandlot.cli.terminal import ByteWriter
from sandlot.errors import PathNotFound, SandlotError, UsageError
from sandlot.operations.operation import Caller, Operation
from sandlot.workspaces import reaper
from sandlot.workspaces.context import Context

__all__ = ["execute"]

NO_RECONCILE = frozenset({"repair", "doctor"})


def execute(operation: Operation[Any, Any], arguments: list[str], command: list[str] | None) -> int:
    """Parse, run, print; returns the exit status."""
    if command is not None and not words.takes_command(operation):
        arguments, command = [*arguments, "--", *command], None  # the usual meaning: no options from here on
    parsed = words.build(operation).parse_args(arguments)
    try:
        return _execute(operation, parsed, command)
    except KeyboardInterrupt:
        if getattr(parsed, "follow", False):  # that is how following ends; there is nothing to report
            return 130
        raise
    except SandlotError as error:
        workspace = getattr(parsed, "workspace", None)
        if workspace:  # say it in words that can be pasted
            error.hint = " ".join(shlex.quote(workspace) if word == "ID" else word for word in error.hint.split(" "))
        if not error.hint and isinstance(error, UsageError):
            error.hint = f"sandlot {' '.join(operation.command)} --help"
        raise


def _execute(operation: Operation[Any, Any], parsed: argparse.Namespace, command: list[str] | None) -> int:
    request = words.request_of(operation, parsed, command)
    ids_wanted = getattr(parsed, "id_only", False)
    if ids_wanted and operation.name == "workspace_exec" and not parsed.background:
        raise UsageError("--id-only needs --background: a command that has ended needs no number")
    context = Context.default()
    with contextlib.ExitStack() as stack:
        stack.callback(context.close)
        output = None
        if operation.streams and not parsed.json and not getattr(parsed, "background", False):
            output = _output(stack, judged=operation.name == "diff")
        caller = Caller(
            progress=_progress(stack, operation),
            output=output,
            stdin=_standard_input(stack) if getattr(parsed, "stdin", False) else None,
            content=_content(stack, operation, parsed),
        )
        if operation.name not in NO_RECONCILE:
            reaper.reconcile(context)
        result = operation.invoke(context, request, caller)
    if parsed.json and not ids_wanted:
        from sandlot.cli.answer import as_json

        print(as_json(result))
        return int(result.exit_status) if operation.passes_exit_code else words.exit_status(operation, result)
    from sandlot.cli import formats

    if ids_wanted:
        formats.print_ids(result)
    else:
        formats.print_result(operation.name, request, result)
    return int(result.exit_status) if operation.passes_exit_code else words.exit_status(operation, result)


def _output(stack: contextlib.ExitStack, *, judged: bool) -> Callable[[str, bytes], None]:
    writers = {"stdout": ByteWriter(sys.stdout, judged=judged), "stderr": ByteWriter(sys.stderr)}
    for writer in writers.values():
        stack.callback(writer.finish)
    return lambda stream, data: writers[stream].write(data)


def _progress(stack: contextlib.ExitStack, operation: Operation[Any, Any]) -> Callable[[str, int, int], None]:
    """A line on a terminal for what may take long; nothing elsewhere."""
    if not sys.stderr.isatty() or operation.effect.read_only:
        return lambda _phase, _done, _total: None
    from sandlot.cli.progress import ProgressLine

    return stack.enter_context(ProgressLine())


def _standard_input(stack: contextlib.ExitStack) -> BinaryIO:
    """Ours, without Python's buffer: a thread that waits in it could not be left behind at the end."""
    try:
        return stack.enter_context(open(0, "rb", buffering=0, closefd=False))
    except OSError as error:
        raise UsageError("standard input is closed", hint="leave --stdin out, or pipe something in") from error


def _content(
    stack: contextlib.ExitStack, operation: Operation[Any, Any], parsed: argparse.Namespace
) -> BinaryIO | bytes | None:
    """What the operation writes, when it is not given as text: from a file, or from standard input."""
    field = next((field for field, about in operation.arguments() if about.kind in ("content", "secret")), None)
    if field is None or getattr(parsed, field.name) is not None:
        return None
    if getattr(parsed, "from_file", None) is not None:
        try:
            return stack.enter_context(open(parsed.from_file, "rb"))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise PathNotFound(f"cannot read {parsed.from_file}: {reason}", hint="name a file of the host") from error
    if sys.stdin.isatty() and operation.name == "secret_set":
        from sandlot.cli.secrets import ask

        return ask(parsed.name)
    if sys.stdin.isatty():
        raise UsageError("there is nothing to write", hint="use --text, --from-file, or pipe it in")
    return _standard_input(stack)
