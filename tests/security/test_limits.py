"""Case 9: who uses more than it may, or goes for those who watch, is ended; the answer says why, nobody else notices.

The attacks are programs in ``attacks/limits.py``. Each would go on for seconds and take many times what is allowed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import GUESTS, NAMESPACES
from tests.security.conftest import ATTACKS, Attacker

DRIVER = (Path(__file__).parent / "drivers" / "limits.py").read_text()
GO_ON_S = 45
"""How long an attack goes on in an emulated guest that nobody ends; the driver waits less for its last process."""
LIMITS = {"memory": "128M", "processes": 64, "disk": "20M", "inodes": 2000, "tmp": "20M", "open_files": 256}
Report = dict[str, dict[str, Any]]


@pytest.fixture
def attack(attacker: Attacker) -> Callable[..., Report]:
    """Run attacks one after the other, with a reset behind each."""

    def run(*names: str, **limits: Any) -> Report:
        source = (ATTACKS / "limits.py").read_text()
        if GUESTS:  # both sides are many times slower there
            source = source.replace("GO_ON_S = 8", f"GO_ON_S = {GO_ON_S}")
        plan = {"source": source, "attacks": names, "limits": {**LIMITS, **limits}, "environment": {}}
        done = attacker._run(["-c", DRIVER, json.dumps(plan)])
        assert done.returncode == 0, done.stderr.decode()[-3000:]
        found: Report = json.loads(done.stdout)["attacks"]
        for name, report in found.items():
            assert report["sibling"] == "fine\n", name  # while the attack went on
            assert report["answers"] == "running", name
            assert report["left"] == 0, name
            assert (report["clean"], report["after"]) == (True, "0"), name
        return found

    return run


def limits_hit(found: Report) -> dict[str, tuple[str, str | None]]:
    return {name: (report["state"], report["limit"]) for name, report in found.items()}


def killed_for(limit: str, *names: str) -> dict[str, tuple[str, str]]:
    return dict.fromkeys(names, ("killed", limit))


def test_a_fork_bomb_is_ended_however_it_spreads(attack: Callable[..., Report]) -> None:
    names = ("fork_bomb", "thread_bomb")
    found = attack(*names, "escaping_bomb")
    escaped = found.pop("escaping_bomb")  # its command is over at once; what it left behind is ended (see above)
    ends = (("exited", None), ("killed", "processes"), *([("killed", "memory")] if GUESTS else []))
    assert (escaped["state"], escaped["limit"]) in ends
    assert limits_hit(found) == killed_for("processes", *names)
    assert {(report["status"], report["ok"]) for report in found.values()} == {(137, False)}


def test_memory_is_found_wherever_it_is_kept(attack: Callable[..., Report]) -> None:
    names = ("memory_private", "memory_in_many", "memory_shared", "memory_nameless", "memory_system_v")
    assert limits_hit(attack(*names)) == killed_for("memory", *names)


def test_memory_files_that_nobody_can_see_are_found(attack: Callable[..., Report]) -> None:
    names = ("memory_undumpable", "memory_in_flight")
    assert limits_hit(attack(*names)) == killed_for("memory", *names)


def test_who_goes_for_the_watchers_is_ended_all_the_same(attack: Callable[..., Report]) -> None:
    names = ("stopped_supervisor", "starved_watcher")
    assert limits_hit(attack(*names)) == killed_for("memory", *names)


def test_what_a_killed_supervisor_leaves_behind_is_ended_too(attack: Callable[..., Report]) -> None:
    assert limits_hit(attack("killed_supervisor")) == {"killed_supervisor": ("interrupted", None)}


def test_the_disk_is_kept_free_wherever_files_are_hidden(attack: Callable[..., Report]) -> None:
    names = ("disk_plain", "disk_home", "disk_deleted", "disk_mapped", "disk_closed", "disk_deep", "disk_reserved")
    found = attack(*names)
    if GUESTS:  # its file system has no room for more, and the kernel says so
        deleted = found.pop("disk_deleted")  # with who had it open it is gone, and which one was full is a guess
        assert (deleted["state"], deleted["limit"] in ("disk", "tmp")) == ("exited", True)
        expected = dict.fromkeys(found, ("exited", "disk"))
        assert limits_hit(found) == expected | {"disk_mapped": ("signaled", None)}
        return
    assert limits_hit(found) == killed_for("disk", *names)
    assert not found["disk_deleted"]["refused"]  # with who had it open, it is gone


@NAMESPACES
def test_who_ends_or_stops_the_measuring_is_blamed_for_what_is_lost(attack: Callable[..., Report]) -> None:
    names = ("disk_unmeasured", "disk_stopped_measuring")
    assert limits_hit(attack(*names)) == killed_for("disk", *names)


def test_inodes_run_out_for_the_workspace_only(attack: Callable[..., Report]) -> None:
    names = ("inodes", "inodes_of_tmp")
    if GUESTS:  # a memory file system's are the guest's own memory
        assert limits_hit(attack("inodes")) == {"inodes": ("exited", "disk")}
        return
    assert limits_hit(attack(*names)) == killed_for("inodes", *names)


def test_a_memory_file_system_that_is_full_is_named(attack: Callable[..., Report]) -> None:
    found = attack("memory_unlinked")["memory_unlinked"]
    assert (found["state"], found["limit"], found["status"]) == ("exited", "tmp", 1)


def test_ten_thousand_descriptors_are_refused_and_named(attack: Callable[..., Report]) -> None:
    found = attack("open_files")["open_files"]
    assert (found["state"], found["limit"], found["status"]) == ("exited", "open_files", 1)
    assert 200 < int(found["stdout"]) < 256


def test_nobody_touches_the_agent_or_raises_a_limit(attack: Callable[..., Report]) -> None:
    found = attack("renice", "raised")
    tried = json.loads(found["renice"]["stdout"])
    assert len(tried) > 10
    assert set(tried.values()) == {"EPERM"}
    assert "OK" not in json.loads(found["raised"]["stdout"]).values()


def test_processor_time_is_held_back(attack: Callable[..., Report]) -> None:
    """As root by a control group where there is one, else by the set of processors, which nobody can widen."""
    found = attack("processors", cpus=1)
    report = json.loads(found["processors"]["stdout"])
    assert report["time"] < 1.5 * report["wall"]
    if (os.cpu_count() or 1) > 1 and not GUESTS and report["set"] == 1:
        assert report["widened"] == "EPERM"
