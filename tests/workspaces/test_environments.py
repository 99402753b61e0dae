"""Workspaces on environments: a tiny one made of this machine's shell, and setups that are run in it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sandlot.errors import BuildFailed, EnvironmentNotFound, StartFailed, UsageError
from sandlot.guest.tools import git
from sandlot.paths import Paths
from sandlot.runtimes.base import AreaMount, StorageKind
from sandlot.runtimes.bubblewrap.plan import MOUNT_POINTS, Plan
from sandlot.runtimes.relocated import PYTHON_INSIDE, relocated
from sandlot.sdk import Sandlot, Workspace
from tests.conftest import Cli, CompletedProcess, clean_environment
from tests.images import Image, entry, layer, runnable
from tests.workspaces.conftest import use_storage

VARIABLES = ["PATH=/opt/tools:/bin", "GREETING=hello", "LANG=C"]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout of an image with a shell and little else."""
    extra = layer(entry("opt/tools/greet", b"#!/bin/sh\necho $GREETING from $0\n", mode=0o755))
    return Image([runnable(), extra], {"Env": VARIABLES}).layout(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="session")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter for environments: copied once for all tests."""
    paths = Paths.at(tmp_path_factory.mktemp("python"))
    relocated(paths)
    return paths.python


@pytest.fixture
def tiny(sandlot: Sandlot, saved: Path, copied: Path) -> str:
    """Its environment's name."""
    shutil.copytree(copied, sandlot.paths.python, copy_function=os.link)
    return sandlot.environments.import_image(saved, name="tiny:1").name


def said(workspace: Workspace, command: str) -> str:
    done = workspace.exec(command)
    assert done.command.outcome is not None
    assert done.command.outcome.exit_code == 0, done.stderr.text
    return done.stdout.text


def test_a_workspace_of_an_environment_sees_it_and_nothing_of_the_host(sandlot: Sandlot, tiny: str) -> None:
    workspace = sandlot.create(environment=tiny)
    assert workspace.info.environment == f"tiny:1@{sandlot.environments.inspect(tiny).environment.digest}"
    assert said(workspace, "greet") == "hello from /opt/tools/greet\n"
    assert said(workspace, "echo $PATH $LANG $SHELL $HOME") == (
        "/home/agent/.local/bin:/opt/tools:/bin C /bin/sh /home/agent\n"
    )
    assert said(workspace, "ls /usr 2>/dev/null || echo none; ls /etc").split() == [
        "none", "group", "hosts", "nsswitch.conf", "passwd", "resolv.conf", "sandlot",
    ]  # fmt: skip
    assert said(workspace, "id").startswith("uid=1000(agent)")
    for place in ("/x", "/opt/x", "/etc/passwd", "/bin/sh", "/proc/sys/kernel/core_pattern"):
        assert workspace.exec(f"echo > {place}").command.outcome.exit_code != 0  # type: ignore[union-attr]  # it ended


def test_everything_of_a_workspace_works_on_an_environment(sandlot: Sandlot, tiny: str, tmp_path: Path) -> None:
    (tmp_path / "seed").mkdir()
    (tmp_path / "seed/a.txt").write_text("one\n")
    workspace = sandlot.create(tmp_path / "seed", environment=tiny)
    workspace.files.write("b.txt", b"two\n")
    said(workspace, "echo three > c.txt; echo note > ~/note")
    assert {each.path for each in workspace.diff().files} == {"b.txt", "c.txt"}
    assert [each.path for each in workspace.files.search("two").matches] == ["b.txt"]
    workspace.patch("--- a/b.txt\n+++ b/b.txt\n@@ -1 +1,2 @@\n two\n+and more\n")  # the image has no git
    workspace.files.write("b.txt", b"two\n")
    workspace.snapshots.create("one")
    said(workspace, "rm a.txt b.txt")
    workspace.reset("one")
    assert said(workspace, "cat a.txt b.txt c.txt ~/note") == "one\ntwo\nthree\nnote\n"
    (fork,) = workspace.fork()
    workspace.stop()
    for each in (fork, workspace):
        assert said(each, "greet && cat b.txt") == "hello from /opt/tools/greet\ntwo\n"
        assert each.status().workspace.environment == workspace.info.environment
    with workspace.shells.open() as shell:
        shell.write("echo shell is $0\n")
        assert "shell is /bin/sh" in shell.read(idle=0.5).text
    assert sandlot.environments.prune().digests == ()


