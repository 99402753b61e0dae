"""What is kept of templates, and what doctor says of them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from sandlot.runtimes.qemu import template
from sandlot.runtimes.qemu.commandline import Emulator, Machine
from sandlot.runtimes.qemu.places import Places
from sandlot.runtimes.qemu.template import KEPT_ROOTS, known, prune, standing

HOUR = 3600.0


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path / "guests")
    made.ensure()
    return made


def template_of(places: Places, key: str, *, age_s: float, **about: str | int) -> Path:
    folder = places.templates / key
    folder.mkdir()
    for name in ("ram", "disk"):
        (folder / name).write_bytes(b"x" * 8192)
        about[name] = (folder / name).stat().st_ctime_ns
    (folder / "about.json").write_text(json.dumps(about))
    when = time.time() - age_s
    os.utime(folder / "about.json", (when, when))
    return folder


def test_the_oldest_go_and_what_was_just_used_stays(places: Places) -> None:
    for number in range(4):
        template_of(places, f"old{number}", age_s=(10 + number) * HOUR)
    template_of(places, "fresh", age_s=1)
    assert prune(places, keep=3).things == 2
    assert sorted(os.listdir(places.templates)) == ["fresh", "old0", "old1"]
    assert prune(places, keep=0).things == 2
    assert os.listdir(places.templates) == ["fresh"]


def test_a_dry_run_tells_and_removes_nothing(places: Places) -> None:
    template_of(places, "old", age_s=HOUR)
    told = prune(places, keep=0, dry_run=True)
    assert (told.things, told.bytes > 0) == (1, True)
    assert known(places, "old") is not None
    assert prune(places, keep=0, unused_for_s=2 * HOUR).things == 0


@pytest.mark.parametrize("name", ["ram", "disk"])
def test_what_a_guest_has_changed_is_no_template(places: Places, name: str) -> None:
    changed = template_of(places, "one", age_s=0) / name
    before = changed.stat()
    assert known(places, "one") is not None
    with open(changed, "r+b") as file:
        file.write(b"y")
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known(places, "one") is None
    changed.unlink()
    assert known(places, "one") is None


def test_a_root_file_system_goes_with_what_tells_of_it(places: Places) -> None:
    for number in range(KEPT_ROOTS + 1):
        for ending in ("squashfs", "python"):
            file = places.roots / f"{number}.{ending}"
            file.touch()
            os.utime(file, (number, number))
    assert prune(places).things == 1
    assert sorted(os.listdir(places.roots))[0] == "1.python"


def test_a_template_is_warm_for_what_it_was_made_of_and_stale_for_anything_else(places: Places) -> None:
    now = {"root": "r", "initramfs": "i", "stamp": "s", "accelerator": "tcg"}

    def told(source: Path | None = None, **changed: str) -> str:
        is_now = {**now, **changed}
        return standing(
            places, root=is_now["root"] or None, source=source, initramfs=is_now["initramfs"], stamp=is_now["stamp"],
            accelerator=is_now["accelerator"],
        )  # fmt: skip

    assert told() == "cold"
    template_of(places, "one", age_s=0, **now, format=template._FORMATS, source="")
    assert told() == "warm"
    for name in now:
        assert told(None, **{name: "other"}) == "stale", name
    assert told(root="") == "stale"
    environment = Path("/an/environment")
    assert told(environment) == "cold"
    template_of(places, "two", age_s=0, **now, format="older", source=str(environment))
    assert told(environment) == "stale"


def test_whatever_a_clone_must_have_like_its_template_is_in_the_key() -> None:
    qemu = Emulator(Path("/usr/bin/qemu"), "7.2", "a")
    machines = (
        Machine(qemu, "tcg", 1),
        Machine(qemu, "kvm", 1),
        Machine(qemu, "tcg", 2),
        Machine(qemu, "tcg", 1, 1 << 30),
        Machine(Emulator(qemu.path, "8.0", "a"), "tcg", 1),
        Machine(Emulator(qemu.path, "7.2", "b"), "tcg", 1),
    )
    assert len({machine.key for machine in machines}) == len(machines)
    assert Machine(qemu, "tcg", 1).key == machines[0].key
