"""What sandlot promises to those who import it, and that every operation has all its faces."""

from __future__ import annotations

import dataclasses
import inspect
import shlex
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

import sandlot
from sandlot import aio, errors, sdk
from sandlot.cli import words
from sandlot.cli.groups import EXTRA, GROUPS, find
from sandlot.errors import SandlotError, UsageError
from sandlot.operations import catalog
from sandlot.operations.operation import Operation
from sandlot.sdk.words import LimitWords
from tests.conftest import SOURCE

NAMES = [name for name, _, _ in catalog.LINES]

SDK_METHODS = {
    "workspace_run": "Sandlot.run",
    "workspace_create": "Sandlot.create",
    "workspace_list": "Sandlot.list",
    "workspace_status": "Workspace.status",
    "workspace_update": "Workspace.update",
    "workspace_exec": "Workspace.exec",
    "workspace_wait": "Workspace.wait",
    "workspace_kill": "Workspace.kill",
    "workspace_logs": "Workspace.logs",
    "workspace_summary": "Workspace.summary",
    "file_list": "Files.list",
    "file_read": "Files.read",
    "file_write": "Files.write",
    "file_search": "Files.search",
    "file_move": "Files.move",
    "file_delete": "Files.delete",
    "patch_apply": "Workspace.patch",
    "diff": "Workspace.diff",
    "workspace_apply": "Workspace.apply",
    "workspace_export": "Workspace.export",
    "workspace_sync_push": "Workspace.sync_push",
    "snapshot_create": "Snapshots.create",
    "snapshot_list": "Snapshots.list",
    "snapshot_delete": "Snapshots.delete",
    "secret_set": "Secrets.set",
    "secret_list": "Secrets.list",
    "secret_delete": "Secrets.delete",
    "workspace_reset": "Workspace.reset",
    "workspace_fork": "Workspace.fork",
    "service_start": "Services.start",
    "service_list": "Services.list",
    "service_status": "Services.status",
    "service_logs": "Services.logs",
    "service_stop": "Services.stop",
    "shell_open": "Shells.open",
    "shell_read": "Shell.read",
    "shell_write": "Shell.write",
    "shell_resize": "Shell.resize",
    "shell_signal": "Shell.signal",
    "shell_close": "Shell.close",
    "shell_list": "Shells.list",
    "workspace_start": "Workspace.start",
    "workspace_stop": "Workspace.stop",
    "workspace_delete": "Workspace.delete",
    "base_list": "Sandlot.bases",
    "base_prune": "Sandlot.prune_bases",
    "env_list": "Environments.list",
    "env_build": "Environments.build",
    "env_inspect": "Environments.inspect",
    "env_prune": "Environments.prune",
    "env_import": "Environments.import_image",
    "prepare": "Sandlot.prepare",
    "doctor": "Sandlot.doctor",
    "repair": "Sandlot.repair",
}


@pytest.fixture(params=NAMES)
def operation(request: pytest.FixtureRequest) -> Operation[Any, Any]:
    return catalog.load(request.param)


def test_the_front_door_is_exactly_this() -> None:
    assert sandlot.__all__ == [
        "AsyncSandlot",
        "AsyncWorkspace",
        "IsolationLevel",
        "Sandlot",
        "SandlotError",
        "Secret",
        "Workspace",
        "__version__",
    ]
    for name in sandlot.__all__:
        assert getattr(sandlot, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = sandlot.nonsense


@pytest.mark.parametrize("module", [sandlot, errors, sdk, aio, catalog, words], ids=lambda module: module.__name__)
def test_public_names_are_sorted_documented_and_exist(module: ModuleType) -> None:
    assert module.__all__ == sorted(module.__all__)
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), f"{name} says nothing about itself"


def test_importing_the_front_door_loads_none_of_the_rooms() -> None:
    code = "import sys, sandlot; print([name for name in sys.modules if name.startswith('sandlot.')])"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == "['sandlot._version']"


def test_every_error_has_a_code_of_its_own_and_says_what_it_means() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__]
    leaves = [kind for kind in kinds if kind not in {base for each in kinds for base in each.__bases__}]
    assert len({kind.code for kind in leaves}) == len(leaves)
    for kind in kinds:
        assert issubclass(kind, SandlotError)
        assert kind.__doc__
        assert kind is SandlotError or 2 <= kind.exit_status <= 8
    drawn = errors.__doc__ or ""
    assert all(kind.__name__ in drawn and kind.code in drawn for kind in leaves)


def test_every_error_that_is_raised_tells_the_next_step() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__]
    leaves = [kind for kind in kinds if kind not in {base for each in kinds for base in each.__bases__}]
    told_where_it_is_raised = {errors.SuiteInvalid, errors.NameTaken}
    assert {kind for kind in leaves if not kind("x").hint} == told_where_it_is_raised


