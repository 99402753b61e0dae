"""Images of every form become the same environment, and those that are not what they say become none."""

from __future__ import annotations

import json
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sandlot.bases.environments import image as images
from sandlot.bases.environments import rootfs
from sandlot.bases.environments.importing import import_environment
from sandlot.bases.environments.store import EnvironmentStore
from sandlot.errors import EnvironmentNotFound, ImageRefused, PathNotFound, SandlotError, UsageError
from sandlot.model.environment import Environment
from sandlot.paths import Paths
from tests.images import (
    INDEX,
    MACHINE,
    MANIFEST,
    Entry,
    Image,
    digest,
    entry,
    folder,
    hardlink,
    layer,
    symlink,
    tree_of,
)


@pytest.fixture
def store(tmp_path: Path) -> EnvironmentStore:
    return EnvironmentStore(Paths.at(tmp_path / "state"))


def taken(store: EnvironmentStore, source: Path | str, name: str = "made:1") -> Environment:
    return import_environment(store, str(source), name, cwd=Path("/"))[1]


def nothing_stays(store: EnvironmentStore) -> None:
    """Neither an environment nor anything half-made."""
    assert store.list() == ()
    assert [name for name in os.listdir(store.paths.building) if not name.startswith("lock-")] == []


def simple(compression: str = "gzip") -> Image:
    return Image(
        [
            layer(folder("bin"), entry("bin/sh", b"shell", mode=0o4755), entry("old", b"1"), entry("d/x", b"x")),
            layer(entry(".wh.old"), entry("d/.wh..wh..opq"), entry("d/y", b"y"), symlink("link", "d/y")),
        ],
        {"Env": ["PATH=/bin", "HOME=/elsewhere", "A=b=c"], "WorkingDir": "/srv"},
        compression,
    )


def test_layers_are_applied_in_order_with_whiteouts(store: EnvironmentStore, tmp_path: Path) -> None:
    made = taken(store, simple().layout(tmp_path / "layout"))
    tree = tree_of(store.root(made.digest))
    assert tree["bin/sh"] == "shell"
    assert tree["link"] == "-> d/y"
    assert tree["d/y"] == "y"
    assert not {"old", "d/x", ".wh.old", "d/.wh..wh..opq"} & set(tree)
    assert made.variables == {"PATH": "/bin", "A": "b=c"}  # HOME is ours to say
    assert (made.workdir, made.shell, made.kind) == ("/srv", "/bin/sh", "image")
    assert stat.S_IMODE(os.stat(store.root(made.digest) / "bin/sh").st_mode) == 0o755, "no setuid bit survives"


def test_every_form_of_an_image_gives_the_same_environment(store: EnvironmentStore, tmp_path: Path) -> None:
    found = {
        taken(store, simple().layout(tmp_path / "gzip")).digest,
        taken(store, simple("zstd").layout(tmp_path / "zstd")).digest,
        taken(store, simple("none").layout(tmp_path / "plain")).digest,
        taken(store, simple().oci_archive(tmp_path / "oci.tar", tmp_path / "scratch")).digest,
        taken(store, simple().docker_archive(tmp_path / "docker.tar")).digest,
        taken(store, simple().docker_archive(tmp_path / "skopeo.tar", "a/made:1", ".tar")).digest,
        taken(store, f"{tmp_path / 'skopeo.tar'}@made:1").digest,
    }
    with pytest.raises(ImageRefused, match="no image tagged other"):
        taken(store, f"{tmp_path / 'skopeo.tar'}@other")
    assert len(found) == 1
    assert len(store.list()) == 1


def test_of_an_index_the_image_for_this_machine_is_taken(store: EnvironmentStore, tmp_path: Path) -> None:
    image = simple()
    own = {"os": "linux", "architecture": MACHINE}
    others = [{"os": "linux", "architecture": "s390x"}, {"os": "windows", "architecture": MACHINE},
              {"os": "unknown", "architecture": "unknown"}]  # fmt: skip  # the last is how attestations are said
    manifests = [{**image.put(b"{}", MANIFEST), "platform": each} for each in others]
    manifests.append({**image.put(json.dumps(image.manifest).encode(), MANIFEST), "platform": own})
    image.manifest = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
    many = taken(store, image.layout(tmp_path / "many"))
    assert many.digest == taken(store, simple().layout(tmp_path / "one")).digest


