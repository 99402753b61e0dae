"""Which server an entry starts."""

from __future__ import annotations

import itertools
import os
import sys

import pytest

from sandlot.errors import UsageError
from sandlot.hosts.launch import Invocation, Launch, Scope, is_ours, own_program
from sandlot.modes import CORE, FULL, StartupMode

LAUNCHES = [
    Launch(mode, None, read_only, project)
    for mode, read_only, project in itertools.product([None, *StartupMode], [False, True], [None, "/a b"])
] + [Launch(None, profile) for profile in (CORE, FULL)]
LAUNCHES.append(Launch(StartupMode.INSPECT, None, False, None, "debian:12", "auto", "vm-emulated"))


@pytest.mark.parametrize("launch", LAUNCHES, ids=str)
def test_what_is_written_is_read_back(launch: Launch) -> None:
    assert Launch.of(launch.words()) == launch
    assert is_ours(Invocation("uvx", ("sandlot", *launch.words())))


def test_words_that_nobody_wrote_are_passed_over() -> None:
    assert Launch.of(("mcp", "serve", "--mode", "nonsense", "--frobnicate")) == Launch()
    assert Launch.of(("mcp", "serve", "--frobnicate", "--mode", "inspect")).mode is StartupMode.INSPECT
    assert Launch.of(()) == Launch()


def test_a_mode_and_a_profile_exclude_each_other() -> None:
    with pytest.raises(UsageError):
        Launch(StartupMode.INSPECT, FULL)


def test_an_entry_of_the_users_names_this_installation_and_a_projects_none() -> None:
    program = own_program(Scope.USER)
    assert os.path.isabs(program[0])
    assert os.access(program[0], os.X_OK)
    assert program[0] == sys.executable or program[0].endswith("/sandlot")
    assert own_program(Scope.PROJECT) == ("sandlot",)


def test_without_a_console_script_the_interpreter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    assert own_program(Scope.USER) == ("/usr/bin/python3", "-m", "sandlot")


def test_other_servers_are_not_ours() -> None:
    assert not is_ours(Invocation("sandlot", ("workspace", "list")))
    assert not is_ours(Invocation("docker", ("mcp", "gateway", "serve")))
