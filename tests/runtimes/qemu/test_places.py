"""What guests share is built once, by whoever comes first, and a builder that was killed leaves nothing."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import pytest

from sandlot.errors import WorkspaceBusy
from sandlot.runtimes.qemu import places as module
from sandlot.runtimes.qemu.places import Places, building, leftovers, only_one


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path / "guests")
    made.ensure()
    return made


def test_only_one_builds_and_the_others_find_what_it_built(places: Places) -> None:
    target = places.root / "thing"
    built = []

    def obtain() -> None:
        with only_one(places.lock("thing"), "the thing"):
            if not target.exists():
                with building(places) as folder:
                    built.append(folder)
                    (folder / "made").touch()
                    (folder / "made").rename(target)

    threads = [threading.Thread(target=obtain) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(built) == 1
    assert not list(places.root.glob(".building-*"))


def test_a_folder_that_was_taken_for_left_before_it_was_locked_is_made_anew(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    found = []

    def late(descriptor: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        found.append(leftovers(places, remove=True))
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with building(places) as folder:
        assert found == [1]
        assert (folder / "lock").exists()
        assert leftovers(places) == 0


def test_who_waits_too_long_is_told(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUILD_WAIT_S", 0.1)
    with only_one(places.lock("x"), "the thing"), pytest.raises(WorkspaceBusy), only_one(places.lock("x"), "the thing"):
        pass


def test_what_a_killed_builder_left_goes_and_what_a_living_one_has_stays(places: Places) -> None:
    dead = places.root / ".building-dead"
    dead.mkdir()
    (dead / "lock").touch()
    (dead / "half").touch()
    assert leftovers(places) == 1
    with building(places) as living, building(places) as second:
        assert not dead.exists()
        assert living.exists()
        assert second.exists()
