"""Logins in Docker's config.json and with credential helpers."""

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from corten.cli.credentials import HUB, Credentials, Login, full_name, header, server, server_of
from corten.cli.failure import Failure

HELPER = """\
#!/bin/sh
# keeps one secret per server in a folder
read -r request
file="{folder}/$(printf %s "$request" | tr -c 'a-z0-9\\n' _)"
case $1 in
get) cat "$file" 2>/dev/null || {{ echo "credentials not found in native keychain"; exit 1; }} ;;
erase) rm "$file" ;;
store) server=$(printf %s "$request" | sed 's/.*"ServerURL":"\\([^"]*\\)".*/\\1/')
       printf %s "$request" > "{folder}/$(printf %s "$server" | tr -c 'a-z0-9\\n' _)" ;;
esac
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for config.json which is not there yet."""
    monkeypatch.setattr(
        "corten.cli.credentials.posix.environ",
        {b"DOCKER_CONFIG": str(tmp_path / "a" / "docker").encode(), b"HOME": b"/nonexistent"},
    )
    return tmp_path / "a" / "docker"


def write(folder: Path, **config: Any) -> None:
    """Write config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))


def read(folder: Path) -> Any:
    """Return config.json."""
    return json.loads((folder / "config.json").read_text())


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A credential helper named ``test``; the folder with its secrets."""
    secrets, programs = tmp_path / "secrets", tmp_path / "bin"
    secrets.mkdir()
    programs.mkdir()
    program = programs / "docker-credential-test"
    program.write_text(HELPER.format(folder=secrets))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return secrets


def decoded(line: str) -> Any:
    """Return what a header line tells the daemon."""
    name, _, value = line.strip().partition(": ")
    assert name == "X-Registry-Auth"
    return json.loads(base64.urlsafe_b64decode(value))


@pytest.mark.parametrize(
    ("name", "key", "full"),
    [
        ("debian", HUB, "docker.io/library/debian"),
        ("me/app:1", HUB, "docker.io/me/app:1"),
        ("docker.io/debian", HUB, "docker.io/library/debian"),
        ("index.docker.io/me/app", HUB, "docker.io/me/app"),
        ("localhost/app", "localhost", "localhost/app"),
        ("host:5000/a/b@sha256:1", "host:5000", "host:5000/a/b@sha256:1"),
        ("quay.io/a", "quay.io", "quay.io/a"),
    ],
)
def test_which_registry_a_name_means(name: str, key: str, full: str) -> None:
    """By Docker's rules."""
    assert (server_of(name), full_name(name)) == (key, full)


@pytest.mark.parametrize("text", ["docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"])
def test_dockers_registry_has_one_key(text: str) -> None:
    """Whatever people call it."""
    assert server(text) == HUB


def test_nobody_is_an_empty_object() -> None:
    """Without a file there is no login, and no error."""
    assert decoded(header("debian")) == {}


