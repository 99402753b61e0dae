"""Pulling from a registry on loopback."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from sandlot.bases.environments.importing import import_environment
from sandlot.bases.environments.registry import parse_reference
from sandlot.bases.environments.store import EnvironmentStore
from sandlot.errors import ImageRefused, RegistryFailed
from sandlot.paths import Paths
from tests.images import Image, digest, entry, layer, registry


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EnvironmentStore:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return EnvironmentStore(Paths.at(tmp_path / "state"))


@pytest.fixture
def image() -> Image:
    return Image([layer(entry("bin/sh", b"x", mode=0o755))], {"Env": ["PATH=/bin"]})


def test_an_image_is_pulled_and_named_after_itself(store: EnvironmentStore, image: Image) -> None:
    with registry(image) as served:
        name, made, cached = import_environment(store, f"{served.host}/team/tool:1", None, cwd=Path("/"))
        assert (name, cached, made.source) == ("tool:1", False, f"{served.host}/team/tool:1")
        assert made.image == digest(json.dumps(image.manifest).encode())
        pulled = len(served.asked)
        assert import_environment(store, f"{served.host}/team/tool:1", None, cwd=Path("/"))[2]
        assert len(served.asked) == pulled + 2, "the tag and its manifest are looked up, no layer is fetched again"


def test_an_image_is_pulled_by_its_digest(store: EnvironmentStore, image: Image) -> None:
    image.index()
    which = digest(json.dumps(image.manifest).encode())
    with registry(image) as served:
        made = import_environment(store, f"{served.host}/team/tool@{which}", "a", cwd=Path("/"))[1]
        assert made.image == which
        image.blobs[which] = image.blobs[which] + b" "
        with pytest.raises(ImageRefused, match="other content"):
            import_environment(store, f"{served.host}/team/tool@{which}", "a", cwd=Path("/"))


def test_a_token_is_fetched_when_one_is_wanted(store: EnvironmentStore, image: Image, tmp_path: Path) -> None:
    with registry(image, token="t0ken") as served:
        (tmp_path / ".docker").mkdir()
        own = base64.b64encode(b"me:secret").decode()
        (tmp_path / ".docker/config.json").write_text(json.dumps({"auths": {served.host: {"auth": own}}}))
        import_environment(store, f"{served.host}/team/tool:1", None, cwd=Path("/"))
    tokens = [(path, shown) for path, shown in served.asked if path.startswith("/token")]
    assert tokens == [("/token?service=test&scope=repository%3Ateam%2Ftool%3Apull", f"Basic {own}")]
    assert {shown for path, shown in served.asked if "/blobs/" in path} == {"Bearer t0ken"}


def test_what_authorizes_us_does_not_follow_a_redirect(store: EnvironmentStore, image: Image) -> None:
    with registry(image) as elsewhere, registry(image, token="t0ken") as served:
        served.redirect = f"http://{elsewhere.host}"
        import_environment(store, f"{served.host}/team/tool:1", None, cwd=Path("/"))
    assert elsewhere.asked
    assert {shown for _, shown in elsewhere.asked} == {""}


@pytest.mark.parametrize("target", ["http://registry.example", "file:///etc/passwd", "http://169.254.169.254"])
def test_a_redirect_to_what_is_not_https_is_refused(store: EnvironmentStore, image: Image, target: str) -> None:
    with registry(image, redirect=target) as served, pytest.raises(RegistryFailed, match="not https"):
        import_environment(store, f"{served.host}/team/tool:1", None, cwd=Path("/"))


def test_a_layer_is_fetched_from_the_registry_alone_whatever_other_place_is_named(
    store: EnvironmentStore, image: Image
) -> None:
    with registry(image) as other, registry(image) as served:
        described = image.manifest["layers"][0]
        described["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        described["urls"] = [f"http://{other.host}/elsewhere/{described['digest']}", "file:///etc/passwd"]
        served.index = image.index()
        blob = image.blobs.pop(described["digest"])
        with pytest.raises(RegistryFailed):
            import_environment(store, f"{served.host}/team/tool:1", "a", cwd=Path("/"))
        assert store.list() == ()
        image.blobs[described["digest"]] = blob
        assert import_environment(store, f"{served.host}/team/tool:1", "a", cwd=Path("/"))[1].files
        assert other.asked == []


def test_blobs_of_other_content_or_length_are_refused(store: EnvironmentStore, image: Image) -> None:
    name = image.manifest["layers"][0]["digest"]
    good = image.blobs[name]
    with registry(image) as served:
        for bad in (good[:-1] + b"!", good + bytes(1 << 20), good[:-1]):
            image.blobs[name] = bad
            with pytest.raises(ImageRefused, match=name):
                import_environment(store, f"{served.host}/team/tool:1", None, cwd=Path("/"))
    assert store.list() == ()


def test_a_registry_that_is_not_there_or_has_no_such_image_is_told(store: EnvironmentStore, image: Image) -> None:
    with registry(image) as served, pytest.raises(RegistryFailed, match="has no team/other:1"):
        import_environment(store, f"{served.host}/team/other:1", None, cwd=Path("/"))
    with pytest.raises(RegistryFailed, match="cannot reach"):
        import_environment(store, f"{served.host}/team/tool:1", None, cwd=Path("/"))


def test_only_loopback_is_spoken_to_without_https() -> None:
    for text, url in {
        "localhost:5000/a:1": "http://localhost:5000/v2/a",
        "127.0.0.1:5000/a:1": "http://127.0.0.1:5000/v2/a",
        "[::1]:5000/a:1": "http://[::1]:5000/v2/a",
        "registry.example/a/b:1": "https://registry.example/v2/a/b",
        "127.0.0.1.example/a": "https://127.0.0.1.example/v2/a",
    }.items():
        assert parse_reference(text).url == url
