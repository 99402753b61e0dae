"""Which environment the workspaces of a server have: its own option, the setting for its mode, the setting for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandlot.mcpserver.calls import Work
from sandlot.mcpserver.project import Project
from sandlot.mcpserver.server import create_server
from sandlot.mcpserver.tools import find_tool
from sandlot.sdk import Sandlot
from tests.images import Image, runnable


@pytest.mark.parametrize(
    ("option", "setting", "found"),
    [(None, None, ""), (None, "tiny:1", "tiny:1"), ("host", "tiny:1", "host"), (None, "default", "")],
)
def test_the_option_wins_over_the_setting_of_the_mode(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, option: str | None, setting: str | None, found: str
) -> None:
    if setting is not None:
        monkeypatch.setenv("SANDLOT_ENVIRONMENT_COLD_START", setting)
    server = create_server("cold-start", environment=option, state_dir=state_dir)
    other = create_server("repro-fix", environment=option, state_dir=state_dir)
    try:
        assert server._creating.environment == found
        assert other._creating.environment == (option or "")
    finally:
        server.close()
        other.close()


def test_a_workspace_made_by_a_server_has_its_environment(sandlot: Sandlot, tmp_path: Path) -> None:
    image = Image([runnable()])
    name = sandlot.environments.import_image(image.layout(tmp_path / "image"), name="tiny:1").name
    server = create_server("inspect", environment=name, project_source=False, state_dir=sandlot.paths.state)
    try:
        tool = find_tool(server.tools, server.shown, "workspace_create")
        work = Work(sandlot, str(sandlot.paths.state), tool, frozenset({"workspace_create"}), 45.0, server._creating)
        work.run({}, Project(server._options, None, "asked"))
        assert [info.environment.partition("@")[0] for info in sandlot.list()] == ["tiny:1"]
    finally:
        server.close()
