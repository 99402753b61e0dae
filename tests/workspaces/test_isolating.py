"""Which runtime a workspace gets: what was asked for, the cheapest that is enough, or an error, never less."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sandlot.errors import IsolationUnavailable, UsageError
from sandlot.model.isolation import IsolationLevel, RuntimeChoice
from sandlot.paths import Paths
from sandlot.runtimes.base import Finding, ProbeReport
from sandlot.runtimes.fake import FakeRuntime
from sandlot.settings import LEVELS, RUNTIMES, Settings
from sandlot.workspaces.context import Context
from sandlot.workspaces.isolating import chosen_runtime

KERNEL, EMULATED, VM = IsolationLevel.KERNEL, IsolationLevel.VM_EMULATED, IsolationLevel.VM


class Stub(FakeRuntime):
    """A runtime that isolates at some level, or does not work."""

    def __init__(self, name: str, level: IsolationLevel | None) -> None:
        super().__init__(name)
        self._level = level

    def probe(self, *, fresh: bool = False) -> ProbeReport:
        report = super().probe(fresh=fresh)
        if self._level is not None:
            return replace(report, isolation=self._level)
        missing = Finding(f"{self.name}.binary", False, f"{self.name} is not here", f"install {self.name}")
        return replace(report, available=False, findings=(missing,))


def context_of(tmp_path: Path, *, qemu: IsolationLevel | None = EMULATED, **settings: str) -> Context:
    made = Context(Paths.at(tmp_path), replace(Settings(), **settings))  # type: ignore[arg-type]  # words of settings
    made.__dict__["_runtimes"] = {"bubblewrap": Stub("bubblewrap", KERNEL), "qemu": Stub("qemu", qemu)}
    return made


@pytest.mark.parametrize(
    ("asked", "least", "name"),
    [
        (None, IsolationLevel.NONE, "bubblewrap"),
        ("bubblewrap", KERNEL, "bubblewrap"),
        ("qemu", IsolationLevel.NONE, "qemu"),
        ("auto", IsolationLevel.NONE, "bubblewrap"),
        ("auto", KERNEL, "bubblewrap"),
        ("auto", EMULATED, "qemu"),
    ],
)
def test_the_cheapest_that_is_enough(tmp_path: Path, asked: str | None, least: IsolationLevel, name: str) -> None:
    assert chosen_runtime(context_of(tmp_path), asked, least)[0] == name


def test_what_cannot_be_had_is_an_error_with_every_reason(tmp_path: Path) -> None:
    with pytest.raises(IsolationUnavailable) as caught:
        chosen_runtime(context_of(tmp_path), "auto", VM)
    assert caught.value.details == (
        "bubblewrap: runtime bubblewrap isolates at level kernel, vm was demanded",
        "qemu: runtime qemu isolates at level vm-emulated, vm was demanded",
    )
    with pytest.raises(IsolationUnavailable) as caught:
        chosen_runtime(context_of(tmp_path, qemu=None), "auto", EMULATED)
    assert "qemu: qemu is not here" in caught.value.details


def test_a_runtime_that_was_named_is_never_replaced(tmp_path: Path) -> None:
    with pytest.raises(IsolationUnavailable, match="isolates at level kernel") as caught:
        chosen_runtime(context_of(tmp_path), "bubblewrap", EMULATED)
    assert "--runtime auto" in caught.value.hint
    with pytest.raises(IsolationUnavailable) as caught:
        chosen_runtime(context_of(tmp_path, qemu=None), "qemu")
    assert caught.value.hint == "install qemu"
    with pytest.raises(UsageError, match="unknown runtime"):
        chosen_runtime(context_of(tmp_path), "docker")


def test_the_users_settings_hold_where_nothing_is_said_and_their_level_everywhere(tmp_path: Path) -> None:
    assert chosen_runtime(context_of(tmp_path, runtime="qemu"))[0] == "qemu"
    assert chosen_runtime(context_of(tmp_path, runtime="qemu"), "bubblewrap")[0] == "bubblewrap"
    assert chosen_runtime(context_of(tmp_path, runtime="auto", min_isolation="vm-emulated"))[0] == "qemu"
    with pytest.raises(IsolationUnavailable):
        chosen_runtime(context_of(tmp_path, min_isolation="vm-emulated"), "bubblewrap", IsolationLevel.NONE)


def test_the_words_of_settings_are_those_of_the_model() -> None:
    assert tuple(RuntimeChoice) == RUNTIMES
    assert tuple(IsolationLevel) == LEVELS


def test_a_setting_that_is_no_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDLOT_RUNTIME", "docker")
    with pytest.raises(UsageError, match="SANDLOT_RUNTIME: 'docker' is none of"):
        Settings.load()
