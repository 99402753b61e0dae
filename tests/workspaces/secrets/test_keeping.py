"""Setting, listing and deleting secrets of real workspaces, and what becomes of them in a workspace's life."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sandlot import Secret
from sandlot.errors import SecretExposed, SecretNotFound, StateCorrupt, UsageError
from sandlot.paths import Paths
from sandlot.sdk import Sandlot, Workspace
from sandlot.workspaces.secrets import vault as vaults
from tests.conftest import Cli, clean_environment
from tests.workspaces.conftest import folder_of, wait_until

VALUE = "value-0123456789-abcdef"
OTHER = "other-9876543210-fedcba"
BOUND = Secret(value=VALUE, hosts=("api.example.com",))


def inside(workspace: Workspace, name: str = "API_KEY") -> str:
    return workspace.exec(["printenv", name]).stdout.text.strip()


@pytest.fixture
def keeper(sandlot: Sandlot) -> Workspace:
    return sandlot.create(secrets={"API_KEY": BOUND})


def test_inside_there_is_a_placeholder_that_nobody_can_guess(sandlot: Sandlot, keeper: Workspace) -> None:
    second = sandlot.create(secrets={"API_KEY": BOUND})
    places = {inside(keeper), inside(second)}
    assert len(places) == 2
    assert all(place.startswith("sandlot_secret_") and len(place) == 47 for place in places)
    assert inside(keeper) == keeper.secrets.list()[0].placeholder == keeper.info.secrets[0].placeholder


def test_the_value_is_in_one_private_file_and_nowhere_else(keeper: Workspace, state_dir: Path) -> None:
    inside(keeper)
    keeper.snapshots.create("one")
    keeper.stop()
    own = folder_of(keeper)
    assert stat.S_IMODE((own / "secrets.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    holding = [path for path in state_dir.rglob("*") if path.is_file() and VALUE.encode() in path.read_bytes()]
    assert holding == [own / "secrets.json"]


def test_no_command_finds_the_key_of_the_authority_or_the_vault(keeper: Workspace) -> None:
    key = json.loads((folder_of(keeper) / "secrets.json").read_text())["authority_key"].splitlines()[1]
    shown = keeper.exec("cat /etc/sandlot/*; ls -la /etc/sandlot; find / -name 'secrets.json' 2>/dev/null")
    assert "BEGIN CERTIFICATE" in shown.stdout.text
    assert "secrets.json" not in shown.stdout.text
    assert key not in shown.stdout.text
    assert keeper.exec("echo x > /etc/sandlot/ca-bundle.pem || rm -f /etc/sandlot/ca-bundle.pem").exit_status != 0


def test_programs_are_told_of_the_bundle_only_where_tls_has_to_be_opened(
    sandlot: Sandlot, workspace: Workspace
) -> None:
    plain = sandlot.create(
        secrets={"A": Secret(value=VALUE, hosts=("http://h.example",)), "B": Secret(value=OTHER, hosts=())}
    )
    for each in (workspace, plain):
        assert each.exec("env | grep -c CERT_FILE").stdout.text.strip() == "0"
    plain.secrets.set("A", value=VALUE, hosts=["h.example"])  # while it runs
    assert (
        plain.exec("openssl verify -CAfile $SSL_CERT_FILE $SSL_CERT_FILE; cat $PIP_CERT | grep -c BEGIN").exit_status
        == 0
    )


def test_a_new_value_keeps_placeholder_and_hosts(keeper: Workspace) -> None:
    before = inside(keeper)
    changed = keeper.secrets.set("API_KEY", value=OTHER)
    assert not changed.created
    assert changed.secret.hosts == ("api.example.com",)
    assert inside(keeper) == before
    assert VALUE not in (folder_of(keeper) / "secrets.json").read_text()
    moved = keeper.secrets.set("API_KEY", value=OTHER, hosts=["two.example"])
    assert moved.secret.hosts == ("two.example",)
    assert keeper.secrets.set("API_KEY", value=OTHER, reveal_only=True).secret.hosts == ()


def test_a_new_secret_must_say_where_it_may_go(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="not bound to a host"):
        workspace.secrets.set("API_KEY", value=VALUE)
    assert workspace.secrets.set("API_KEY", value=VALUE, reveal_only=True).created
    with pytest.raises(UsageError, match="exclude"):
        workspace.secrets.set("API_KEY", value=VALUE, hosts=["a.example"], reveal_only=True)


def test_a_deleted_secret_is_gone_from_disk_and_from_the_environment(keeper: Workspace) -> None:
    keeper.secrets.delete("API_KEY")
    assert keeper.secrets.list() == []
    assert inside(keeper) == ""
    assert not (folder_of(keeper) / "secrets.json").exists()
    with pytest.raises(SecretNotFound):
        keeper.secrets.delete("API_KEY")


def test_secrets_survive_stop_reset_and_a_lost_database(keeper: Workspace, sandlot: Sandlot, state_dir: Path) -> None:
    place = inside(keeper)
    keeper.stop()
    assert inside(keeper) == place
    keeper.reset()
    assert inside(keeper) == place
    keeper.stop()
    sandlot._context.store.database.close()
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        (state_dir / name).unlink(missing_ok=True)
    with Sandlot(state_dir) as again:
        assert inside(again.get(keeper.id)) == place
        again.get(keeper.id).stop()


def test_a_fork_has_the_secrets_with_the_same_placeholders_and_keys_of_its_own(keeper: Workspace) -> None:
    (fork,) = keeper.fork()
    assert inside(fork) == inside(keeper)
    kept = [json.loads((folder_of(each) / "secrets.json").read_text()) for each in (keeper, fork)]
    assert kept[0]["secrets"] == kept[1]["secrets"]
    assert kept[0]["authority_key"] != kept[1]["authority_key"]
    fork.secrets.delete("API_KEY")
    assert keeper.secrets.list()


def test_deleting_a_workspace_leaves_no_value_even_in_the_trash(
    keeper: Workspace, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandlot.workspaces.reaper.empty_trash", lambda *_, **__: 0)
    keeper.delete()
    assert any((state_dir / "trash").iterdir())
    assert not [path for path in state_dir.rglob("*") if path.is_file() and VALUE.encode() in path.read_bytes()]


def test_a_failed_create_leaves_no_value(sandlot: Sandlot, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise UsageError("broken on purpose")

    monkeypatch.setattr("sandlot.runtimes.bubblewrap.runtime.BubblewrapRuntime.launch", broken)
    with pytest.raises(UsageError, match="on purpose"):
        sandlot.create(secrets={"API_KEY": BOUND})
    assert not [path for path in state_dir.rglob("*") if path.is_file() and VALUE.encode() in path.read_bytes()]


def test_a_damaged_vault_is_an_error_that_tells_no_value(keeper: Workspace) -> None:
    vault = folder_of(keeper) / "secrets.json"
    vault.write_text(vault.read_text()[:-20])
    with pytest.raises(StateCorrupt) as caught:
        keeper.exec(["true"], reveal=["API_KEY"])
    assert VALUE not in str(caught.value.to_json())
    assert keeper.status().workspace.secrets  # looking still works
    assert any("damaged" in each for each in keeper.call("secret_list").warnings)
    vault.unlink()
    assert "the value of API_KEY is lost: set it again" in keeper.call("secret_list").warnings
    keeper.secrets.set("API_KEY", value=VALUE, hosts=["api.example.com"])
    assert keeper.exec(["printenv", "API_KEY"], reveal=["API_KEY"]).exit_status == 0


def test_a_host_that_the_network_does_not_allow_is_warned_of(sandlot: Sandlot) -> None:
    closed = sandlot.create(secrets={"API_KEY": BOUND})
    assert any("network is off" in each for each in closed.info.warnings)
    other = sandlot.create(secrets={"API_KEY": BOUND}, allow=["other.example"])
    assert any("does not allow" in each for each in other.info.warnings)
    allowed = sandlot.create(secrets={"API_KEY": BOUND}, allow=["*.example.com"])
    assert not [each for each in allowed.info.warnings if "API_KEY" in each]


def test_only_a_command_that_was_given_the_value_sees_it(keeper: Workspace) -> None:
    check = f'[ "$API_KEY" = {VALUE} ]'
    shown = keeper.exec(f"{check} && echo $API_KEY $API_KEY", reveal=["API_KEY"])
    assert shown.exit_status == 0
    assert shown.stdout.text.split() == ["*" * len(VALUE)] * 2
    assert shown.command.revealed == ("API_KEY",)
    assert keeper.exec(check).exit_status == 1
    with pytest.raises(SecretNotFound):
        keeper.exec(["true"], reveal=["NOT_THERE"])
    with pytest.raises(UsageError, match="set otherwise"):
        keeper.exec(["true"], reveal=["API_KEY"], env={"API_KEY": "x"})


def test_a_value_in_the_words_of_a_command_gets_into_no_record(keeper: Workspace, state_dir: Path) -> None:
    done = keeper.exec(["echo", f"key={VALUE}"])
    assert done.command.argv == ("echo", "key=" + "*" * len(VALUE))
    for path in state_dir.glob("state.db*"):
        assert VALUE.encode() not in path.read_bytes()


def test_output_is_blanked_out_while_it_streams_and_in_what_is_kept(keeper: Workspace) -> None:
    pieces: list[bytes] = []
    script = "printf %.10s $API_KEY; sleep 0.1; printf %s ${API_KEY#??????????}; echo; echo $API_KEY >&2"
    done = keeper.exec(script, reveal=["API_KEY"], on_output=lambda _, data: pieces.append(data))
    stars = "*" * len(VALUE)
    assert b"".join(pieces).decode().split() == [stars, stars]
    folder = folder_of(keeper) / "commands" / str(done.command.number)
    assert (folder / "stdout").read_text() == stars + "\n"
    assert (folder / "stderr").read_text() == stars + "\n"


def test_answers_about_a_running_command_are_blanked_out_byte_by_byte(keeper: Workspace) -> None:
    started = keeper.exec("echo x$API_KEY; exec sleep 60", reveal=["API_KEY"], background=True)
    number = started.command.number
    wait_until(lambda: keeper.logs(number).total_bytes > len(VALUE), "nothing was printed")
    singly = "".join(keeper.logs(number, offset=at, limit=1).output or "" for at in range(len(VALUE) + 2))
    assert singly == "x" + "*" * len(VALUE) + "\n"
    short = keeper.wait(number, timeout=0.01, max_output=20).stdout
    assert short.text.startswith("x*********\n[...")
    assert VALUE[-9:] not in short.text
    keeper.kill(number)
    assert VALUE not in (folder_of(keeper) / "commands" / str(number) / "stdout").read_text()


def test_a_value_that_a_command_wrote_to_a_file_is_shown_and_handed_out_nowhere(
    keeper: Workspace, tmp_path: Path
) -> None:
    script = "echo key=$API_KEY > leak.txt; printf 'a\\0%s' $API_KEY > leak.bin; echo fine > fine.txt"
    keeper.exec(script, reveal=["API_KEY"])
    diff = keeper.diff()
    assert diff.redacted
    assert "key=" + "*" * len(VALUE) in diff.patch
    assert VALUE not in keeper.files.read("leak.txt").content
    assert VALUE not in repr(keeper.files.search("key="))
    assert not keeper.diff("fine.txt").redacted
    with pytest.raises(SecretExposed) as caught:
        keeper.export(".", tmp_path / "out")
    assert caught.value.details == ("leak.bin", "leak.txt")
    assert not (tmp_path / "out").exists()
    with pytest.raises(SecretExposed):
        keeper.apply(target=tmp_path, yes=True)
    assert list(tmp_path.iterdir()) == []
    keeper.apply("fine.txt", target=tmp_path, yes=True)
    assert (tmp_path / "fine.txt").read_text() == "fine\n"
    keeper.export(".", tmp_path / "out", allow_secrets=True)
    assert VALUE in (tmp_path / "out" / "leak.txt").read_text()


def test_nothing_of_a_patch_that_was_kept_for_later_holds_a_value(keeper: Workspace) -> None:
    keeper.exec("for n in $(seq 2000); do echo $API_KEY; done > leak.txt", reveal=["API_KEY"])
    cut = keeper.diff(max_bytes=1000)
    assert cut.handle
    kept = folder_of(keeper) / "patches" / cut.handle
    assert VALUE.encode() not in kept.read_bytes()


def test_a_one_shot_workspace_has_secrets_too(sandlot: Sandlot, state_dir: Path) -> None:
    done = sandlot.run("echo $API_KEY", secrets={"API_KEY": BOUND})
    assert done.stdout.text.startswith("sandlot_secret_")
    shown = sandlot.run("echo $API_KEY", secrets={"API_KEY": BOUND}, reveal=["API_KEY"])
    assert shown.stdout.text == "*" * len(VALUE) + "\n"
    assert not [path for path in state_dir.rglob("*") if path.is_file() and VALUE.encode() in path.read_bytes()]


def test_a_service_can_be_given_a_value(keeper: Workspace) -> None:
    started = keeper.services.start(
        "web", f'[ "$API_KEY" = {VALUE} ] && echo got $API_KEY && touch ok && exec sleep 60', ready_file="ok",
        reveal=["API_KEY"],
    )  # fmt: skip
    assert started.service.state == "ready"
    assert started.stdout.text == f"got {'*' * len(VALUE)}\n"
    assert keeper.services.logs("web").stdout == f"got {'*' * len(VALUE)}\n"
    keeper.services.stop("web")
    folder = folder_of(keeper) / "commands" / str(started.service.number)
    assert VALUE not in (folder / "stdout").read_text()


def test_the_command_line_takes_values_from_stdin_files_and_variables_alone(cli: Cli, workspace: Workspace) -> None:
    key = workspace.id
    done = cli("workspace", "secret", "set", key, "API_KEY", "--host", "api.example.com", stdin=VALUE.encode() + b"\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"secret API_KEY set: api.example.com\n"
    assert b"network is off" in done.stderr
    listed = cli("workspace", "secret", "list", key, "--json")
    (found,) = json.loads(listed.stdout)["secrets"]
    assert set(found) == {"name", "hosts", "placeholder"}
    shown = cli(
        "workspace", "exec", key, "--reveal", "API_KEY", "--json", "-c", f'[ "$API_KEY" = {VALUE} ]; echo $? $API_KEY'
    )
    assert json.loads(shown.stdout)["stdout"]["text"] == f"0 {'*' * len(VALUE)}\n"
    streamed = cli("workspace", "exec", key, "--reveal", "API_KEY", "--", "printenv", "API_KEY")
    assert streamed.stdout == b"*" * len(VALUE) + b"\n"
    assert cli("workspace", "secret", "delete", key, "API_KEY").stdout == b"deleted API_KEY\n"
    gone = cli("workspace", "secret", "delete", key, "API_KEY")
    assert (gone.returncode, gone.stdout) == (3, b"")
    assert b"hint:" in gone.stderr


def test_the_command_line_leaves_no_core_with_values_in_it(
    workspace: Workspace, state_dir: Path, tmp_path: Path
) -> None:
    words = ["workspace", "secret", "set", workspace.id, "API_KEY", "--reveal-only"]
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        asked = subprocess.Popen(
            [sys.executable, "-m", "sandlot", *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment(state_dir), cwd=tmp_path,
        )  # fmt: skip
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    with asked:
        limits = Path(f"/proc/{asked.pid}/limits")
        wait_until(lambda: "Max core file size        1 " in limits.read_text(), "a core would be left")
        asked.send_signal(signal.SIGQUIT)
        assert asked.wait() == -signal.SIGQUIT
    assert list(tmp_path.iterdir()) == []


def test_a_value_on_the_command_line_is_refused_and_not_repeated(cli: Cli) -> None:
    done = cli("workspace", "create", "--secret", f"API_KEY={VALUE}@api.example.com", "--json")
    assert done.returncode == 2
    assert VALUE.encode() not in done.stdout + done.stderr


def test_a_vault_that_others_can_read_is_closed_when_it_is_used(keeper: Workspace) -> None:
    vault = folder_of(keeper) / "secrets.json"
    vault.chmod(0o644)
    keeper.exec(["true"], reveal=["API_KEY"])
    assert stat.S_IMODE(vault.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_a_vault_that_is_no_file_is_refused(keeper: Workspace, tmp_path: Path, kind: str) -> None:
    vault = folder_of(keeper) / "secrets.json"
    elsewhere = tmp_path / "elsewhere"
    vault.rename(elsewhere)
    if kind == "link":
        vault.symlink_to(elsewhere)
    elif kind == "fifo":
        os.mkfifo(vault)
    else:
        vault.mkdir()
    with pytest.raises(StateCorrupt, match="not a file of yours") as caught:
        keeper.exec(["true"], reveal=["API_KEY"])
    assert "remove it" in caught.value.hint
    vault.rmdir() if kind == "folder" else vault.unlink()


def test_what_a_killed_writer_left_goes_with_the_next_change(keeper: Workspace, state_dir: Path) -> None:
    for name in ("BOTH", "API_KEY"):
        folder_of(keeper).joinpath(".secrets.0a0b0c0d").write_text(VALUE)
        if name == "BOTH":
            keeper.secrets.set(name, value=OTHER, reveal_only=True)
        else:
            keeper.secrets.delete("BOTH")
            keeper.secrets.delete(name)
        assert not folder_of(keeper).joinpath(".secrets.0a0b0c0d").exists()
    assert not [path for path in state_dir.rglob("*") if path.is_file() and VALUE.encode() in path.read_bytes()]


def test_the_vault_of_somebody_else_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Paths.at(tmp_path).workspace("ws-1")
    own.root.mkdir(parents=True)
    vaults.save(own, vaults.Vault())
    assert vaults.load(own) == vaults.Vault()
    monkeypatch.setattr(os, "geteuid", lambda: 54321)  # the file is ours, and we are somebody else
    with pytest.raises(StateCorrupt, match="not a file of yours"):
        vaults.load(own)


def test_only_the_owner_can_read_the_vault_whatever_the_umask(sandlot: Sandlot) -> None:
    before = os.umask(0)
    try:
        made = sandlot.create(secrets={"API_KEY": BOUND})
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder_of(made) / "secrets.json").stat().st_mode) == 0o600
