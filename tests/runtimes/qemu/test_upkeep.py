"""What guests keep of environments and bases goes when these are gone, and never before."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sandlot.runtimes.qemu.places import Places
from sandlot.runtimes.qemu.upkeep import held_for, remove_orphans


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path / "guests")
    made.ensure()
    return made


def packed(places: Places, stem: str, source: Path | str) -> None:
    (places.roots / f"{stem}.squashfs").write_bytes(b"x" * 8192)
    (places.roots / f"{stem}.python").write_text(f"/usr/bin/python3\nbuild\n{source}\n")


def booted(places: Places, key: str, stem: str, *warm: Path) -> Path:
    folder = places.templates / key
    folder.mkdir()
    (folder / "ram").write_bytes(b"x" * 8192)
    about = {"root": f"{stem}-build", "warm": [str(path) for path in warm]}
    (folder / "about.json").write_text(json.dumps(about))
    return folder


def test_what_stands_on_something_stays_and_what_does_not_goes(places: Places, tmp_path: Path) -> None:
    tree, other, layer = (tmp_path / name for name in ("tree", "other", "layer"))
    for folder in (tree, other, layer):
        folder.mkdir()
    for stem, source in (("host", ""), ("one", tree), ("two", other)):
        packed(places, stem, source)
        booted(places, f"t-{stem}", stem)
    booted(places, "t-warm", "host", layer)
    (places.roots / "old.squashfs").touch()  # from a sandlot that did not write down whose it is
    (places.roots / "old.python").write_text("/usr/bin/python3\nbuild\n")
    assert remove_orphans(places).things == 0
    assert held_for(places, tree) > 0
    told = remove_orphans(places, gone=frozenset({tree}), dry_run=True)
    assert (told.things, told.bytes) == (2, held_for(places, tree))
    tree.rmdir()
    layer.rmdir()
    done = remove_orphans(places)
    assert done.things == 3
    assert sorted(os.listdir(places.templates)) == ["t-host", "t-two"]
    assert sorted(file.stem for file in places.roots.glob("*.squashfs")) == ["host", "old", "two"]
    assert not (places.roots / "one.python").exists()
    assert held_for(places, tree) == 0


def test_a_template_without_its_root_or_with_a_damaged_record_is_of_no_use(places: Places) -> None:
    booted(places, "alone", "nowhere")
    (booted(places, "damaged", "nowhere") / "about.json").write_text("[]")
    assert remove_orphans(places).things == 2
    assert os.listdir(places.templates) == []