def test_a_login_is_kept_privately(folder: Path) -> None:
    """The file is made with its folder, readable by the owner alone; it reads back."""
    assert Credentials().store(Login("host:5000", "anna", "pass:wörd")) is True

    assert stat.S_IMODE((folder / "config.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert os.listdir(folder) == ["config.json"]
    assert read(folder)["auths"] == {
        "host:5000": {"auth": base64.b64encode("anna:pass:wörd".encode()).decode()}
    }
    assert decoded(header("host:5000/x")) == {
        "username": "anna",
        "password": "pass:wörd",
        "serveraddress": "host:5000",
    }


def test_the_rest_of_the_file_stays(folder: Path) -> None:
    """Proxies, formats and other logins belong to others."""
    write(folder, psFormat="    x", auths={"a": {"auth": "eDp5"}}, proxies={"default": {"httpProxy": "p"}})

    Credentials().store(Login(HUB, "anna", "x"))
    assert Credentials().erase(HUB) is True

    assert read(folder) == {
        "psFormat": "    x",
        "auths": {"a": {"auth": "eDp5"}},
        "proxies": {"default": {"httpProxy": "p"}},
    }
    assert Credentials().erase(HUB) is False


def test_a_link_stays_a_link(folder: Path, tmp_path: Path) -> None:
    """Who keeps the file elsewhere finds it there."""
    folder.mkdir(parents=True)
    (folder / "config.json").symlink_to(tmp_path / "real.json")
    Credentials().store(Login("h:1", "a", "b"))

    assert (folder / "config.json").is_symlink()
    assert "h:1" in json.loads((tmp_path / "real.json").read_text())["auths"]


def test_identity_tokens(folder: Path) -> None:
    """A token stands in for the password, which is not kept."""
    Credentials().store(Login("h:1", "anna", "secret", "token"))

    assert read(folder)["auths"]["h:1"] == {
        "auth": base64.b64encode(b"anna:").decode(),
        "identitytoken": "token",
    }
    assert decoded(header("h:1/x")) == {
        "username": "anna",
        "identitytoken": "token",
        "serveraddress": "h:1",
    }


@pytest.mark.parametrize("key", ["https://host:5000", "http://host:5000/v2/", "host:5000"])
def test_old_keys_are_found(folder: Path, key: str) -> None:
    """Addresses in the file stand for their host."""
    write(folder, auths={key: {"auth": base64.b64encode(b"anna:x").decode()}})

    assert decoded(header("host:5000/x"))["username"] == "anna"


@pytest.mark.parametrize("where", [{"credsStore": "test"}, {"credHelpers": {"h:1": "test"}}])
def test_helpers_keep_the_secrets(folder: Path, helper: Path, where: dict[str, Any]) -> None:
    """Nothing secret is in the file; a helper that knows nothing is no error."""
    write(folder, **where)
    assert decoded(header("h:1/x")) == {}

    assert Credentials().store(Login("h:1", "anna", "secret")) is False
    assert decoded(header("h:1/x"))["password"] == "secret"
    assert "secret" not in (folder / "config.json").read_text()
    assert read(folder)["auths"] == {"h:1": {}}

    assert Credentials().erase("h:1") is True
    assert os.listdir(helper) == []
    assert Credentials().erase("h:1") is False


@pytest.mark.usefixtures("helper")
def test_helpers_keep_tokens(folder: Path) -> None:
    """Under a user name that says so."""
    write(folder, credsStore="test")
    Credentials().store(Login("h:1", "anna", "secret", "token"))

    assert decoded(header("h:1/x")) == {"username": "", "identitytoken": "token", "serveraddress": "h:1"}


def test_a_missing_helper_is_named(folder: Path) -> None:
    """With what to do."""
    write(folder, credsStore="absent")
    with pytest.raises(Failure, match=r"cannot run docker-credential-absent, which config\.json names"):
        header("debian")


def test_a_failing_helper_is_quoted(folder: Path, helper: Path) -> None:
    """In its own words; an answer that is no login is named too."""
    program = helper.parent / "bin" / "docker-credential-test"
    write(folder, credsStore="test")
    program.write_text("#!/bin/sh\necho the safe is locked; exit 3\n")
    with pytest.raises(Failure, match="docker-credential-test get failed: the safe is locked"):
        header("debian")
    program.write_text("#!/bin/sh\necho hello\n")
    with pytest.raises(Failure, match="gave an answer that is no login"):
        header("debian")


@pytest.mark.parametrize("text", ["{", "[]", '"x"'])
def test_a_damaged_file_is_named(folder: Path, text: str) -> None:
    """It is not overwritten."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(text)
    with pytest.raises(Failure, match=r"config\.json is not valid JSON"):
        Credentials()
    (folder / "config.json").write_text("{}")
    write(folder, auths={"h:1": {"auth": "%%%x"}})
    with pytest.raises(Failure, match="damaged: log in again"):
        header("h:1/x")
