"""The guests' kernel: a distribution's own, installed or fetched as a package and unpacked without root."""

from __future__ import annotations

import lzma
import os
import platform
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sandlot import process
from sandlot.errors import IsolationUnavailable
from sandlot.runtimes.qemu.places import Places, building, only_one

__all__ = ["BUSYBOX_PACKAGE", "Kernel", "cached", "fetch_package", "get", "renew"]

MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "squashfs", "overlay", "ext4", "tun", "fuse")
"""What a guest needs, built in or as a module."""
OPTIONAL = frozenset({"tun", "fuse", "virtio_rng"})
META_PACKAGE = "linux-image-cloud-amd64"
BUSYBOX_PACKAGE = "busybox-static"
FETCH_S = 600.0
_DEPENDS = re.compile(rb"depends=([A-Za-z0-9_,-]*)\0")
_ENDINGS = (".ko", ".ko.xz", ".ko.zst")


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel in the cache."""

    release: str
    folder: Path

    @property
    def image(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def modules(self) -> tuple[Path, ...]:
        """In the order in which they are loaded."""
        return tuple(self.folder / name for name in (self.folder / "order").read_text().split())


def get(places: Places) -> Kernel:
    """The guests' kernel, unpacked into the cache when it is not there yet.

    Raises IsolationUnavailable when there is none to be had, StateUnwritable.
    """
    found = cached(places)
    if found is not None:
        return found
    places.ensure()
    with only_one(places.lock("kernel"), "the guests' kernel"):
        found = cached(places)
        return found if found is not None else _unpack(places)


def cached(places: Places) -> Kernel | None:
    """The newest kernel that is there."""
    try:
        releases = [name for name in os.listdir(places.kernels) if (places.kernels / name / "order").is_file()]
    except OSError:
        return None
    newest = max(releases, key=_age, default=None)
    return None if newest is None else Kernel(newest, places.kernels / newest)


def renew(places: Places) -> tuple[Kernel, str]:
    """The guests' kernel, a newer one if this machine has it or its package lists name it; and why there is none.

    Older ones go: a guest that runs needs their files no more. Raises IsolationUnavailable, StateUnwritable.
    """
    kept = get(places)
    with only_one(places.lock("kernel"), "the guests' kernel"):
        try:
            if _age(_known()) <= _age(kept.release):
                return kept, ""
            found = _unpack(places)
        except IsolationUnavailable as error:  # offline, say; the one that is there is as good as it was
            return kept, error.message
        for name in os.listdir(places.kernels):
            if _age(name) < _age(found.release):
                shutil.rmtree(places.kernels / name, ignore_errors=True)
    return found, ""


def _age(release: str) -> tuple[int, ...]:
    """What releases are ordered by: 6.1.0-9 comes before 6.1.0-10."""
    return tuple(map(int, re.findall(r"\d+", release)))


def _known() -> str:
    """The newest release that could be unpacked. Raises IsolationUnavailable."""
    found = _installed()
    return found[1].name if found is not None else _newest().removeprefix("linux-image-")


def _unpack(places: Places) -> Kernel:
    if platform.machine() != "x86_64":
        raise IsolationUnavailable(f"guests run on x86_64 machines only; this is {platform.machine()}", hint="")
    with building(places) as folder:
        source = _installed()
        if source is None:
            root = folder / "root"
            fetch_package(_newest(), folder, root)
            source = _in_root(root)
        if source is None:
            raise IsolationUnavailable(f"the package {META_PACKAGE} holds no kernel that guests can use")
        image, modules = source
        made = folder / "kernel"
        made.mkdir()
        shutil.copyfile(image, made / "vmlinuz")
        order = []
        for path in _in_order(modules):
            name = _name(path).replace("-", "_") + ".ko"
            (made / name).write_bytes(_plain(path))
            order.append(name)
        (made / "order").write_text("\n".join(order) + "\n")
        target = places.kernels / modules.name
        os.rename(made, target)
    return Kernel(target.name, target)


def _installed() -> tuple[Path, Path] | None:
    """A cloud kernel of this machine's own that this user can read; others lack what a guest needs, or are huge."""
    for image in sorted(Path("/boot").glob("vmlinuz-*-cloud-amd64"), key=lambda each: _age(each.name), reverse=True):
        modules = Path("/lib/modules", image.name.removeprefix("vmlinuz-"))
        if os.access(image, os.R_OK) and (modules / "kernel").is_dir():
            return image, modules
    return None


