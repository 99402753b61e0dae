"""A command and its output, as answers show them."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

from sandlot.errors import UsageError
from sandlot.model.command import CommandOutcome, CommandRecord, CommandState, Output
from sandlot.model.workspace import WorkspaceRecord
from sandlot.operations.denied import denied_during
from sandlot.operations.operation import argument
from sandlot.settings import seconds
from sandlot.workspaces import commands
from sandlot.workspaces.context import Context
from sandlot.workspaces.secrets import redactor_of

__all__ = [
    "CommandRequest",
    "CommandResult",
    "argv_of",
    "command_result",
    "exit_status",
    "timeout_of",
]

ANSWER_BYTES = 64 * 1024
TIMED_OUT = 124
"""Exit status of a command whose time was up, as of timeout(1)."""
ENDED = 128 + signal.SIGKILL


@dataclass(frozen=True, kw_only=True)
class CommandRequest:
    """What to run, and how."""

    command: tuple[str, ...] = argument(
        "the program and its arguments", default=(), positional=True, kind="command", metavar="COMMAND"
    )
    shell: str | None = argument("run this text by /bin/sh -c instead", default=None, short="c", metavar="TEXT")
    cwd: str = argument("working folder inside, absolute or below /workspace", default="/workspace", metavar="DIR")
    env: dict[str, str] = argument("an environment variable", factory=dict, kind="pairs", metavar="NAME=VALUE")
    timeout: str | None = argument(
        "end the whole process tree after this long, never: no limit [default: 2m]", default=None, kind="duration"
    )
    max_output: int = argument(
        "bytes of each stream in the answer; the rest is in the logs", default=ANSWER_BYTES, kind="size"
    )


@dataclass(frozen=True, slots=True)
class CommandResult:
    """A command as it is, and what it printed so far."""

    command: CommandRecord
    stdout: Output
    stderr: Output
    denied: tuple[str, ...] = field(default=(), kw_only=True)
    """``host:port`` of what the network policy refused while it ran, each with its count."""

    @property
    def exit_status(self) -> int:
        """What a shell would report: the exit code, 128 + signal, 124 for a timeout; 0 while it runs."""
        return 0 if self.command.outcome is None else exit_status(self.command.outcome)

    @property
    def ok(self) -> bool:
        """Whether it has exited with 0."""
        return self.command.outcome is not None and self.exit_status == 0


def exit_status(outcome: CommandOutcome) -> int:
    """The status of a command that has ended, as a shell would report it; 124 for a timeout."""
    if outcome.state is CommandState.TIMED_OUT:
        return TIMED_OUT
    if outcome.exit_code is not None:
        # Ended for a limit, what it had to say itself (a success, perhaps, when others of its tree went on) is void.
        return ENDED if outcome.limit is not None and outcome.state is CommandState.KILLED else outcome.exit_code
    name = outcome.signal or "SIGKILL"  # without one: lost with its workspace
    number = name.removeprefix("SIG")
    return 128 + (int(number) if number.isdigit() else signal.Signals[name].value)


def argv_of(request: CommandRequest) -> list[str]:
    """The argument vector. Raises UsageError unless exactly one of command and shell is given."""
    if request.shell is not None:
        if request.command:
            raise UsageError("a command and --shell exclude each other")
        return ["/bin/sh", "-c", request.shell]
    if not request.command:
        raise UsageError("there is no command to run", hint="put it after --, as in: -- pytest -q")
    return list(request.command)


def timeout_of(request: CommandRequest) -> float | None:
    """Seconds; None: no limit."""
    return commands.DEFAULT_TIMEOUT_S if request.timeout is None else seconds(request.timeout)


def command_result(context: Context, record: WorkspaceRecord, command: CommandRecord, limit: int) -> CommandResult:
    """The command with head and tail of its output."""
    folder = context.paths.workspace(record.id).command(command.number)
    outcome = command.outcome
    redactor = redactor_of(context, record)
    out, err = (outcome.stdout_bytes, outcome.stderr_bytes) if outcome else (None, None)
    return CommandResult(
        command,
        commands.read_output(folder, "stdout", out, limit=limit, redactor=redactor),
        commands.read_output(folder, "stderr", err, limit=limit, redactor=redactor),
        denied=denied_during(context, record, command),
    )
