"""Errors and refusals: the mode is named, and hints speak of tools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from sandlot import errors
from sandlot.mcpserver.failures import failure_text, for_tools
from sandlot.mcpserver.tools import Tool, find_tool, tools_of
from sandlot.modes import surface
from tests.mcpserver.conftest import Talk

Run = Callable[..., Any]
SHOWN = surface("repro-fix")
TOOLS = tools_of(SHOWN)


def _tool(name: str) -> Tool:
    return find_tool(TOOLS, SHOWN, name)


@pytest.mark.parametrize(("hint", "wanted"), [
    ("sandlot workspace list", "workspace_list"),
    ("sandlot workspace logs ID", "workspace_logs"),
    ("sandlot workspace logs ID shows how far it came", "workspace_logs shows how far it came"),
    ("make the patch against what the workspace holds: sandlot workspace file read ID PATH",
     "make the patch against what the workspace holds: file_read"),
    ("sandlot workspace snapshot list ID", ""),  # not shown in this mode
    ("sandlot doctor", "ask the user to run: sandlot doctor"),
    ("sandlot repair", ""),
    ("try again in a moment", "try again in a moment"),
    ("name another destination, or say --overwrite", ""),  # no argument of this tool
    ("the user can name one: --export-dir", "the user can name one: --export-dir"),
    ("", ""),
])  # fmt: skip
def test_hints_speak_of_tools(hint: str, wanted: str) -> None:
    assert for_tools(hint, _tool("workspace_export"), TOOLS) == wanted


def test_an_option_that_is_an_argument_is_called_as_the_argument() -> None:
    hint = "look at sandlot workspace diff ID; --force takes the host's side"
    assert for_tools(hint, _tool("workspace_sync_push"), TOOLS) == "look at diff; force takes the host's side"


def _all_errors(kind: type[errors.SandlotError]) -> list[type[errors.SandlotError]]:
    return [kind, *(each for sub in kind.__subclasses__() for each in _all_errors(sub))]


def test_no_hint_of_any_error_sends_a_model_to_the_command_line() -> None:
    for mode in ("repro-fix", "inspect", "cold-start", "review-eval"):
        shown = surface(mode)
        tools = tools_of(shown)
        for kind in _all_errors(errors.SandlotError):
            for tool in tools:
                text = failure_text(kind("it failed"), tool, tools, "w")
                assert text.startswith(f"error {kind.code}: it failed")
                assert "--" not in text
                assert "sandlot " not in text.replace("ask the user to run: sandlot doctor", "")


HIDDEN = {
    "repro-fix": ("service_start", "shell_open", "snapshot_create", "secret_set", "workspace_apply", "workspace_fork"),
    "inspect": ("file_write", "patch_apply", "workspace_sync_push", "service_start", "shell_open", "workspace_reset"),
    "cold-start": ("file_write", "patch_apply", "shell_open", "snapshot_create", "file_search"),
    "review-eval": ("file_write", "patch_apply", "service_start", "secret_list"),
}


@pytest.mark.parametrize("mode", HIDDEN)
def test_a_hidden_tool_is_refused_in_the_name_of_the_mode(talk: Run, mode: str) -> None:
    async def work(with_: Talk) -> None:
        for name in HIDDEN[mode]:
            text = await with_.refusal(name, workspace="w")
            assert text.startswith("error invalid_argument: ")
            assert f"the startup mode {mode} does not show {name}" in text
        with pytest.raises(MCPError, match=mode):  # a tool that exists nowhere
            await with_.call("rm_rf_slash")
        assert await with_.text("workspace_list") == "no workspaces"

    talk(work, mode)


ARGUMENTS: list[tuple[str, dict[str, Any], str]] = [
    ("workspace_create", {"network": "open"}, "network"),
    ("workspace_create", {"allow": ["example.org"]}, "allow"),
    ("workspace_create", {"secrets": ["X=env:HOME@example.org"]}, "secrets"),
    ("workspace_create", {"min_isolation": "none"}, "min_isolation"),
    ("workspace_create", {"runtime": "none"}, "runtime"),
    ("workspace_create", {"toolchains": ["/root"]}, "toolchains"),
    ("workspace_exec", {"workspace": "w", "command": "ls", "reveal": ["X"]}, "reveal"),
    ("workspace_exec", {"workspace": "w", "comand": "ls"}, "comand"),
    ("workspace_delete", {"workspace": "w", "all": True}, "all"),
    ("workspace_list", {"x\ny\x1b[2J": 1}, "x"),
]


@pytest.mark.parametrize("mode", ["inspect", "repro-fix"])
def test_hidden_and_unknown_arguments_are_refused_in_the_name_of_the_mode(talk: Run, mode: str) -> None:
    async def work(with_: Talk) -> None:
        for tool, arguments, name in ARGUMENTS:
            text = await with_.refusal(tool, **arguments)
            assert f"{tool} of {mode} has no argument '{name}" in text, text
            assert "\x1b" not in text
        assert await with_.text("workspace_list") == "no workspaces"

    talk(work, mode)


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("workspace_exec", {}),
    ("workspace_exec", {"workspace": "w"}),
    ("workspace_exec", {"workspace": 7, "command": "ls"}),
    ("workspace_exec", {"workspace": "w", "command": ["ls"]}),
    ("workspace_exec", {"workspace": "w", "command": "ls", "background": "yes"}),
    ("workspace_exec", {"workspace": "w", "command": "ls", "env": ["A=B"]}),
    ("workspace_exec", {"workspace": "w", "command": "ls", "env": {"A": 1}}),
    ("workspace_exec", {"workspace": "w", "command": "ls\0", "timeout": "1s"}),
    ("workspace_exec", {"workspace": "w", "command": "ls", "timeout": "soon"}),
    ("workspace_logs", {"workspace": "w", "number": "one"}),
    ("workspace_logs", {"workspace": "w", "number": 10**400}),
    ("workspace_logs", {"workspace": "w", "number": -1}),
    ("workspace_create", {"name": "x" * 100_000}),
    ("workspace_create", {"name": "x" * 13_000_000}),
    ("workspace_create", {"labels": {str(number): "x" for number in range(5000)}}),
    ("file_list", {"workspace": "w", "path": "../../etc"}),
    ("file_read", {"workspace": "w", "path": "\ud800"}),
]


def test_wrong_arguments_are_a_clear_error_and_the_server_stays_up(talk: Run) -> None:
    async def work(with_: Talk) -> None:
        for tool, arguments in WRONG:
            text = await with_.refusal(tool, **arguments)
            assert text.startswith("error "), text
            assert "internal_error" not in text, text
            assert len(text) < 1500
        assert await with_.text("workspace_list") == "no workspaces"

    talk(work)


def test_a_read_only_server_shows_only_what_changes_nothing(talk: Run) -> None:
    async def work(with_: Talk) -> None:
        tools = (await with_.client.list_tools()).tools
        assert tools
        assert all(each.annotations is not None and each.annotations.read_only_hint for each in tools)
        text = await with_.refusal("workspace_exec", workspace="w", command="ls")
        assert "read-only" in text

    talk(work, read_only=True)