def _in_root(root: Path) -> tuple[Path, Path] | None:
    for image in sorted(root.glob("boot/vmlinuz-*"), key=lambda each: _age(each.name), reverse=True):
        for base in ("lib/modules", "usr/lib/modules"):
            modules = root / base / image.name.removeprefix("vmlinuz-")
            if (modules / "kernel").is_dir():
                return image, modules
    return None


def _newest() -> str:
    """The package that the distribution's name for its newest cloud kernel stands for."""
    _need("apt-cache")
    done = process.run(["apt-cache", "depends", META_PACKAGE], env=_environment(), timeout=60)
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        word = line.strip().removeprefix("Depends: ")
        if word.startswith("linux-image-") and word != line.strip():
            return word
    raise IsolationUnavailable(
        f"the package {META_PACKAGE} is not known here",
        hint=f"apt-get update as root once, or apt-get install {META_PACKAGE}",
    )


def fetch_package(name: str, work: Path, root: Path) -> None:
    """Fetch a package of the distribution and unpack it into ``root``; nothing is installed, so no root is needed.

    Its signature chain is apt's own. Raises IsolationUnavailable.
    """
    _need("apt-get")
    _need("dpkg-deb")
    done = process.run(["apt-get", "download", name], cwd=work, env=_environment(), timeout=FETCH_S)
    files = sorted(work.glob(f"{name}_*.deb"))
    if done.returncode or not files:
        raise IsolationUnavailable(
            f"the package {name} cannot be fetched: {done.message}", hint=f"apt-get install {name}, or get online once"
        )
    root.mkdir(exist_ok=True)
    done = process.run(["dpkg-deb", "-x", str(files[-1]), str(root)], env=_environment(), timeout=FETCH_S)
    if done.returncode:
        raise IsolationUnavailable(f"the package {name} cannot be unpacked: {done.message}")


def _need(tool: str) -> None:
    if shutil.which(tool) is None:
        raise IsolationUnavailable(
            f"{tool} is not there to fetch the guests' kernel with",
            hint="guests need a distribution with Debian's packages, for their kernel",
        )


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "http_proxy", "https_proxy") if name in os.environ}
    return {**kept, "LC_ALL": "C"}


def _name(path: Path) -> str:
    return path.name.split(".ko")[0]


def _plain(path: Path) -> bytes:
    data = path.read_bytes()
    if path.name.endswith(".xz"):
        return lzma.decompress(data)
    if path.name.endswith(".zst"):
        done = process.run(["zstd", "-dcq", str(path)], env=_environment(), timeout=60)
        if done.returncode:
            raise IsolationUnavailable(f"{path.name} cannot be unpacked: {done.message}", hint="apt-get install zstd")
        return done.stdout
    return data


def _in_order(modules: Path) -> list[Path]:
    """The files of MODULES and of what they depend on, dependencies first."""
    files = {
        _name(path).replace("-", "_"): path
        for path in (modules / "kernel").rglob("*.ko*")
        if path.name.endswith(_ENDINGS)
    }
    order: list[Path] = []

    def add(names: Iterable[str]) -> None:
        for name in names:
            path = files.get(name.replace("-", "_"))
            if path is None or path in order:  # built in, or there already
                continue
            found = _DEPENDS.search(_plain(path))
            add(word for word in (found[1].decode() if found else "").split(",") if word)
            order.append(path)

    add(MODULES)
    return order