def test_an_error_as_json_has_all_its_fields() -> None:
    error = errors.PatchRejected("the patch does not fit", details=("a.py: hunk 1",))
    assert error.to_json() == {
        "error": {
            "code": "patch_rejected",
            "message": "the patch does not fit",
            "hint": errors.PatchRejected.default_hint,
            "details": ["a.py: hunk 1"],
        }
    }


def test_an_unknown_operation_is_a_usage_error_that_names_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        catalog.load("workspace_explode")
    assert "workspace_create" in caught.value.hint


def test_the_catalog_and_the_operations_agree_on_names_and_commands() -> None:
    for name, command, _ in catalog.LINES:
        loaded = catalog.load(name)
        assert (loaded.name, loaded.command) == (name, tuple(command.split()))
        assert loaded.command[:-1] in GROUPS
    assert len(set(NAMES)) == len(NAMES) == len(catalog.BY_COMMAND)


def test_every_operation_has_a_typed_method_with_documentation(operation: Operation[Any, Any]) -> None:
    owner, _, method = SDK_METHODS[operation.name].partition(".")
    function = getattr(getattr(sdk, owner), method)
    assert inspect.getdoc(function)
    hints = function.__annotations__
    assert set(hints) == {*inspect.signature(function).parameters, "return"} - {"self"}
    assert "Any" not in hints.values()
    asynchronous = getattr(getattr(aio, f"Async{owner}"), method)
    assert inspect.iscoroutinefunction(asynchronous)


def test_the_method_offers_what_the_request_takes(operation: Operation[Any, Any]) -> None:
    owner, _, method = SDK_METHODS[operation.name].partition(".")
    function = getattr(getattr(sdk, owner), method)
    offered = set(inspect.signature(function).parameters)
    if "limits" in offered and "LimitWords" in str(function.__annotations__["limits"]):
        offered |= LimitWords.__annotations__.keys()
    taken = {field.name for field in dataclasses.fields(operation.request)}
    spelled_otherwise = {
        "workspace",
        "workspaces",
        "shell",
        "command",
        "content",
        "all",
        "labels",
        "depth",
        "handle",
        "offset",
    }
    missing = taken - offered - spelled_otherwise
    left_to_the_command_line = {
        "service_logs": {"follow"},  # a method of its own
        "service_start": {"no_wait"},  # it is wait=
        "workspace_run": {"ref", "include_ignored", "committed_only", "runtime", "min_isolation"},
        "workspace_sync_push": {"include_ignored", "committed_only"},
    }
    assert missing <= left_to_the_command_line.get(operation.name, set())


def test_every_operation_says_what_it_does_and_shows_how(operation: Operation[Any, Any]) -> None:
    assert operation.summary[0].isupper()
    assert operation.summary.endswith(".")
    assert operation.examples
    assert inspect.getdoc(operation.run)
    assert inspect.getdoc(operation.request)


def test_every_field_of_a_request_has_help(operation: Operation[Any, Any]) -> None:
    for field, about in operation.arguments():
        assert about.help, field.name
        assert not about.help.endswith("."), field.name


def sandlot_commands(line: str) -> list[list[str]]:
    """The words behind each ``sandlot`` of a shell line: an example may hold redirections, pipes and $(...)."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    found: list[list[str]] = []
    current: list[str] | None = None
    for token in lexer:
        if token == "sandlot":
            current = []
            found.append(current)
        elif set(token) <= set("();<>|&"):
            current = None
        elif current is not None:
            current.append(token)
    return found


def test_every_example_is_understood_by_the_real_parser(operation: Operation[Any, Any]) -> None:
    for line in operation.examples:
        (command,) = sandlot_commands(line)
        own, _, behind = " ".join(shlex.quote(word) for word in command).partition(" -- ")
        name, rest, _ = find(shlex.split(own))
        assert name == operation.name, line
        parsed = words.build(operation).parse_args(rest)
        request = words.request_of(operation, parsed, shlex.split(behind) if behind else None)
        assert isinstance(request, operation.request)


def test_every_command_line_option_is_spelled_with_dashes_and_has_help(operation: Operation[Any, Any]) -> None:
    for action in words.build(operation)._actions:
        assert action.help, action.dest
        assert all("_" not in option for option in action.option_strings)


def test_an_operation_that_only_reads_destroys_nothing(operation: Operation[Any, Any]) -> None:
    assert not (operation.effect.read_only and operation.effect.destructive)


def test_groups_and_extras_do_not_hide_operations() -> None:
    assert not set(EXTRA) & set(catalog.BY_COMMAND)
    assert not set(GROUPS) & set(catalog.BY_COMMAND)


def test_the_asynchronous_classes_have_every_public_method_of_the_others() -> None:
    for name in sdk.__all__:
        public = {each for each in vars(getattr(sdk, name)) if not each.startswith("_") and each != "call"}
        assert public <= {each for each in dir(getattr(aio, f"Async{name}")) if not each.startswith("_")}
