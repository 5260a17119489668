"""What file, certificates and flags say about registries."""

from pathlib import Path

import pytest

from corten.core.distribution.settings import HostSettings, RegistrySettings
from corten.errors import InvalidInput
from corten.serve.daemon.registries import read
from corten.serve.daemon.settings import Settings

FILE = """
limit-rate = "10M"
max-concurrent-downloads = 7
max-concurrent-uploads = 0
insecure-registries = ["10.0.0.0/8"]
registry-mirrors = ["mirror.lan"]

[registry."Lan:5000"]
mirrors = ["https://cache.lan/path"]
insecure = true
ca = "/lan.crt"

[registry."docker.io"]
mirrors = ["last.lan"]
"""


def settings(
    folder: Path, text: str = "", mirrors: tuple[str, ...] = (), rate: int | None = None
) -> Settings:
    """Return the daemon's settings, with *text* in the file if there is any."""
    file = folder / "registries.toml"
    if text:
        file.write_text(text)
    return Settings("/r", "/r", registries=str(file), mirrors=mirrors, insecure=("flag",), limit_rate=rate)


def test_without_a_file_flags_are_all(tmp_path: Path) -> None:
    """Everything else is as usual."""
    found = read(settings(tmp_path), {"http_proxy": "p"})

    usual = RegistrySettings()
    assert (found.downloads, found.uploads, found.limit_rate) == (usual.downloads, usual.uploads, 0)
    assert (found.insecure, found.hosts, found.proxies) == (("flag",), {}, {"http_proxy": "p"})


def test_file_and_flags_together(tmp_path: Path) -> None:
    """Flags win, or come first; names of hosts are in lower case."""
    found = read(settings(tmp_path, FILE, mirrors=("first.lan",), rate=5), {})

    assert (found.downloads, found.uploads, found.limit_rate) == (7, 1, 5)
    assert found.insecure == ("flag", "10.0.0.0/8")
    assert found.host("docker.io").mirrors == ("first.lan", "mirror.lan", "last.lan")
    assert found.host("LAN:5000") == HostSettings(
        mirrors=("https://cache.lan/path",), insecure=True, ca_files=("/lan.crt",)
    )
    assert read(settings(tmp_path, FILE), {}).limit_rate == 10 << 20


def test_certificates_beside_the_file(tmp_path: Path) -> None:
    """In Docker's layout: every ``crt`` is an authority, ``cert`` and ``key`` are the client's."""
    folder = tmp_path / "certs.d" / "lan:5000"
    folder.mkdir(parents=True)
    for name in ("b.crt", "a.crt", "me.cert", "me.key", "note.txt"):
        (folder / name).touch()
    found = read(settings(tmp_path, FILE), {}).host("lan:5000")

    assert found.ca_files == ("/lan.crt", f"{folder}/a.crt", f"{folder}/b.crt")
    assert (found.certificate, found.key) == (f"{folder}/me.cert", f"{folder}/me.key")
    assert found.insecure


def test_a_certificate_without_its_key(tmp_path: Path) -> None:
    """It is named before anybody is asked without it."""
    folder = tmp_path / "certs.d" / "lan:5000"
    folder.mkdir(parents=True)
    (folder / "me.cert").touch()
    with pytest.raises(InvalidInput, match=r"missing key .*me\.key"):
        read(settings(tmp_path), {})


@pytest.mark.parametrize(
    "text",
    [
        "limit-rate = ",
        'limit-rate = "fast"',
        "limit_rate = 1",
        "[registry.x]\nmirror = []",
        "[registry.x]\ninsecure = 1",
        "max-concurrent-downloads = '3'",
    ],
)
def test_a_file_that_is_wrong_is_named(tmp_path: Path, text: str) -> None:
    """With the place in it; a misspelt setting is not overlooked."""
    with pytest.raises(InvalidInput, match=r"registries\.toml: "):
        read(settings(tmp_path, text), {})