def test_an_image_that_is_here_is_not_unpacked_again(store: EnvironmentStore, tmp_path: Path) -> None:
    source = simple().layout(tmp_path / "layout")
    first = import_environment(store, str(source), "a", cwd=Path("/"))
    again = import_environment(store, str(source), "b", cwd=Path("/"))
    assert (first[2], again[2]) == (False, True)
    assert store.list()[0].names == ("a", "b")
    assert store.find(first[1].digest[:12])[1] == store.find(f"a@{first[1].digest}")[1] == first[1]


def test_every_environment_has_mount_points_accounts_and_names(store: EnvironmentStore, tmp_path: Path) -> None:
    hostile = layer(
        entry("bin/sh", b"x", mode=0o755),
        symlink("proc", "/etc"), symlink("dev", "../../.."), symlink("home", "/root"), symlink("workspace", "/"),
        symlink("var", "/run"), entry("tmp", b"a file"), entry("run/secret", b"x"), symlink("etc/sandlot", "/"),
        entry("etc/passwd", b"root:x:0:0:root:/:/bin/sh\nagent:x:7:7::/:/bin/sh\nnode:x:1000:1000::/:/bin/sh\n"),
        entry("etc/resolv.conf", b"nameserver 6.6.6.6\n"),
    )  # fmt: skip
    root = store.root(taken(store, Image([hostile]).layout(tmp_path / "layout")).digest)
    for name in ("proc", "dev", "sys", "run", "tmp", "workspace", "home", "home/agent", "etc", "etc/sandlot", "var"):
        assert stat.S_ISDIR(os.lstat(root / name).st_mode), name
    assert os.listdir(root / "run") == os.listdir(root / "proc") == os.listdir(root / "home/agent") == []
    accounts = (root / "etc/passwd").read_text().splitlines()
    assert accounts[0] == "agent:x:1000:1000:agent:/home/agent:/bin/sh"
    assert [line.partition(":")[0] for line in accounts] == ["agent", "root", "node", "nobody"]
    assert "6.6.6.6" not in (root / "etc/resolv.conf").read_text()
    assert os.readlink(root / "var/tmp") == "/tmp"


def test_a_member_below_a_symlink_lands_where_the_image_means_it(store: EnvironmentStore, tmp_path: Path) -> None:
    made = Image(
        [
            layer(folder("usr/lib"), symlink("lib", "usr/lib"), symlink("lib64", "/lib"), symlink("a", "b/../usr")),
            layer(entry("lib64/x.so", b"x"), folder("b"), hardlink("y.so", "lib/x.so")),
        ]
    )
    tree = tree_of(store.root(taken(store, made.layout(tmp_path / "layout")).digest))
    assert (tree["usr/lib/x.so"], tree["y.so"], tree["lib"]) == ("x", "x", "-> usr/lib")


