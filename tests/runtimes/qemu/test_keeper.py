"""A guest, its keeper and its launcher: whoever of them dies, nothing is left."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import warnings
from pathlib import Path

import pytest

from sandlot import process
from sandlot.errors import AgentUnresponsive, StartFailed
from sandlot.model.limits import Limits
from sandlot.model.workspace import Instance
from sandlot.runtimes.base import AREA_TARGETS, AreaMount, LaunchRequest
from sandlot.runtimes.channel import Channel
from sandlot.runtimes.conformance_guest import Guest, eventually, mentions
from sandlot.runtimes.qemu.places import Places, leftovers
from sandlot.runtimes.qemu.runtime import QemuRuntime
from sandlot.runtimes.qemu.template import key_of, known
from tests.runtimes.qemu.guests import NEEDS_QEMU, paths_in

pytestmark = [NEEDS_QEMU, pytest.mark.slow, pytest.mark.xdist_group("guests")]


def request_in(folder: Path) -> LaunchRequest:
    """Two empty areas and a disk that is to be made."""
    areas = []
    for name, target in AREA_TARGETS.items():
        for part in ("upper", "work", "lower"):
            (folder / name / part).mkdir(parents=True)
        areas.append(AreaMount(target, folder / name / "upper", folder / name / "work", (folder / name / "lower",)))
    return LaunchRequest("one", tuple(areas), folder / "sock", folder / "log", disk=folder / "data.img")


@pytest.fixture
def runtime(tmp_path: Path) -> QemuRuntime:
    return QemuRuntime(paths_in(tmp_path / "state"))


def both_gone(instance: Instance) -> bool:
    parts = ((instance.agent_pid, instance.agent_start), (instance.monitor_pid, instance.monitor_start))
    return not any(process.ProcessIdentity(*part, instance.boot).alive() for part in parts)


@pytest.mark.parametrize("who", ["agent_pid", "monitor_pid"])
def test_qemu_and_its_keeper_end_together(runtime: QemuRuntime, tmp_path: Path, who: str) -> None:
    request = request_in(tmp_path)
    instance = runtime.launch(request)
    runtime.release(instance, request.socket)
    os.kill(getattr(instance, who), signal.SIGKILL)
    eventually(lambda: both_gone(instance), "QEMU and its keeper are gone")
    assert not runtime.alive(instance)
    with pytest.raises(AgentUnresponsive), Channel(request.socket):
        pass


def test_qemu_has_no_privilege_and_a_filter_for_system_calls(runtime: QemuRuntime, tmp_path: Path) -> None:
    request = request_in(tmp_path)
    instance = runtime.launch(request)
    try:
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{instance.agent_pid}/status").read_text().splitlines() if line
        )
        names = ("CapPrm", "CapEff", *(["CapBnd"] if os.geteuid() == 0 else []))
        assert [status[name].strip() for name in names] == ["0" * 16] * len(names)
        assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")
        environment = Path(f"/proc/{instance.agent_pid}/environ").read_bytes().split(b"\0")
        assert sorted(filter(None, environment)) == [b"LC_ALL=C", b"PATH=/usr/bin:/bin"]
    finally:
        runtime.kill(instance)


def test_a_guest_whose_agent_ended_is_gone(runtime: QemuRuntime, tmp_path: Path) -> None:
    request = dataclasses.replace(request_in(tmp_path), idle_timeout_s=1)
    instance = runtime.launch(request)
    runtime.release(instance, request.socket)
    eventually(lambda: both_gone(instance), "the guest ends with its agent")


def test_what_a_killed_guest_has_written_is_there_again(runtime: QemuRuntime, tmp_path: Path) -> None:
    request = request_in(tmp_path)
    for expected in (b"", b"kept\n"):
        instance = runtime.launch(request)
        runtime.release(instance, request.socket)
        guest = Guest(runtime, instance, request)
        assert guest.output("cat file 2>/dev/null; echo kept > file; sync").stdout == expected
        runtime.kill(instance)


def test_clones_of_one_template_have_nothing_random_in_common(runtime: QemuRuntime, tmp_path: Path) -> None:
    seen: set[bytes] = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        request = dataclasses.replace(request_in(tmp_path / name), hostname=name)
        instance = runtime.launch(request)
        try:
            guest = Guest(runtime, instance, request)
            told = guest.output("head -c 32 /dev/urandom | od -An -tx1; hostname; cat /proc/sys/kernel/random/uuid")
            lines = told.stdout.split(b"\n")
            assert name.encode() in lines
            seen.update(line for line in lines if line and line != name.encode())
        finally:
            runtime.kill(instance)
    assert len(seen) == 6


def test_inside_there_is_no_device_no_network_and_no_privilege(runtime: QemuRuntime, tmp_path: Path) -> None:
    request = request_in(tmp_path)
    instance = runtime.launch(request)
    try:
        guest = Guest(runtime, instance, request)
        script = (
            "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status | tr '\\n' ' '; echo;"
            "cat /dev/vda /dev/vdb /dev/vdc 2>/dev/null | head -c 1 | wc -c; ls /dev | grep -c -E 'port|mem|kmsg|ttyS';"
            "ls /sys | wc -l; cut -d: -f1 /proc/net/dev | grep -c -v -E 'lo|\\|';"
            "unshare -U true 2>/dev/null && echo namespaces; ls /run/sandlot/bridge /run/sandlot/disk 2>/dev/null"
        )
        lines = guest.output(script).stdout.decode().splitlines()
        assert lines[0] == "1000"
        assert lines[1].split() == ["CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"]
        assert lines[2:] == ["0", "0", "0", "0"]
    finally:
        runtime.kill(instance)


def test_a_guest_that_cannot_be_started_says_why_and_leaves_nothing(runtime: QemuRuntime, tmp_path: Path) -> None:
    request = request_in(tmp_path)
    assert request.disk is not None
    request.disk.mkdir()
    with pytest.raises(StartFailed, match="QEMU") as caught:
        runtime.launch(request)
    assert any("data.img" in line for line in caught.value.details)
    assert not request.socket.exists()


def test_who_is_killed_while_a_template_boots_takes_its_guest_along(runtime: QemuRuntime, tmp_path: Path) -> None:
    request = dataclasses.replace(request_in(tmp_path), limits=Limits(cpus=2.0))  # a template of its own
    recipe = runtime.recipe(request)
    places = Places.of(runtime._paths)
    shutil.rmtree(places.templates / key_of(recipe), ignore_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the child builds and is killed; it shares no thread's work
        builder = os.fork()
    if builder == 0:
        try:
            runtime.prepare(request)
        finally:
            os._exit(1)
    needle = places.root / ".building-"
    eventually(lambda: bool(mentions(needle)), "QEMU boots a template")
    os.kill(builder, signal.SIGKILL)
    os.waitpid(builder, 0)
    eventually(lambda: not mentions(needle), "QEMU and its keeper are gone")
    assert leftovers(places, remove=True) == 1
    assert known(places, key_of(recipe)) is None
