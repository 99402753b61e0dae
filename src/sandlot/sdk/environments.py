"""What can be inside workspaces besides their projects."""

from __future__ import annotations

import builtins
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandlot.sdk.words import Duration, Progress, Sink, caller_of, duration, network_fields

if TYPE_CHECKING:
    from sandlot.bases.environments.store import PrunedEnvironments
    from sandlot.model.network import NetworkMode
    from sandlot.operations import env_build, env_import, env_inspect
    from sandlot.operations.environments import EnvironmentRow
    from sandlot.sdk.client import Sandlot

__all__ = ["Environments"]


@dataclass(frozen=True, slots=True)
class Environments:
    """The environments of one user."""

    _sandlot: Sandlot

    def list(self) -> builtins.list[EnvironmentRow]:
        """The host's own, those that are here, those that could be built."""
        return builtins.list(self._sandlot.call("env_list").environments)

    def build(
        self,
        name: str,
        *,
        parent: str | None = None,
        setup: Sequence[str] = (),
        source: str | os.PathLike[str] | None = None,
        timeout: Duration = "default",
        fresh: bool = False,
        network: NetworkMode | str | None = None,
        allow: Sequence[str] = (),
        allow_preset: Sequence[str] = (),
        allow_private: Sequence[str] = (),
        progress: Progress | None = None,
        on_output: Sink | None = None,
    ) -> env_build.Result:
        """Build from the distribution's packages; or by running ``setup`` in ``parent``, once for the same words.

        ``source``: what the setup finds in /workspace. Raises EnvironmentNotFound, BuildFailed, UsageError.
        """
        egress = network_fields(network, allow, allow_preset, allow_private, ())
        del egress["publish"]
        result: env_build.Result = self._sandlot.call(
            "env_build",
            caller=caller_of(progress, on_output),
            name=name,
            parent=parent,
            setup=tuple(setup),
            source=None if source is None else os.fspath(source),
            timeout=duration(timeout) or "30m",
            fresh=fresh,
            **egress,
        )
        return result

    def inspect(self, name: str) -> env_inspect.Result:
        """All that is known of one. Raises EnvironmentNotFound."""
        result: env_inspect.Result = self._sandlot.call("env_inspect", name=name)
        return result

    def prune(self, *names: str, unused_for: float = 0, dry_run: bool = False) -> PrunedEnvironments:
        """Remove those (the named, or all) that no workspace stands on, not used for ``unused_for`` seconds."""
        pruned: PrunedEnvironments = self._sandlot.call(
            "env_prune", names=names, unused_for=duration(unused_for) or "0s", dry_run=dry_run
        ).pruned
        return pruned

    def import_image(
        self, image: str | os.PathLike[str], *, name: str | None = None, progress: Progress | None = None
    ) -> env_import.Result:
        """Make one of an OCI image: ``HOST/IMAGE:TAG``, a layout folder, a saved image.

        Raises ImageRefused, RegistryFailed, PathNotFound, UsageError.
        """
        result: env_import.Result = self._sandlot.call(
            "env_import",
            caller=caller_of(progress, None),
            image=os.fspath(image),
            name=name,
        )
        return result
