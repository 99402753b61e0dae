"""Printing results and errors."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import Any

from sandlot.cli.terminal import shown
from sandlot.errors import SandlotError

__all__ = ["Interrupted", "as_json", "internal", "print_error"]


class Interrupted(SandlotError):
    """ctrl-C: what ran inside for us has been ended."""

    code = "interrupted"
    exit_status = 130


class InternalError(SandlotError):
    """A bug of ours."""

    code = "internal_error"
    exit_status = 70
    default_hint = "this is a bug in sandlot: please report it; SANDLOT_DEBUG=1 shows a traceback"


def internal(error: Exception) -> InternalError:
    """An exception that nobody expected, as an error like any other."""
    if os.environ.get("SANDLOT_DEBUG"):
        import traceback

        traceback.print_exception(error)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else ""
    return InternalError(f"unexpected {type(error).__name__}{where}: {error}")


def as_json(value: object) -> str:
    """A result as one line of ASCII JSON: enums as their words, lone surrogates and control codes as escapes."""
    return json.dumps(plain(value))


def plain(value: object) -> Any:
    """Dataclasses as objects, tuples as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    return value


def print_error(error: SandlotError, *, json_wanted: bool) -> None:
    """The error for a person on stderr, or for a program on stdout."""
    if json_wanted:
        print(as_json(error.to_json()))
        return
    sys.stdout.flush()
    print(f"error: {shown(error.message)}", file=sys.stderr)
    for line in error.details:
        print(f"  {shown(line)}", file=sys.stderr)
    if error.hint:
        print(f"hint: {shown(error.hint)}", file=sys.stderr)
