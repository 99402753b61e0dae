"""The one seam at which values of secrets are blanked out of everything an operation tells.

Its answer, what it streams and its error pass through here, whatever the operation is: a new one needs no thought.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from sandlot.errors import SandlotError
from sandlot.operations.operation import Caller
from sandlot.workspaces.context import Context
from sandlot.workspaces.redaction import Masking, Redactor

__all__ = ["hidden", "hiding_in"]

Res = TypeVar("Res")


def hiding_in(context: Context, workspace: str) -> Redactor | None:
    """What hides the secrets of the workspace with this id or name; None: it has none, or does not exist."""
    from sandlot.workspaces.secrets import redactor_of

    try:
        return redactor_of(context, context.store.find(workspace))
    except SandlotError:
        return None  # the operation itself says what is wrong


def hidden(redactor: Redactor, caller: Caller, work: Callable[[Caller], Res]) -> Res:
    """Run ``work`` with a caller that is shown no values, and answer without any."""
    streams: dict[str, Masking] = {}
    output = caller.output

    def show(stream: str, data: bytes) -> None:
        masked = streams.setdefault(stream, Masking(redactor)).feed(data)
        if masked and output is not None:
            output(stream, masked)

    try:
        result = work(caller if output is None else replace(caller, output=show))
    except SandlotError as error:
        redactor.error(error)
        raise
    finally:
        for stream, masking in streams.items():
            rest = masking.flush()
            if rest and output is not None:
                output(stream, rest)
    shown: Res = redactor.value(result)
    return shown