DEVICE, FIFO = tarfile.CHRTYPE, tarfile.FIFOTYPE
ATTACKS: dict[str, list[list[Entry]]] = {
    "a path above the root": [[entry("../escaped", b"x")]],
    "an absolute path": [[entry("/escaped", b"x")]],
    "a path with a dot-dot inside": [[entry("a/../../escaped", b"x")]],
    "a file behind a symlink that climbs out": [[symlink("out", "../../.."), entry("out/escaped", b"x")]],
    "a file behind a symlink of the layer below": [[symlink("out", "../../..")], [entry("out/escaped", b"x")]],
    "a file behind symlinks in a circle": [[symlink("a", "b"), symlink("b", "a"), entry("a/x", b"x")]],
    "a file behind a file": [[entry("a", b"x"), entry("a/x", b"x")]],
    "a hard link to what is outside": [[hardlink("passwd", "../../../../etc/passwd")]],
    "a hard link to an absolute path": [[hardlink("passwd", "/etc/passwd")]],
    "a hard link through a symlink that climbs out": [[symlink("o", "../.."), hardlink("p", "o/etc/passwd")]],
    "a hard link to a symlink": [[symlink("s", "/etc/passwd"), hardlink("p", "s")]],
    "a device": [[entry("null", kind=DEVICE)]],
    "a device that overlayfs would take for a whiteout": [[entry("etc/hidden", kind=DEVICE)]],
    "a whiteout behind a symlink that climbs out": [[symlink("o", "../.."), entry("o/.wh.victim")]],
    "a whiteout of nothing": [[entry(".wh...")]],
    "no files at all": [[]],
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_layer_is_refused_and_nothing_stays(store: EnvironmentStore, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    source = Image([layer(*entries) for entries in ATTACKS[name]]).layout(tmp_path / "layout")
    with pytest.raises(ImageRefused):
        taken(store, source)
    nothing_stays(store)
    assert victim.read_text() == "untouched"
    assert not list(tmp_path.rglob("escaped"))


def test_old_nodes_in_dev_and_fifos_are_left_out_and_told(store: EnvironmentStore, tmp_path: Path) -> None:
    odd = layer(entry("dev/null", kind=DEVICE), entry("f", kind=FIFO), entry("a", b"x"))
    made = taken(store, Image([odd]).layout(tmp_path / "layout"))
    assert made.skipped == ("dev/null", "f")


def test_a_symlink_is_replaced_by_a_file_never_written_through(store: EnvironmentStore, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    source = Image([layer(symlink("a", str(victim))), layer(entry("a", b"mine"))]).layout(tmp_path / "layout")
    assert tree_of(store.root(taken(store, source).digest))["a"] == "mine"
    assert victim.read_text() == "untouched"


def _wrong_blob(image: Image) -> None:
    name = image.manifest["layers"][0]["digest"]
    image.blobs[name] = image.blobs[name][:-1] + b"!"


def _longer_blob(image: Image) -> None:
    image.blobs[image.manifest["layers"][0]["digest"]] += b"more"


def _shorter_blob(image: Image) -> None:
    image.blobs[image.manifest["layers"][0]["digest"]] = b""


def _wrong_config(image: Image) -> None:
    image.blobs[image.manifest["config"]["digest"]] = b"{}".ljust(image.manifest["config"]["size"])


def _wrong_diff_id(image: Image) -> None:
    name = image.manifest["config"]["digest"]
    about = json.loads(image.blobs[name])
    about["rootfs"]["diff_ids"][0] = digest(b"something else")
    image.manifest["config"] = image.put(json.dumps(about).encode(), "")


def _missing_blob(image: Image) -> None:
    del image.blobs[image.manifest["layers"][0]["digest"]]


def _huge_layer(image: Image) -> None:
    image.manifest["layers"][0]["size"] = 1 << 60


def _digest_with_a_path(image: Image) -> None:
    image.manifest["layers"][0]["digest"] = "sha256:../../../../etc/passwd"


def _other_machine(image: Image) -> None:
    index = {"manifests": [{**image.put(b"{}", ""), "platform": {"os": "linux", "architecture": "s390x"}}]}
    image.manifest = index


def _deep_index(image: Image) -> None:
    for _ in range(5):
        image.manifest = {"manifests": [image.put(json.dumps(image.manifest).encode(), "")]}


@pytest.mark.parametrize(
    "spoil",
    [
        _wrong_blob,
        _longer_blob,
        _shorter_blob,
        _wrong_config,
        _wrong_diff_id,
        _missing_blob,
        _huge_layer,
        _digest_with_a_path,
        _other_machine,
        _deep_index,
    ],
)
def test_an_image_that_is_not_what_it_says_is_refused(
    store: EnvironmentStore, tmp_path: Path, spoil: Callable[[Image], None]
) -> None:
    image = Image([layer(entry("a", b"x" * 1000))])
    spoil(image)
    with pytest.raises(ImageRefused):
        taken(store, image.layout(tmp_path / "layout"))
    nothing_stays(store)


def test_a_bomb_is_refused_while_it_expands(
    store: EnvironmentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"max_bytes": 1 << 20, "max_entries": 50, "keep_links": False}
    monkeypatch.setattr(rootfs.RootTree.__init__, "__kwdefaults__", small)
    for entries in ([entry("a", bytes(2 << 20))], [entry(f"f{number}") for number in range(60)]):
        source = Image([layer(*entries)]).layout(tmp_path / str(len(entries)))
        with pytest.raises(ImageRefused, match="expands to more than"):
            taken(store, source)
        nothing_stays(store)


def test_symlinks_behind_each_other_cost_no_more_than_so_much_time(
    store: EnvironmentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rootfs, "MAX_STEPS", 20_000)
    winding = "d/../" * 800
    links = [folder("d"), symlink("l0", "d"), *(symlink(f"l{n}", f"{winding}l{n - 1}") for n in range(1, 30))]
    source = Image([layer(*links, entry("l29/x", b"x"))]).layout(tmp_path / "layout")
    with pytest.raises(ImageRefused, match="too many symlinks"):
        taken(store, source)


def test_a_document_of_unusual_size_is_not_read(
    store: EnvironmentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MAX_DOCUMENT", 100)
    with pytest.raises(ImageRefused, match="document of"):
        taken(store, simple().layout(tmp_path / "layout"))


def test_a_layout_is_never_read_through_a_symlink(store: EnvironmentStore, tmp_path: Path) -> None:
    image = Image([layer(entry("a", b"x"))])
    source = image.layout(tmp_path / "layout")
    name = image.manifest["layers"][0]["digest"].partition(":")[2]
    (source / "blobs/sha256" / name).rename(tmp_path / "moved")
    (source / "blobs/sha256" / name).symlink_to(tmp_path / "moved")
    with pytest.raises(ImageRefused):
        taken(store, source)


def test_an_archive_with_hostile_members_is_refused_or_read_without_them(
    store: EnvironmentStore, tmp_path: Path
) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(layer(entry("blobs/sha256/../../../../escaped", b"x")))
    with pytest.raises(ImageRefused):
        taken(store, archive)
    archive.write_bytes(layer(entry("index.json", b"{}"), entry("index.json", b"{}")))
    with pytest.raises(ImageRefused):
        taken(store, archive)
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize(
    ("image", "name", "kind"),
    [
        ("./missing", "a", PathNotFound),
        ("debian:12", "a", UsageError),
        ("library/debian", "a", UsageError),
        ("https://registry.example/a", "a", UsageError),
        ("registry.example/../a:1", "a", UsageError),
        ("registry.example/a:1", "Not A Name", UsageError),
        ("registry.example/a:1", "host", UsageError),
        ("registry.example/a:1", "../a", UsageError),
    ],
)
def test_what_names_no_image_is_told_before_anybody_is_asked(
    store: EnvironmentStore, image: str, name: str, kind: type[SandlotError]
) -> None:
    with pytest.raises(kind):
        import_environment(store, image, name, cwd=Path("/nowhere"))


def test_pruning_keeps_what_is_in_use_and_what_is_shared(store: EnvironmentStore, tmp_path: Path) -> None:
    kept = taken(store, Image([layer(entry("a", b"kept"))]).layout(tmp_path / "a"), "kept:1")
    gone = taken(store, Image([layer(entry("a", b"gone"))]).layout(tmp_path / "b"), "gone:1")
    assert store.prune(lambda: {kept.digest}, dry_run=True).names == ("gone:1",)
    assert store.prune(lambda: {kept.digest}, unused_for_s=3600).names == ()
    assert store.prune(lambda: {kept.digest}).digests == (gone.digest,)
    assert store.find("kept:1")[1] == kept
    with pytest.raises(EnvironmentNotFound, match="gone:1") as caught:
        store.find("gone:1")
    assert "sandlot env import" in caught.value.hint
    assert store.prune(lambda: frozenset(), only={"kept:1"}).names == ("kept:1",)
    nothing_stays(store)


def test_a_tree_with_a_damaged_record_is_as_good_as_none(store: EnvironmentStore, tmp_path: Path) -> None:
    source = simple().layout(tmp_path / "layout")
    made = taken(store, source)
    (store.paths.environment(made.digest) / "environment.json").write_text("{")
    assert store.read(made.digest) is None
    assert taken(store, source).digest == made.digest
    assert store.find("made:1")[1].digest == made.digest
