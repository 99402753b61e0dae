"""The arguments of bubblewrap: what must always be there, and what must never be."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandlot.errors import StartFailed
from sandlot.runtimes.base import AREA_TARGETS, AreaMount
from sandlot.runtimes.bubblewrap.plan import ETC_FILES, Plan, environment


def full() -> Plan:
    plan = Plan()
    plan.isolate("sandlot")
    plan.root(dict.fromkeys(ETC_FILES, 7))
    plan.kernel_files(1 << 20, Path("/cache/devices"))
    plan.show(Path("/code"), "/run/sandlot/lib")
    for target in AREA_TARGETS.values():
        plan.area(AreaMount(target, Path("/upper"), Path("/work"), (Path("/lower"),)))
    plan.seal()
    return plan


def pairs(plan: Plan, option: str) -> list[tuple[str, str]]:
    words = plan.options
    return [(words[at + 1], words[at + 2]) for at, word in enumerate(words) if word == option]


def test_the_wall_is_always_whole() -> None:
    words = full().options
    for option in ("--unshare-all", "--unshare-user", "--disable-userns", "--new-session", "--as-pid-1"):
        assert option in words
    assert words[words.index("--cap-drop") + 1] == "ALL"
    assert not {"--share-net", "--cap-add", "--setenv", "--clearenv", "--unshare-user-try"} & set(words)
    for path in ("/", "/dev", "/proc"):
        assert path in [words[at + 1] for at, word in enumerate(words) if word == "--remount-ro"]


def test_nothing_of_the_host_is_shown_writable_but_the_two_areas_and_devices() -> None:
    plan = Plan()
    plan.isolate("sandlot")
    plan.root({})
    plan.kernel_files(1 << 20)
    for target in AREA_TARGETS.values():
        plan.area(AreaMount(target, Path("/copy")))
    assert [inside for _, inside in pairs(plan, "--bind")] == list(AREA_TARGETS.values())
    assert pairs(plan, "--dev-bind") == []
    assert [inside for _, inside in pairs(full(), "--dev-bind")] == [
        f"/dev/{name}" for name in ("full", "null", "random", "tty", "urandom", "zero")
    ]


def test_no_folder_with_secrets_or_sockets_is_shown() -> None:
    shown = {source for source, _ in pairs(full(), "--ro-bind")}
    for path in shown:
        assert not path.startswith(
            ("/root", "/home", "/run", "/var", "/sys", "/boot", "/srv", "/opt", "/mnt", "/media")
        )
    forbidden = ("/etc", "/etc/ssl", "/etc/pki", "/etc/shadow", "/etc/gshadow", "/etc/ssh", "/etc/sudoers", "/", "/dev")
    assert not shown & set(forbidden)


def test_every_memory_file_system_has_a_size() -> None:
    words = full().options
    for at, word in enumerate(words):
        if word == "--tmpfs":
            assert words[at - 2] == "--size", words[at + 1]


@pytest.mark.parametrize(
    "point",
    [
        "/workspace/.cache", "/workspace/a/b", "/home/agent/.config", "/home/agent/.local/bin",
        "/workspace/../workspace/x",
        "/opt/../workspace/x", "//workspace/x", "/workspace/./x", "/./home/agent/x", "/workspace//x",
    ],
)  # fmt: skip
def test_a_mount_point_below_what_the_workspace_can_write_is_refused(point: str) -> None:
    """CVE-2026-87766: a symlink there would make bubblewrap create it on the host."""
    plan = full()
    plan.show(Path("/anything"), point)
    with pytest.raises(StartFailed, match="which the workspace can write"):
        plan.encoded()


@pytest.mark.parametrize("point", ["relative", "../x", ""])
def test_a_mount_point_that_is_not_absolute_is_refused(point: str) -> None:
    plan = full()
    plan.show(Path("/anything"), point)
    with pytest.raises(StartFailed):
        plan.encoded()


def test_the_order_of_the_steps_does_not_matter_to_the_check() -> None:
    plan = Plan()
    plan.show(Path("/x"), "/workspace/x")
    plan.area(AreaMount("/workspace", Path("/upper")))
    with pytest.raises(StartFailed):
        plan.check()


def test_a_whole_plan_passes_its_own_check() -> None:
    full().check()


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20), max_size=6))
def test_encoded_words_come_out_as_they_went_in(words: list[str]) -> None:
    plan = Plan()
    plan.add(*words)
    assert plan.encoded(("--last",)).split(b"\0") == [*map(os.fsencode, words), b"--last", b""]


def test_a_word_with_a_nul_cannot_become_two_options() -> None:
    plan = Plan()
    plan.show(Path("/x\0--share-net"), "/opt/x")
    with pytest.raises(StartFailed):
        plan.encoded()


def test_the_environment_inside_holds_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "canary")
    monkeypatch.setenv("PATH", "/canary")
    monkeypatch.setenv("HOME", "/canary")
    assert "canary" not in repr(environment())


def test_var_tmp_is_a_folder_only_when_something_is_shown_below_it() -> None:
    def at(shown: Sequence[Path]) -> set[str]:
        plan = Plan()
        plan.kernel_files(1 << 20, shown=shown)
        return {option for option in ("--tmpfs", "--symlink") if "/var/tmp" in _last_words(plan, option)}

    assert at(()) == at((Path("/opt/x"), Path("/tmp/x"))) == {"--symlink"}
    assert at((Path("/opt/x"), Path("/var/tmp/x"))) == {"--tmpfs"}


def _last_words(plan: Plan, option: str) -> set[str]:
    places = [at for at, word in enumerate(plan.options) if word == option]
    return {plan.options[at + (2 if option == "--symlink" else 1)] for at in places}
