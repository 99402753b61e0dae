"""The modes as the public contract has them: tools, arguments that never show, budgets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sandlot.errors import UsageError
from sandlot.mcpserver.tools import Tool, find_tool, tools_of, visible_bytes
from sandlot.modes import CORE, FULL, NEVER, UNSEEN, StartupMode, Surface, surface, surfaces
from sandlot.operations import catalog

LOOK = "workspace_create workspace_list workspace_status workspace_exec file_list file_read"
END = "diff workspace_export workspace_summary workspace_logs workspace_delete"
SHOWN = {
    StartupMode.REPRO_FIX: f"{LOOK} workspace_update file_search file_write patch_apply workspace_reset "
    f"workspace_sync_push {END}",
    StartupMode.INSPECT: f"{LOOK} file_search {END}",
    StartupMode.COLD_START: f"{LOOK} workspace_update service_start service_list service_status service_logs "
    f"service_stop workspace_reset {END.removeprefix('diff ')}",
    StartupMode.REVIEW_EVAL: f"{LOOK} workspace_update shell_open shell_read shell_write shell_signal shell_close "
    f"snapshot_create snapshot_list snapshot_delete workspace_reset file_search "
    f"eval_run eval_results eval_compare {END}",
}
"""The public contract: changing a line here is a change for everybody who uses that mode."""


@pytest.fixture(params=[each.name for each in surfaces()])
def shown(request: pytest.FixtureRequest) -> Surface:
    return next(each for each in surfaces() if each.name == request.param)


def tool(name: str, mode: str | None = None, profile: str | None = None) -> Tool:
    found = surface(mode, profile=profile)
    return find_tool(tools_of(found), found, name)


@pytest.mark.parametrize("mode", StartupMode)
def test_a_mode_shows_exactly_its_tools(mode: StartupMode) -> None:
    assert {each.name for each in tools_of(surface(mode))} == set(SHOWN[mode].split())


def test_what_a_mode_shows_stays_within_its_budget(shown: Surface) -> None:
    tools = tools_of(shown)
    assert len({each.name for each in tools}) == len(tools)
    if shown.budget:
        assert visible_bytes(tools) <= 4 * shown.budget
    assert all(len(each.description) <= 200 for each in tools)
    assert len(shown.instructions) <= 2000
    assert "workspace_create" in shown.instructions[:400]


def test_the_same_surface_has_the_same_bytes(shown: Surface) -> None:
    first, again = (json.dumps([each.input_schema for each in tools_of(shown)]) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("mode", [*StartupMode, None])
def test_no_mode_shows_network_or_secret_arguments_but_the_presets_of_a_cold_start(mode: str | None) -> None:
    closed = NEVER | {"network", "allow", "publish", "runtime", "min_isolation"}
    for each in tools_of(surface(mode)):
        names = {one.name for one in each.inputs}
        assert not names & closed
        assert ("allow_preset" in names) == (mode == StartupMode.COLD_START and each.name == "workspace_create")


def test_the_full_surface_is_every_operation_but_those_that_work_on_the_host() -> None:
    tools = tools_of(surface(profile=FULL))
    assert {each.name for each in tools} == {name for name, _, _ in catalog.LINES} - UNSEEN
    assert not {one.name for each in tools for one in each.inputs} & NEVER


def test_inspect_pins_what_a_workspace_of_unknown_code_must_have() -> None:
    request = tool("workspace_create", "inspect").request({"name": "x"})
    assert (request.network, request.min_isolation) == ("off", "kernel")
    request = tool("workspace_create", "cold-start").request({"allow_preset": ["python-packages"]})
    assert request.committed_only
    assert request.allow_preset == ("python-packages",)
    assert tool("shell_read", "review-eval").request({"workspace": "w", "shell": "s"}).plain


def test_read_only_narrows_everything(shown: Surface) -> None:
    narrowed = surface(
        None if shown.name in (CORE, FULL) else shown.name, profile=FULL if shown.name == FULL else None, read_only=True
    )
    tools = tools_of(narrowed)
    assert tools
    assert all(each.annotations["readOnlyHint"] for each in tools)
    with pytest.raises(UsageError, match="read-only"):
        find_tool(tools, narrowed, "workspace_exec")


def test_an_argument_that_is_hidden_or_unknown_is_refused_and_the_mode_named() -> None:
    given: tuple[dict[str, Any], ...] = (
        {"network": "open"}, {"nonsense": 1}, {"secrets": []}, {"allow": ["a.example"]},
    )  # fmt: skip
    for arguments in given:
        with pytest.raises(UsageError, match="inspect has no argument"):
            tool("workspace_create", "inspect").request(arguments)


def test_a_hidden_tool_is_refused_and_the_mode_named() -> None:
    found = surface("inspect")
    with pytest.raises(UsageError, match="startup mode inspect does not show file_write"):
        find_tool(tools_of(found), found, "file_write")
    with pytest.raises(UsageError, match="there is no tool"):
        find_tool(tools_of(found), found, "nonsense")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("workspace_exec", {"workspace": "w"}),
        ("workspace_exec", {"command": "true"}),
        ("workspace_exec", {"workspace": 1, "command": "true"}),
        ("workspace_exec", {"workspace": "w", "command": ["true"]}),
        ("workspace_exec", {"workspace": "w", "command": "a\0b"}),
        ("workspace_exec", {"workspace": "w", "command": "true", "env": ["A=1"]}),
        ("workspace_exec", {"workspace": "w", "command": "true", "env": {"A": 1}}),
        ("workspace_exec", {"workspace": "w", "command": "true", "background": "yes"}),
        ("file_read", {"workspace": "w", "path": "p", "lines": True}),
        ("file_read", {"workspace": "w", "path": "p", "lines": 1.5}),
        ("file_read", {"workspace": "w", "path": "p", "lines": 1e300}),
        ("file_read", {"workspace": "w", "path": "p", "lines": float("inf")}),
        ("file_read", {"workspace": "w", "path": "p", "lines": float("nan")}),
        ("file_read", {"workspace": "w", "path": "p", "lines": 10**400}),
        ("file_read", {"workspace": "w", "path": "\ud800"}),
        ("file_write", {"workspace": "w", "path": "p"}),
        ("diff", {"workspace": "w", "paths": "a"}),
        ("diff", {"workspace": "w", "paths": {"a": "b"}}),
        ("diff", {"workspace": "w", "paths": ["a"] * 1001}),
        ("workspace_create", {"labels": "a=b"}),
    ],
)
def test_an_argument_of_the_wrong_type_is_an_error_that_says_what_is_expected(
    name: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(UsageError) as caught:
        tool(name).request(arguments)
    assert caught.value.hint


def test_arguments_become_the_request_s_fields() -> None:
    request = tool("workspace_exec").request(
        {"workspace": "w", "command": "make test", "timeout": 90, "env": {"CI": "1"}, "cwd": None}
    )
    assert (request.shell, request.timeout, request.env, request.cwd) == ("make test", "90s", {"CI": "1"}, "/workspace")
    assert tool("workspace_delete").request({"workspace": "w"}).workspaces == ("w",)
    assert tool("file_read").request({"workspace": "w", "path": "p", "lines": 3.0}).lines == 3


def test_a_mode_and_a_profile_that_do_not_exist_or_exclude_each_other_are_errors() -> None:
    for mode, profile in (("fix", None), (None, "all"), ("inspect", FULL), (None, "inspect")):
        with pytest.raises(UsageError):
            surface(mode, profile=profile)
