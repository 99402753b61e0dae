"""What a user names as an image, and the environment that it becomes."""

from __future__ import annotations

from pathlib import Path

from sandlot.bases.environments.image import import_image
from sandlot.bases.environments.layouts import LayoutFolder, open_archive
from sandlot.bases.environments.registry import Registry, parse_reference
from sandlot.bases.environments.store import EnvironmentStore, check_environment_name
from sandlot.bases.progress import Progress, Report
from sandlot.errors import UsageError
from sandlot.model.environment import Environment

__all__ = ["import_environment"]

_LOCAL = ("oci:", "oci-archive:", "docker-archive:")


def import_environment(
    store: EnvironmentStore, image: str, name: str | None, *, cwd: Path, progress: Report | None = None
) -> tuple[str, Environment, bool]:
    """(name, environment, whether it was there already) of an image.

    ``image`` is ``HOST/PATH:TAG``, the path of an OCI layout folder or of a saved image; a tag of the latter two is
    written ``PATH@TAG``. Raises UsageError, PathNotFound, ImageRefused, RegistryFailed, StateUnwritable.
    """
    path, tag = _local(image, cwd)
    report = Progress(progress)
    if path is None:
        reference = parse_reference(image)
        chosen = check_environment_name(name or f"{reference.path.rpartition('/')[2]}:{reference.tag}".lower())
        return chosen, *import_image(store, Registry(reference), chosen, report)
    if name is None:
        raise UsageError("an image from this machine needs a name", hint=f"sandlot env import {image} --name NAME")
    chosen = check_environment_name(name)
    if path.is_dir():
        with LayoutFolder(path, str(path), tag) as layout:
            return chosen, *import_image(store, layout, chosen, report)
    with store.workshop() as shop, open_archive(path, shop, str(path), tag, report) as layout:
        return chosen, *import_image(store, layout, chosen, report)


def _local(image: str, cwd: Path) -> tuple[Path | None, str | None]:
    """(path, tag) of an image on this machine; no path for one of a registry."""
    prefix = next((each for each in _LOCAL if image.startswith(each)), "")
    text = image.removeprefix(prefix)
    whole = cwd / text
    if whole.exists():
        return whole, None
    before, at, tag = text.rpartition("@")
    if at and (cwd / before).exists():
        return cwd / before, tag
    if prefix or text.startswith(("/", "./", "../", "~")):
        return whole, None  # it is not there, and whoever opens it says so
    return None, None
