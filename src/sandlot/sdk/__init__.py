"""The Python SDK: typed methods over the operations.

::

    with Sandlot() as sandlot, sandlot.create(".") as workspace:
        result = workspace.exec(["pytest", "-q"])
        workspace.patch(fix)
        print(workspace.diff().patch)

A workspace made by ``create``, ``fork`` or ``run`` in a ``with`` statement is deleted at its end; one got by ``get`` is
the caller's and stays. Everything raises subclasses of ``SandlotError``.
"""

from __future__ import annotations

from sandlot.sdk.client import Sandlot
from sandlot.sdk.environments import Environments
from sandlot.sdk.files import Files
from sandlot.sdk.secrets import Secrets
from sandlot.sdk.services import Services
from sandlot.sdk.shells import Shell, Shells
from sandlot.sdk.snapshots import Snapshots
from sandlot.sdk.workspace import Workspace

__all__ = ["Environments", "Files", "Sandlot", "Secrets", "Services", "Shell", "Shells", "Snapshots", "Workspace"]
