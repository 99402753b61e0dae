"""Images on this machine: OCI layout folders, and archives of ``docker save``, ``podman save`` and ``skopeo copy``."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sandlot.bases.beneath import BLOCKED, FOLDER_FLAGS, Folders, open_file
from sandlot.bases.content import CHUNK, write_stream
from sandlot.bases.environments.image import MAX_DOCUMENT, Descriptor
from sandlot.bases.environments.rootfs import MAX_LAYERS, MAX_TREE_BYTES
from sandlot.bases.members import normal_path
from sandlot.bases.progress import Progress
from sandlot.bases.tarball import tar_members
from sandlot.errors import ArchiveRefused, ImageRefused, PathNotFound, SeedUnreadable

__all__ = ["LayoutFolder", "open_archive"]

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_WANTED = re.compile(
    rb"(index|manifest)\.json|oci-layout|blobs/sha(256|512)/[0-9a-f]+|[0-9a-f]{64}(\.json|\.tar|/layer\.tar)?"
)
MAX_FILES = 4 * MAX_LAYERS


class LayoutFolder:
    """An OCI image layout: ``index.json`` and ``blobs/``; or what an old ``docker save`` has beside a manifest.json.

    Read beneath the folder, regular files only, never through a symlink. Use as a context manager.
    """

    def __init__(self, path: Path, name: str, tag: str | None = None) -> None:
        """``tag``: which image, where the folder holds several (``org.opencontainers.image.ref.name``)."""
        self.name = name
        self._tag = tag
        try:
            self._folders = Folders([os.open(path, FOLDER_FLAGS)], borrow=False)
        except FileNotFoundError as error:
            raise PathNotFound(
                f"there is no image at {path}", hint="name a registry's HOST/IMAGE:TAG, or a file"
            ) from error
        except OSError as error:
            raise SeedUnreadable(f"cannot read {path}: {error.strerror}") from error
        self._made: dict[str, bytes] = {}
        self._places: dict[str, bytes] = {}

    def __enter__(self) -> LayoutFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self._folders.close()

    def start(self) -> tuple[bytes, str | None]:
        """The index, narrowed to the tag; or a manifest made of what Docker's own format says."""
        index = self._small(b"index.json")
        if index is None:
            return self._of_docker(), None
        try:
            found = json.loads(index)
            entries = found["manifests"]
            if self._tag is not None or len(entries) > 1:
                chosen = [entry for entry in entries if self._tag in _names(entry)] if self._tag else entries
                if not chosen:
                    raise ImageRefused(f"it has no image tagged {self._tag}", hint=_tags(entries))
                return json.dumps({**found, "manifests": chosen}).encode(), None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ImageRefused("its index.json is no index") from error
        return index, None

    def content(self, descriptor: Descriptor) -> Iterator[bytes]:
        """A blob by its digest."""
        made = self._made.get(descriptor.digest)
        if made is not None:
            yield made
            return
        algorithm, _, text = descriptor.digest.partition(":")
        place = self._places.get(descriptor.digest) or b"blobs/%s/%s" % (algorithm.encode(), text.encode())
        fd = self._open(place)
        if fd is None:
            raise ImageRefused(f"{descriptor.digest} is not there")
        with open(fd, "rb", buffering=0) as file:
            while piece := file.read(CHUNK):
                yield piece

    def _open(self, path: bytes) -> int | None:
        parent, _, name = path.rpartition(b"/")
        folder = self._folders.get(0, parent)
        if folder < 0:
            if folder == BLOCKED:
                raise ImageRefused(f"{os.fsdecode(parent)} is no folder")
            return None
        try:
            return open_file(folder, name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ImageRefused(f"cannot read {os.fsdecode(path)}: {error.strerror}") from error

    def _small(self, path: bytes) -> bytes | None:
        fd = self._open(path)
        if fd is None:
            return None
        with open(fd, "rb", buffering=0) as file:
            parts = []
            left = MAX_DOCUMENT + 1
            while left and (piece := file.read(left)):
                parts.append(piece)
                left -= len(piece)
        if not left:
            raise ImageRefused(f"{os.fsdecode(path)} is a document of more than {MAX_DOCUMENT} bytes")
        return b"".join(parts)

    def _of_docker(self) -> bytes:
        """A manifest for Docker's own format, which has no digests of layers: what they unpack to is checked later."""
        text = self._small(b"manifest.json")
        if text is None:
            raise ImageRefused(
                "it has neither index.json nor manifest.json", hint="name an OCI layout or a saved image"
            )
        try:
            images = json.loads(text)
            chosen = [each for each in images if self._tag is None or _tagged(each.get("RepoTags"), self._tag)]
            if len(chosen) != 1:
                what = f"no image tagged {self._tag}" if self._tag and not chosen else f"{len(images)} images"
                raise ImageRefused(f"it holds {what}", hint="save one alone, or name one: FILE@TAG")
            config, layers = str(chosen[0]["Config"]), [str(each) for each in chosen[0]["Layers"]]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ImageRefused("its manifest.json is none of docker save") from error
        if len(layers) > MAX_LAYERS:
            raise ImageRefused("it has too many layers")
        about = self._place(config)
        if (found := re.search(r"[0-9a-f]{64}", config)) is not None and about["digest"] != "sha256:" + found[0]:
            raise ImageRefused(f"what was said to be {config} has other content")
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": about,
            "layers": [self._place(each) for each in layers],
        }
        return json.dumps(manifest).encode()

    def _place(self, name: str) -> dict[str, Any]:
        try:
            path = normal_path(os.fsencode(name))
        except ArchiveRefused as error:
            raise ImageRefused(error.message) from error
        fd = self._open(path)
        if fd is None:
            raise ImageRefused(f"{name} is not there")
        digest = hashlib.sha256()
        with open(fd, "rb", buffering=0) as file:
            size = os.fstat(fd).st_size
            while piece := file.read(CHUNK):
                digest.update(piece)
        text = "sha256:" + digest.hexdigest()
        self._places[text] = path
        return {"digest": text, "size": size}