def test_a_name_may_mean_something_else_later_and_workspaces_keep_what_they_have(
    sandlot: Sandlot, tiny: str, tmp_path: Path
) -> None:
    workspace = sandlot.create(environment=tiny)
    other = Image([runnable(), layer(entry("opt/other", b"x"))]).layout(tmp_path / "image")
    sandlot.environments.import_image(other, name=tiny)
    assert said(sandlot.create(environment=tiny), "ls /opt") == "other\n"
    workspace.reset()
    assert said(workspace, "ls /opt") == "tools\n"
    assert len([row for row in sandlot.environments.list() if row.digest and row.workspaces == 1]) == 2


def test_the_agent_looks_for_its_own_git_where_it_is_shown() -> None:
    assert git.OWN == PYTHON_INSIDE


def test_an_image_without_a_shell_runs_what_it_has(sandlot: Sandlot, tmp_path: Path) -> None:
    sandlot.environments.import_image(Image([runnable(("cat",))]).layout(tmp_path / "image"), name="bare:1")
    workspace = sandlot.create(environment="bare:1")
    workspace.files.write("a.txt", b"one\n")
    assert workspace.exec(["cat", "a.txt"]).stdout.text == "one\n"
    assert workspace.exec("cat a.txt").command.outcome.exit_code == 127  # type: ignore[union-attr]  # it ended
    assert [each.path for each in workspace.diff().files] == ["a.txt"]
    assert sandlot.prepare("bare:1").steps[-1].name == "delete"
    with pytest.raises(BuildFailed):
        sandlot.environments.build("other", parent="bare:1", setup=["true"])


def test_a_missing_environment_is_refused_with_what_makes_it(sandlot: Sandlot) -> None:
    for name, hint in {"debian:12": "sandlot env build debian:12", "nobody:1": "sandlot env import"}.items():
        with pytest.raises(EnvironmentNotFound) as caught:
            sandlot.create(environment=name)
        assert hint in caught.value.hint
    assert sandlot.list() == []
    with pytest.raises(EnvironmentNotFound, match="this machine's own"):
        sandlot.environments.inspect("host")


def test_an_environment_that_was_taken_away_by_force_fails_closed(sandlot: Sandlot, tiny: str) -> None:
    workspace = sandlot.create(environment=tiny)
    workspace.stop()
    root = Path(sandlot.environments.inspect(tiny).root)
    root.parent.rename(root.parent.with_name("gone"))
    sandlot._context.environments.clear()
    with pytest.raises(EnvironmentNotFound, match="is gone"):
        workspace.exec("true")


def test_toolchains_of_the_host_do_not_go_into_an_environment(sandlot: Sandlot, tiny: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="host's own environment"):
        sandlot.create(environment=tiny, toolchains=[tmp_path])


def test_the_default_is_a_setting(sandlot: Sandlot, tiny: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = cli("run", "--environment", tiny, "--json", "--", "greet")
    assert json.loads(answer.stdout)["stdout"]["text"] == "hello from /opt/tools/greet\n"
    monkeypatch.setenv("SANDLOT_ENVIRONMENT", tiny)
    with Sandlot(sandlot.paths.state) as other:
        assert other.run("greet").stdout.text == "hello from /opt/tools/greet\n"
        assert other.run("ls /usr/bin > /dev/null").command.outcome.exit_code != 0  # type: ignore[union-attr]  # ended


AS_USER = """
import sys
from sandlot.sdk import Sandlot
with Sandlot() as sandlot:
    sandlot.environments.import_image(sys.argv[1], name="tiny:1")
    sandlot.environments.build("mine", parent="tiny:1", setup=["id > /opt/who; chown 33:33 /opt/who"])
    print(sandlot.run("greet; cat /opt/who; echo > /opt/x", environment="mine"))
    print([step.name for step in sandlot.prepare("mine").steps])
"""


def test_an_ordinary_user_can_do_all_of_it(
    saved: Path, ordinary_user: Callable[[Sequence[str]], CompletedProcess]
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="sl-image-"))
    try:
        shutil.copytree(saved, folder / "image")
        for path in (folder, folder / "image"):
            path.chmod(0o755)
        done = ordinary_user(["-c", AS_USER, str(folder / "image")])
        out = done.stdout.decode()
        assert done.returncode == 0, done.stderr.decode()
        assert "hello from /opt/tools/greet\\nuid=0(root)" in out
        assert "Read-only file system" in out
        assert "'delete']" in out
    finally:
        shutil.rmtree(folder)


