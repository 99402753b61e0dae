"""What every operation has in common: requests are checked before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from sandlot.cli import words
from sandlot.errors import UsageError
from sandlot.model.command import CommandOutcome, CommandState
from sandlot.operations import catalog
from sandlot.operations.executed import exit_status
from sandlot.paths import Paths
from sandlot.settings import Settings
from sandlot.workspaces.context import Context


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A context in which nothing exists: whatever is done fails, whatever is checked first does not."""
    return Context(Paths.at(tmp_path / "state"), Settings())


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("workspace_fork", {"workspace": "x", "count": 0}),
        ("workspace_fork", {"workspace": "x", "count": 101}),
        ("workspace_exec", {"workspace": "x", "command": ("true",), "max_output": -1}),
        ("workspace_wait", {"workspace": "x", "number": 0}),
        ("workspace_kill", {"workspace": "x", "number": -1}),
        ("workspace_logs", {"workspace": "x", "count": 1001}),
        ("file_read", {"workspace": "x", "path": "a", "first_line": 0}),
        ("file_read", {"workspace": "x", "path": "a", "offset": -1}),
        ("file_read", {"workspace": "x", "path": "a", "max_bytes": 0}),
        ("file_list", {"workspace": "x", "limit": 0}),
        ("file_search", {"workspace": "x", "pattern": "a", "context": 101}),
        ("patch_apply", {"workspace": "x", "strip": 10}),
        ("diff", {"workspace": "x", "max_bytes": -1}),
        ("diff", {"workspace": "x", "offset": -1}),
    ],
    ids=str,
)
def test_numbers_out_of_bounds_are_refused_before_anything_is_looked_up(
    context: Context, name: str, wrong: Mapping[str, object]
) -> None:
    operation = catalog.load(name)
    with pytest.raises(UsageError, match=r"must be at (least|most)"):
        operation.invoke(context, operation.request(**wrong))
    assert not context.paths.state.exists()


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("workspace_create", "src --label a=b --label c=d=e", {"source": "src", "labels": {"a": "b", "c": "d=e"}}),
        ("workspace_create", "--toolchain /a --toolchain /b", {"source": None, "toolchains": ("/a", "/b")}),
        ("workspace_exec", "x --env A= -c true", {"env": {"A": ""}, "shell": "true", "command": ()}),
        ("workspace_update", "x --clear-label a --clear-label b", {"clear_labels": ("a", "b")}),
        ("diff", "x a b --to s", {"workspace": "x", "paths": ("a", "b"), "to": "s"}),
        ("workspace_reset", "x", {"to": "baseline"}),
        ("workspace_delete", "x y", {"workspaces": ("x", "y")}),
        ("file_search", "x pat -F", {"pattern": "pat", "literal": True, "path": "."}),
        ("workspace_exec", "x --max-output 2K", {"max_output": 2048}),
    ],
)
def test_words_of_the_command_line_become_the_request(name: str, line: str, expected: Mapping[str, object]) -> None:
    operation = catalog.load(name)
    request = words.request_of(operation, words.build(operation).parse_args(line.split()), None)
    assert {key: getattr(request, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("state", "exit_code", "signal", "status"),
    [
        (CommandState.EXITED, 0, None, 0),
        (CommandState.EXITED, 255, None, 255),
        (CommandState.SIGNALED, None, "SIGSEGV", 139),
        (CommandState.SIGNALED, None, "SIG35", 163),
        (CommandState.KILLED, None, "SIGKILL", 137),
        (CommandState.KILLED, 3, None, 3),
        (CommandState.TIMED_OUT, None, "SIGTERM", 124),
        (CommandState.TIMED_OUT, 0, None, 124),
        (CommandState.INTERRUPTED, None, None, 137),
    ],
)
def test_the_status_of_a_command_is_what_a_shell_would_say(
    state: CommandState, exit_code: int | None, signal: str | None, status: int
) -> None:
    assert exit_status(CommandOutcome(state, exit_code, signal, 0, 0, 0, 0, 0)) == status