def _names(entry: Any) -> tuple[str, ...]:
    notes = entry.get("annotations") or {}
    full = str(notes.get("io.containerd.image.name", ""))
    return tuple(
        each for each in (notes.get("org.opencontainers.image.ref.name"), full, full.rpartition(":")[2]) if each
    )


def _tags(entries: list[Any]) -> str:
    found = sorted({name for entry in entries for name in _names(entry)})
    return "its tags: " + ", ".join(found[:20]) if found else ""


def _tagged(names: object, tag: str) -> bool:
    return isinstance(names, list) and any(
        str(name) == tag or str(name).endswith((f":{tag}", f"/{tag}")) for name in names
    )


def open_archive(file: Path, shop: Path, name: str, tag: str | None, progress: Progress) -> LayoutFolder:
    """The image in an archive, unpacked into ``shop`` as far as it is one. Raises ImageRefused, SeedUnreadable."""
    target = shop / "image"
    target.mkdir()
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise PathNotFound(f"there is no image at {file}") from error
    except OSError as error:
        raise SeedUnreadable(f"cannot read {file}: {error.strerror}") from error
    with open(fd, "rb") as archive:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise SeedUnreadable(f"{file} is no file")
        try:
            _unpack(archive, file.name, info.st_size, target, progress)
        except ArchiveRefused as error:
            raise ImageRefused(error.message) from error
    return LayoutFolder(target, name, tag)


def _unpack(archive: Any, name: str, size: int, target: Path, progress: Progress) -> None:
    """Only files that an image can consist of, by names that are safe by their form."""
    files = total = 0
    for member in tar_members(archive, name, size):
        path = normal_path(member.name)
        if member.kind != "f" or not _WANTED.fullmatch(path):
            continue
        files += 1
        total += member.size
        progress("reading the archive", total, size)
        if files > MAX_FILES or total > MAX_TREE_BYTES:
            raise ImageRefused("the archive holds more than an image can need")
        place = target / os.fsdecode(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ImageRefused(f"the archive has {os.fsdecode(path)} twice") from error
        try:
            write_stream(member.read or (lambda _: b""), member.size, fd)
        finally:
            os.close(fd)
