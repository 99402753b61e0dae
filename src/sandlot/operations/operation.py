"""What an operation is: a request, a result, and how to get from one to the other.

The CLI command, the MCP tool with its schema and the reference page are derived from the request dataclass, so a field
is described once, here, by ``argument``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, TypeVar

from sandlot.errors import UsageError

if TYPE_CHECKING:
    from sandlot.workspaces.cancellation import Cancellation
    from sandlot.workspaces.context import Context

Req = TypeVar("Req")
Res = TypeVar("Res")

__all__ = ["Argument", "Caller", "Effect", "Operation", "argument", "arguments_of", "check_numbers"]


@dataclass(frozen=True, slots=True)
class Argument:
    """How faces present one field of a request."""

    help: str
    positional: bool = False
    metavar: str | None = None
    short: str | None = None
    kind: str = "plain"
    """``plain``; ``duration`` (90s, 2h, never); ``size`` (64K, 2G); ``pairs`` (KEY=VALUE, repeatable); ``command`` (all
    words after ``--``); ``content`` (text, or from a file or stdin); ``secret`` (where a value is, or from stdin)."""
    host_path: bool = False
    """Whether the value names something on the host: the MCP server confines these."""
    least: int | None = None
    most: int | None = None


def argument(
    help: str,
    *,
    default: Any = dataclasses.MISSING,
    factory: Callable[[], Any] | None = None,
    **details: Any,
) -> Any:
    """A field of a request."""
    metadata = {"argument": Argument(help, **details)}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Effect:
    """What an operation may change (the annotations of an MCP tool)."""

    read_only: bool = False
    destructive: bool = False
    idempotent: bool = False


def arguments_of(request: Any) -> list[tuple[dataclasses.Field[Any], Argument]]:
    """The fields of a request, or of its class, and how to present them, in order."""
    return [(each, each.metadata["argument"]) for each in dataclasses.fields(request)]


def check_numbers(request: object) -> None:
    """Whether every number of a request is within its bounds. Raises UsageError."""
    for each, about in arguments_of(request):
        value = getattr(request, each.name)
        if not isinstance(value, int) or isinstance(value, bool):
            continue
        least = 0 if about.kind == "size" and about.least is None else about.least
        if least is not None and value < least:
            raise UsageError(f"{each.name} must be at least {least}")
        if about.most is not None and value > about.most:
            raise UsageError(f"{each.name} must be at most {about.most}")


def _no_progress(_phase: str, _done: int, _total: int) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Caller:
    """What a face offers to an operation while it runs."""

    progress: Callable[[str, int, int], None] = _no_progress
    """(phase, done, total) of something long; an empty phase: nothing long any more, what comes is the work itself."""
    output: Callable[[str, bytes], None] | None = None
    """Takes what the operation streams, as it comes: ``stdout`` or ``stderr``, and bytes. The answer has none of it
    then (a command's has head and tail all the same)."""
    stdin: bytes | BinaryIO | None = None
    content: bytes | BinaryIO | None = None
    """Content to write, when it is not in the request."""
    cancellation: Cancellation | None = None
    """Ends a command, or the waiting for one, from outside."""


@dataclass(frozen=True, slots=True)
class Operation(Generic[Req, Res]):
    """One thing a user may do."""

    name: str
    """The MCP tool's name."""
    command: tuple[str, ...]
    """The CLI's words."""
    summary: str
    request: type[Req]
    run: Callable[[Context, Req, Caller], Res]
    effect: Effect = Effect()
    examples: tuple[str, ...] = ()
    passes_exit_code: bool = False
    """Whether the CLI exits with the command's status; its own errors are 125 then."""
    streams: bool = False
    """Whether it hands what it reads or runs to ``Caller.output``, byte for byte and all of it."""

    def invoke(self, context: Context, request: Req, caller: Caller | None = None) -> Res:
        """Check the request's numbers, then run. Raises UsageError, and whatever the operation raises."""
        check_numbers(request)
        caller = caller or Caller()
        workspace = getattr(request, "workspace", None)
        if workspace is None or not context.store.secretive(workspace):
            return self.run(context, request, caller)
        return self._without_secrets(context, workspace, request, caller)

    def _without_secrets(self, context: Context, workspace: str, request: Req, caller: Caller) -> Res:
        from sandlot.operations.hidden import hidden, hiding_in

        redactor = hiding_in(context, workspace)
        if redactor is None:
            return self.run(context, request, caller)
        return hidden(redactor, caller, lambda shown: self.run(context, request, shown))

    def arguments(self) -> list[tuple[dataclasses.Field[Any], Argument]]:
        """The request's fields and how to present them, in order."""
        return arguments_of(self.request)
