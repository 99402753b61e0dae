"""An OCI image becomes an environment: every byte is checked against its digest before it is looked at.

Formats: OCI image specification 1.1, and Docker's manifests of schema 2, which differ in their media types only.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import zstandard

from sandlot.bases.building import build_lock
from sandlot.bases.environments.curate import variables_of
from sandlot.bases.environments.rootfs import MAX_LAYERS, MAX_TREE_BYTES, RootTree
from sandlot.bases.environments.store import EnvironmentStore
from sandlot.bases.progress import Progress
from sandlot.bases.tarball import MAX_WINDOW, tar_members
from sandlot.bases.workshop import fingerprint
from sandlot.errors import ArchiveRefused, ImageRefused
from sandlot.model.environment import Environment, EnvironmentKind

__all__ = ["MAX_DOCUMENT", "Descriptor", "ImageSource", "checked", "import_image"]

MAX_DOCUMENT = 4 << 20
"""Bytes of a manifest, index or configuration (the specification's own advice for manifests)."""
MAX_NESTING = 3
_DIGEST = re.compile(r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})")
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a document says about another piece of content."""

    digest: str
    size: int
    media_type: str = ""
    platform: tuple[str, str] | None = None
    """(operating system, architecture)"""


class ImageSource(Protocol):
    """Where an image is: a registry, a folder, an archive. Nothing that it gives is believed."""

    @property
    def name(self) -> str:
        """What it is called in records: no credentials."""

    def start(self) -> tuple[bytes, str | None]:
        """The first index or manifest, and the digest it was asked for by, if it was."""

    def content(self, descriptor: Descriptor) -> Iterator[bytes]:
        """The bytes of what a descriptor means, in pieces. May give more, fewer or others."""


def import_image(
    store: EnvironmentStore, source: ImageSource, name: str, progress: Progress
) -> tuple[Environment, bool]:
    """(the environment, whether it was there already), under this name from now on.

    Raises ImageRefused, RegistryFailed, StateUnwritable.
    """
    with store.workshop() as shop:
        progress("asking for the image")
        digest, manifest = _manifest(source)
        key = fingerprint("image", digest)
        with build_lock(store.paths, key):
            known = store.known(key)
            if known is not None:
                store.name(name, known, shop)
                return known, True
            environment = _build(store, source, digest, manifest, shop, progress)
            store.remember(key, environment, shop)
            store.name(name, environment, shop)
            return environment, False


def _build(
    store: EnvironmentStore,
    source: ImageSource,
    digest: str,
    manifest: Mapping[str, Any],
    shop: Path,
    progress: Progress,
) -> Environment:
    config, layers = _parts(manifest)
    about = _document(_whole(source, config), config.digest)
    diff_ids = _diff_ids(about, len(layers))
    settings = about.get("config") or {}
    if not isinstance(settings, dict) or about.get("os", "linux") != "linux":
        raise ImageRefused("it is no image for Linux")
    folder = shop / "environment"
    (folder / "tree").mkdir(parents=True)
    with RootTree(folder / "tree") as tree:
        for number, (layer, diff_id) in enumerate(zip(layers, diff_ids, strict=True), 1):
            progress(f"layer {number} of {len(layers)}")
            _apply(tree, source, layer, diff_id, shop / "layer", progress)
        draft = Environment(
            digest="",
            kind=EnvironmentKind.IMAGE,
            source=source.name,
            created_at="",
            files=0,
            bytes=0,
            variables=variables_of(settings.get("Env")),
            workdir=str(settings.get("WorkingDir") or "")[:4096],
            image=digest,
        )
        return store.publish(folder, tree, draft)


def _manifest(source: ImageSource) -> tuple[str, Mapping[str, Any]]:
    """(digest, manifest) of the image for this machine."""
    data, asked = source.start()
    digest = asked or "sha256:" + hashlib.sha256(data).hexdigest()
    for _ in range(MAX_NESTING):
        document = _document(data, digest)
        if document.get("mediaType") not in _INDEXES and "manifests" not in document:
            if document.get("schemaVersion") != 2 or "layers" not in document:
                raise ImageRefused("its manifest is of a kind we do not know")
            return digest, document
        chosen = _choose(document)
        digest, data = chosen.digest, _whole(source, chosen)
    raise ImageRefused("its index has too many levels")


def _choose(index: Mapping[str, Any]) -> Descriptor:
    """The manifest for this machine; one without a platform is taken when it is the only one."""
    entries = index.get("manifests")
    if not isinstance(entries, list) or len(entries) > MAX_LAYERS:
        raise ImageRefused("its index has no list of manifests")
    found = [descriptor_of(entry) for entry in entries]
    wanted = ("linux", _ARCHITECTURES.get(platform.machine(), platform.machine()))
    fitting = [each for each in found if each.platform == wanted]
    if not fitting and len(found) == 1 and found[0].platform is None:
        fitting = found
    if not fitting:
        raise ImageRefused(f"it has nothing for {'/'.join(wanted)}", hint="import an image made for this machine")
    return fitting[0]


def descriptor_of(entry: object) -> Descriptor:
    """The descriptor that a part of a document is. Raises ImageRefused."""
    if not isinstance(entry, dict):
        raise ImageRefused("a descriptor of it is none")
    digest, size, media = entry.get("digest"), entry.get("size"), entry.get("mediaType", "")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ImageRefused("a digest of it is none that we can check")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_TREE_BYTES:
        raise ImageRefused(f"{digest} is said to have {str(size)[:40]} bytes, which is no size we take")
    about = entry.get("platform")
    place = (str(about.get("os")), str(about.get("architecture"))) if isinstance(about, dict) else None
    return Descriptor(digest, size, str(media), place)


def _parts(manifest: Mapping[str, Any]) -> tuple[Descriptor, list[Descriptor]]:
    layers = manifest["layers"]
    if not isinstance(layers, list) or not 0 < len(layers) <= MAX_LAYERS:
        raise ImageRefused("its manifest has no usable list of layers")
    return descriptor_of(manifest.get("config")), [descriptor_of(layer) for layer in layers]


def _diff_ids(config: Mapping[str, Any], count: int) -> list[str]:
    about = config.get("rootfs")
    found = about.get("diff_ids") if isinstance(about, dict) else None
    if not isinstance(found, list) or len(found) != count:
        raise ImageRefused("its configuration and its manifest have different layers")
    for each in found:
        if not isinstance(each, str) or not _DIGEST.fullmatch(each):
            raise ImageRefused("a digest of it is none that we can check")
    return found


def _document(data: bytes, digest: str) -> dict[str, Any]:
    if _hash(digest, data) != digest:
        raise ImageRefused(f"what was said to be {digest} has other content")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImageRefused(f"{digest} is no JSON document") from error
    if not isinstance(found, dict):
        raise ImageRefused(f"{digest} is no JSON object")
    return found


def _hash(digest: str, data: bytes) -> str:
    algorithm = digest.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def _whole(source: ImageSource, descriptor: Descriptor) -> bytes:
    if descriptor.size > MAX_DOCUMENT:
        raise ImageRefused(f"{descriptor.digest} is a document of {descriptor.size} bytes", hint="import another image")
    return b"".join(checked(source.content(descriptor), descriptor))


def checked(pieces: Iterator[bytes], descriptor: Descriptor) -> Iterator[bytes]:
    """The same pieces; raises ImageRefused as soon as there are too many bytes, and at the end for another digest."""
    algorithm, _, expected = descriptor.digest.partition(":")
    digest = hashlib.new(algorithm)
    count = 0
    for piece in pieces:
        count += len(piece)
        if count > descriptor.size:
            raise ImageRefused(f"{descriptor.digest} is longer than the {descriptor.size} bytes it was said to have")
        digest.update(piece)
        yield piece
    if count != descriptor.size:
        raise ImageRefused(f"{descriptor.digest} has {count} bytes, not the {descriptor.size} it was said to have")
    if digest.hexdigest() != expected:
        raise ImageRefused(f"what was said to be {descriptor.digest} has other content")


def _apply(
    tree: RootTree, source: ImageSource, layer: Descriptor, diff_id: str, file: Path, progress: Progress
) -> None:
    """Fetch a layer, all of it, and only then unpack it: nothing is unpacked whose digest is not known to fit."""
    done = 0
    with open(file, "wb") as blob:
        for piece in checked(source.content(layer), layer):
            blob.write(piece)
            done += len(piece)
            progress("fetching a layer", done, layer.size)
    try:
        with open(file, "rb") as blob:
            unpacked = _Unpacked(blob, diff_id)
            tree.apply(tar_members(cast("BinaryIO", unpacked), "layer.tar", layer.size))
            unpacked.check()
    except ArchiveRefused as error:
        raise ImageRefused(f"layer {layer.digest}: {error.message}") from error
    finally:
        os.unlink(file)


class _Unpacked:
    """A layer as a plain tar archive, whatever it is compressed with, and its digest as that."""

    def __init__(self, blob: BinaryIO, diff_id: str) -> None:
        algorithm, _, self._expected = diff_id.partition(":")
        self._digest = hashlib.new(algorithm)
        magic = blob.read(4)
        blob.seek(0)
        self._stream: Any = blob
        if magic.startswith(b"\x1f\x8b"):
            self._stream = gzip.GzipFile(fileobj=blob, mode="rb")
        elif magic == b"\x28\xb5\x2f\xfd":
            reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
            self._stream = reader.stream_reader(blob, read_across_frames=True, closefd=False)

    def read(self, size: int) -> bytes:
        data: bytes = self._stream.read(size)
        self._digest.update(data)
        return data

    def seek(self, offset: int) -> int:
        """Where tar_members starts, and nowhere else."""
        return offset

    def check(self) -> None:
        if self._digest.hexdigest() != self._expected:
            raise ImageRefused("a layer unpacks to something else than the image's configuration says")
