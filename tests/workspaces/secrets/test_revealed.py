"""What a command that was given a value prints: blanked out before it is stored, whatever becomes of anybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandlot import Secret
from sandlot.sdk import Sandlot, Workspace
from sandlot.workspaces import ring
from tests.workspaces.conftest import folder_of, kill_agent, wait_until

VALUE = "value-0123456789-abcdef"
STARS = "*" * len(VALUE)
GIVEN = ["API_KEY"]


@pytest.fixture
def keeper(sandlot: Sandlot) -> Workspace:
    return sandlot.create(secrets={"API_KEY": Secret(value=VALUE, hosts=("api.example.com",))})


def stored(workspace: Workspace, number: int, name: str = "stdout") -> bytes:
    return (folder_of(workspace) / "commands" / str(number) / name).read_bytes()


def holding(state_dir: Path) -> list[str]:
    """Files of the state folder that hold the value, or half of it."""
    files = [path for path in state_dir.rglob("*") if path.is_file()]
    return [path.name for path in files if VALUE[:12].encode() in path.read_bytes()]


def test_no_byte_of_a_value_is_stored_while_the_command_runs(keeper: Workspace, state_dir: Path) -> None:
    script = (
        "printf 'a%.12s' $API_KEY; sleep 0.1; echo ${API_KEY#????????????}; printenv API_KEY | base64; exec sleep 300"
    )
    number = keeper.exec(script, reveal=GIVEN, background=True).command.number
    wait_until(lambda: stored(keeper, number).count(b"\n") == 2, "not all was printed")
    assert stored(keeper, number).startswith(b"a" + STARS.encode() + b"\n***")
    assert holding(state_dir) == ["secrets.json"]
    kill_agent(keeper)  # nobody is left who could clean up
    assert holding(state_dir) == ["secrets.json"]


def test_nor_by_what_a_command_has_left_behind(keeper: Workspace) -> None:
    script = "(sleep 0.3; echo late $API_KEY; exec sleep 300) & echo now"
    done = keeper.exec(script, reveal=GIVEN)
    assert done.stdout.text.startswith("now\n")
    wait_until(lambda: b"late" in stored(keeper, done.command.number), "it has not printed again")
    assert stored(keeper, done.command.number) == f"now\nlate {STARS}\n".encode()


def test_nor_where_the_output_is_longer_than_what_is_kept(monkeypatch: pytest.MonkeyPatch, state_dir: Path) -> None:
    monkeypatch.setenv("SANDLOT_OUTPUT_QUOTA", "10000")
    with Sandlot(state_dir) as small:
        made = small.create(secrets={"API_KEY": Secret(value=VALUE, hosts=())})
        try:
            done = made.exec("for n in $(seq 9000); do echo $API_KEY; done", reveal=GIVEN)
            assert done.stdout.total_bytes == 9000 * (len(VALUE) + 1)
            assert set(stored(made, done.command.number)) == {ord("*"), ord("\n")}
            assert holding(state_dir) == ["secrets.json"]
        finally:
            made.delete()


def test_output_is_whole_and_counted_right_when_the_end_looks_like_a_value(keeper: Workspace) -> None:
    done = keeper.exec("printf 'end: value-0123'; printf 'error: val' >&2", reveal=GIVEN)
    assert (done.stdout.total_bytes, done.stderr.total_bytes) == (15, 10)
    assert stored(keeper, done.command.number) == b"end: value-0123"
    assert done.stderr.text == "error: val"


def test_a_service_stores_none_either(keeper: Workspace) -> None:
    started = keeper.services.start("web", "echo $API_KEY; touch ok; exec sleep 300", ready_file="ok", reveal=GIVEN)
    assert stored(keeper, started.service.number) == STARS.encode() + b"\n"
    keeper.services.stop("web")


@pytest.mark.parametrize("plain", [False, True])
def test_a_value_on_the_screen_of_a_shell_is_never_read(keeper: Workspace, plain: bool) -> None:
    keeper.exec("printf %s $API_KEY > leak.txt", reveal=GIVEN)
    shell = keeper.shells.open(
        ["sh", "-c", "stty -echo; head -c 12 leak.txt; read x; tail -c +13 leak.txt; read x"], columns=9
    )
    wait_until(lambda: shell.read(0).shell.total_bytes >= 12, "nothing came")
    assert shell.read(0, plain=plain).text.replace("\n", "") == STARS[:12]
    shell.write(enter=True)
    wait_until(lambda: shell.read(0).shell.total_bytes >= len(VALUE), "the rest has not come")
    assert shell.read(0, plain=plain).text.replace("\n", "").replace("\r", "") == STARS
    singly = "".join(shell.read(at, max_bytes=1).text for at in range(len(VALUE)))
    assert singly == STARS
    shell.close()
    folder = folder_of(keeper) / "commands" / str(shell.info.number)
    assert VALUE.encode() not in (folder / ring.NAME).read_bytes()
