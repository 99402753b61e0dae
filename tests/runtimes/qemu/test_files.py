"""What a guest is made of: kernel modules in order, a start-up archive, a root file system with nothing private."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sandlot.errors import IsolationUnavailable
from sandlot.runtimes.qemu import image, initramfs, kernel
from sandlot.runtimes.qemu.kernel import Kernel
from sandlot.runtimes.qemu.places import Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path / "guests")
    made.ensure()
    return made


def module(folder: Path, name: str, *depends: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = f"\0license=GPL\0depends={','.join(depends)}\0name={name}\0"
    (folder / f"{name}.ko").write_bytes(b"\x7fELF" + text.encode())


def test_modules_are_loaded_after_what_they_depend_on(tmp_path: Path) -> None:
    drivers = tmp_path / "kernel/drivers"
    module(drivers / "block", "virtio_blk", "virtio", "virtio_ring")
    module(drivers / "virtio", "virtio-pci", "virtio_ring", "virtio")
    module(drivers / "virtio", "virtio")
    module(drivers / "virtio", "virtio_ring", "virtio")
    module(drivers / "net", "unwanted")
    order = [path.name for path in kernel._in_order(tmp_path)]
    assert order == ["virtio.ko", "virtio_ring.ko", "virtio-pci.ko", "virtio_blk.ko"]


def test_without_a_way_to_a_kernel_the_tool_or_the_package_is_named(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "_installed", lambda: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(IsolationUnavailable, match="apt-cache is not there"):
        kernel.get(places)
    assert not list(places.root.glob(".building-*"))
    assert not os.listdir(places.kernels)


def installed(folder: Path, release: str) -> tuple[Path, Path]:
    """A kernel as a distribution's package leaves it: (image, modules)."""
    modules = folder / "modules" / release
    module(modules / "kernel", "virtio")
    (folder / f"vmlinuz-{release}").write_text(release)
    return folder / f"vmlinuz-{release}", modules


def test_prepare_renews_the_kernel_when_there_is_a_newer_one(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (installed(tmp_path, f"6.1.0-{number}-cloud-amd64") for number in (9, 10))
    monkeypatch.setattr(kernel, "_installed", lambda: old)
    assert kernel.renew(places)[0].release == "6.1.0-9-cloud-amd64"
    monkeypatch.setattr(kernel, "_installed", lambda: new)
    assert kernel.get(places).release == "6.1.0-9-cloud-amd64"  # no start waits for another
    found, trouble = kernel.renew(places)
    assert (found.image.read_text(), trouble) == ("6.1.0-10-cloud-amd64", "")
    assert os.listdir(places.kernels) == [found.release]
    monkeypatch.setattr(kernel, "_installed", lambda: old)
    assert kernel.renew(places)[0].release == found.release
    monkeypatch.setattr(kernel, "_installed", lambda: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    found, trouble = kernel.renew(places)
    assert found.release == "6.1.0-10-cloud-amd64"
    assert "apt-cache is not there" in trouble


def test_releases_are_ordered_by_their_numbers(places: Places) -> None:
    for release in ("6.1.0-9-cloud-amd64", "6.1.0-10-cloud-amd64", "5.10.0-50-cloud-amd64"):
        (places.kernels / release).mkdir()
        (places.kernels / release / "order").touch()
    found = kernel.cached(places)
    assert found is not None
    assert found.release == "6.1.0-10-cloud-amd64"


@pytest.mark.skipif(not shutil.which("cpio"), reason="there is no cpio to read an archive with")
def test_the_archive_holds_the_agent_and_is_the_same_for_the_same_content(places: Places) -> None:
    folder = places.kernels / "6.1.0"
    folder.mkdir()
    module(folder, "virtio")
    (folder / "order").write_text("virtio.ko\n")
    (places.root / "busybox").write_bytes(b"\x7fELF")
    made = initramfs.get(places, Kernel("6.1.0", folder))
    with made.file.open("rb") as file:
        listed = subprocess.run(["cpio", "-t", "--quiet"], stdin=file, capture_output=True, check=True).stdout.split()
    assert {b"init", b"modules/virtio.ko", b"modules/order", b"lib/sandlot/sandlot/guest/boot.py"} <= set(listed)
    before = made.file.read_bytes()
    made.file.unlink()
    assert initramfs.get(places, Kernel("6.1.0", folder)).file.read_bytes() == before


def test_what_not_everybody_may_read_stays_outside(tmp_path: Path) -> None:
    for name, mode in (("open", 0o644), ("key", 0o600), ("group", 0o640)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    for name, mode in (("folder", 0o755), ("closed", 0o750)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
        (tmp_path / name).chmod(mode)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/shadow")
    left_out = {os.path.basename(path) for path in image._left_out([str(tmp_path)])}
    assert left_out == {"key", "group", "closed", "pipe"}


def test_an_image_is_packed_anew_when_something_was_installed(tmp_path: Path) -> None:
    (tmp_path / "lib/python3/site-packages").mkdir(parents=True)
    before = image.key_of("", None, (tmp_path,))
    assert image.key_of("", None, (tmp_path,)) == before
    (tmp_path / "lib/python3/site-packages/new").mkdir()
    assert image.key_of("", None, (tmp_path,)) != before