# -- setups ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[StorageKind.OVERLAY, StorageKind.COPY])
def each_storage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    use_storage(monkeypatch, request.param)
    return str(request.param)


def test_a_setup_changes_a_copy_of_its_parent_once(sandlot: Sandlot, tiny: str, each_storage: str) -> None:
    parent = Path(sandlot.environments.inspect(tiny).root)
    before = sorted(os.listdir(parent / "opt"))
    setup = [
        "id > /opt/who; echo made > /opt/tools/made; ln /opt/tools/made /opt/again; rm /opt/tools/greet",
        "mkdir -p /srv/deep && touch /srv/deep/x && ln -s /nowhere /srv/link && chown 33:33 /srv/deep/x",
    ]
    first = sandlot.environments.build("mine", parent=tiny, setup=setup)
    again = sandlot.environments.build("mine:2", parent=tiny, setup=setup)
    assert (first.cached, again.cached, again.environment) == (False, True, first.environment)
    assert first.environment.variables["GREETING"] == "hello"
    workspace = sandlot.create(environment="mine")
    assert said(workspace, "cat /opt/again /opt/who; ls /opt/tools /srv").startswith("made\nuid=0")
    assert said(workspace, "ls /opt/tools /srv").split() == ["/opt/tools:", "made", "/srv:", "deep", "link"]
    assert sorted(os.listdir(parent / "opt")) == before
    root = Path(sandlot.environments.inspect("mine").root)
    shared = os.path.samefile(root / "bin/sh", parent / "bin/sh")
    assert shared == (each_storage == StorageKind.OVERLAY), "what is the same is stored once"


def test_a_setup_finds_files_and_is_run_again_when_they_change(sandlot: Sandlot, tiny: str, tmp_path: Path) -> None:
    (tmp_path / "wanted.txt").write_text("a\n")
    made = sandlot.environments.build("one", parent=tiny, source=tmp_path, setup=["cat wanted.txt > /opt/got"])
    assert (Path(sandlot.environments.inspect("one").root) / "opt/got").read_text() == "a\n"
    (tmp_path / "wanted.txt").write_text("another\n")
    other = sandlot.environments.build("one", parent=tiny, source=tmp_path, setup=["cat wanted.txt > /opt/got"])
    assert not other.cached
    assert other.environment.digest != made.environment.digest


def test_a_setup_that_fails_leaves_nothing_and_says_what_it_printed(sandlot: Sandlot, tiny: str) -> None:
    with pytest.raises(BuildFailed) as caught:
        sandlot.environments.build("bad", parent=tiny, setup=["echo the reason >&2; exit 3"])
    assert "status 3" in caught.value.message
    assert "the reason" in caught.value.details
    with pytest.raises(BuildFailed, match="was ended"):
        sandlot.environments.build("bad", parent=tiny, setup=["sleep 600"], timeout=0.2)
    assert sandlot.list() == []
    assert [row.names for row in sandlot.environments.list() if row.digest] == [(tiny,)]
    with pytest.raises(UsageError, match="environment to change"):
        sandlot.environments.build("bad", parent="host", setup=["true"])


def test_a_killed_build_leaves_nothing_behind(sandlot: Sandlot, tiny: str, state_dir: Path) -> None:
    words = ["env", "build", "mine", "--from", tiny, "--setup", "echo started; touch /opt/half; sleep 600"]
    with subprocess.Popen(
        [sys.executable, "-m", "sandlot", *words], env=clean_environment(state_dir), stdout=subprocess.PIPE
    ) as building:
        assert building.stdout is not None
        assert building.stdout.readline() == b"started\n"
        building.kill()
    sandlot.repair()
    assert sandlot.list() == []
    assert [name for name in os.listdir(sandlot.paths.building) if not name.startswith("lock-")] == []
    assert [row.names for row in sandlot.environments.list() if row.digest] == [(tiny,)]
    made = sandlot.environments.build("mine", parent=tiny, setup=["test ! -e /opt/half"])
    assert not made.cached


