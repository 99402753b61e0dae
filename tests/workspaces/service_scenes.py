"""What the tests of services have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sandlot.sdk import Workspace
from tests.conftest import LEFT

FOREVER = ["sleep", "1000"]
STUBBORN = "trap '' TERM; echo up; while :; do sleep 1000; done"


def state(workspace: Workspace, name: str) -> tuple[str, str]:
    service = workspace.services.status(name).service
    return service.state.value, service.reason


def nothing_left(workspace: Workspace) -> bool:
    return workspace.exec(LEFT).stdout.text == ""


def in_background(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    found: list[object] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, found