def test_a_setup_is_isolated_as_every_workspace_is(sandlot: Sandlot, tiny: str, tmp_path: Path) -> None:
    """What it cannot do, as the root it seems to be: reach the host, its network, the store, the kernel."""
    parent = Path(sandlot.environments.inspect(tiny).root)
    attack = (
        "for file in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/1/mem /dev/sda; do"
        "  (echo x > $file) 2>/dev/null && echo wrote $file; done;"
        f"ls {tmp_path} {parent} /root/.ssh 2>/dev/null && echo saw the host;"
        "ls /proc/1/root/usr/bin 2>/dev/null && echo left the root;"
        "env > /opt/env; :"
    )
    done: list[bytes] = []
    sandlot.environments.build("tried", parent=tiny, setup=[attack], on_output=lambda _, data: done.append(data))
    assert b"".join(done) == b""
    environment = (Path(sandlot.environments.inspect("tried").root) / "opt/env").read_text()
    assert "SECRET" not in environment
    assert str(Path.home()) not in environment.replace("HOME=/root", "")


def test_what_a_hostile_setup_leaves_is_judged_like_an_image(sandlot: Sandlot, tiny: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    hostile = (
        f"rm -rf /etc /home/agent; ln -s {tmp_path} /etc; rm -rf /var; ln -s {victim} /var; ln -s {victim} /opt/out;"
        "echo x > /opt/.wh.tools; mkdir -m 0 /opt/closed; echo x > /opt/setuid; chmod 6777 /opt/setuid 2>/dev/null; :"
    )
    sandlot.environments.build("hostile", parent=tiny, setup=[hostile])
    root = Path(sandlot.environments.inspect("hostile").root)
    for point in MOUNT_POINTS:
        assert stat.S_ISDIR(os.lstat(root / point).st_mode), point
    assert victim.read_text() == "untouched"
    assert sorted(os.listdir(tmp_path)) == ["victim"]
    assert not os.lstat(root / "opt/setuid").st_mode & 0o6000
    assert sorted(os.listdir(root / "opt/tools")) == ["greet"], "a name is no whiteout"
    assert said(sandlot.create(environment="hostile"), "greet") == "hello from /opt/tools/greet\n"


def test_a_plan_is_refused_for_a_root_without_real_mount_points(tmp_path: Path) -> None:
    for point in MOUNT_POINTS:
        (tmp_path / "tree" / point).mkdir(parents=True)
    Plan().environment(tmp_path / "tree")
    (tmp_path / "tree/tmp").rmdir()
    (tmp_path / "tree/tmp").symlink_to("/tmp")
    with pytest.raises(StartFailed, match="/tmp"):
        Plan().environment(tmp_path / "tree")
    (tmp_path / "tree/tmp").unlink()
    (tmp_path / "tree/tmp").mkdir()
    (tmp_path / "tree/home").rename(tmp_path / "home")
    (tmp_path / "tree/home").symlink_to(tmp_path / "home")
    with pytest.raises(StartFailed, match="/home/agent"):
        Plan().environment(tmp_path / "tree")


def test_a_setup_is_never_started_on_changes_it_has_made_before(tmp_path: Path) -> None:
    for point in MOUNT_POINTS:
        (tmp_path / "tree" / point).mkdir(parents=True)
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    building = AreaMount("/", tmp_path / "upper", tmp_path / "work")
    Plan().environment(tmp_path / "tree", building)
    (tmp_path / "upper/proc").symlink_to("/")
    with pytest.raises(StartFailed, match="twice"):
        Plan().environment(tmp_path / "tree", building)


# -- prepare -----------------------------------------------------------------------------------------------------


def test_prepare_proves_the_whole_way_and_leaves_nothing(sandlot: Sandlot, tiny: str) -> None:
    done = sandlot.prepare(tiny)
    assert [step.name for step in done.steps] == ["build", "create", "exec", "reset", "exec after reset", "delete"]
    assert done.environment.startswith("tiny:1@")
    assert sandlot.list() == []
    assert sandlot.prepare().environment == "host"
    with pytest.raises(EnvironmentNotFound):
        sandlot.prepare("nobody:1")


def test_the_list_says_what_is_warm_cold_and_stale(sandlot: Sandlot, tiny: str, tmp_path: Path) -> None:
    def states() -> dict[str, str]:
        return {name: row.readiness.value for row in sandlot.environments.list() for name in row.names}

    shutil.rmtree(sandlot.paths.python)
    assert (states()["host"], states()[tiny], states()["debian:12"]) == ("warm", "cold", "cold")
    sandlot.environments.build("child", parent=tiny, setup=["true > /opt/x"])
    assert (states()[tiny], states()["child"]) == ("warm", "warm")
    other = Image([runnable(), layer(entry("opt/other", b"x"))]).layout(tmp_path / "image")
    sandlot.environments.import_image(other, name=tiny)
    assert (states()[tiny], states()["child"]) == ("warm", "stale")
