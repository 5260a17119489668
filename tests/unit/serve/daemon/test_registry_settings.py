"""Settings of the registry server: file and command line together, contradictions refused."""

from pathlib import Path

import pytest

from corten.errors import InvalidInput
from corten.serve.daemon.registry_settings import RegistryConfig, address, parser, read
from corten.serve.registry.access.rights import Rule


def settings(*argv: str, cwd: str = "/") -> RegistryConfig:
    """Return what a command line means."""
    return read(parser().parse_args(["--root", "/r", "--cwd", cwd, *argv]))


def test_defaults() -> None:
    """Loopback, plain HTTP, a folder below the engine's."""
    found = settings("serve")
    assert (found.place, found.folder, found.tls.cert, found.read_only) == (
        ("127.0.0.1", 5000),
        "/r/registry",
        "",
        False,
    )


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    """Members that the command line leaves out come from the file."""
    file = tmp_path / "registry.toml"
    file.write_text(
        'listen = "127.0.0.1:1"\ngc_interval = "2h"\n[tls]\ncert = "c.pem"\nkey = "/k.pem"\n'
        '[access]\nhtpasswd = "users"\ngroups = { a = ["anna"] }\n'
        '[[access.rules]]\nusers = ["@a"]\nactions = ["pull", "push"]\n'
        "[[retention]]\nkeep_last = 3\n"
    )
    found = settings(
        "serve", "--config", "registry.toml", "--listen", ":7", "--tls-key", "k2", cwd=str(tmp_path)
    )
    assert (found.listen, found.gc_interval) == (":7", "2h")
    assert (found.tls.cert, found.tls.key) == (f"{tmp_path}/c.pem", f"{tmp_path}/k2")
    assert found.users == f"{tmp_path}/users"
    assert found.access.rules == (Rule(users=("@a",), actions=("pull", "push")),)
    assert found.retention[0].keep_last == 3


@pytest.mark.parametrize(
    "text",
    [
        "listen = 5",
        "lissten = 'x'",
        "[tls]\ncertt = 'x'",
        "tls = 3",
        "[[access.rules]]\nusers = 'x'",
        "[",
        "gc_interval='x'",
    ],
)
def test_mistakes_in_the_file_are_told(tmp_path: Path, text: str) -> None:
    """Unknown members, wrong types and what is no TOML end the start with one line."""
    (tmp_path / "c").write_text(text)
    with pytest.raises(InvalidInput):
        settings("serve", "--config", str(tmp_path / "c"), "--tls-key", "")


@pytest.mark.parametrize(
    "argv",
    [
        ["--listen", "0.0.0.0:5000"],
        ["--listen", ":5000"],
        ["--listen", "[::]:5000"],
        ["--listen", "registry.example:5000"],
        ["--tls-cert", "x"],
        ["--from-engine", "--proxy-of", "x"],
        ["--anonymous-pull"],
        ["--config", "/none"],
        ["--listen", "nonsense"],
        ["--listen", "1:2:3:99999"],
    ],
)
def test_contradictions_are_refused(argv: list[str]) -> None:
    """No plain HTTP off loopback, no half of a certificate, no rules without users."""
    with pytest.raises(InvalidInput):
        settings("serve", *argv)


def test_plain_http_off_loopback_has_to_be_said() -> None:
    """With TLS, or when told so, other machines are served."""
    assert settings("serve", "--listen", "0.0.0.0:5000", "--insecure-http").insecure_http
    assert settings("serve", "--listen", "[::]:5", "--tls-cert", "c", "--tls-key", "k").place == ("::", 5)
    assert settings("serve", "--listen", "[::1]:5").place.loopback


def test_the_file_of_users_in_the_folder_counts(tmp_path: Path) -> None:
    """Users that were added without naming a file are the ones who may log in."""
    assert settings("serve", "--data", "d", cwd=str(tmp_path)).users == ""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "htpasswd").touch()
    assert settings("serve", "--data", "d", cwd=str(tmp_path)).users == f"{tmp_path}/d/htpasswd"


def test_addresses() -> None:
    """Host and port, a port alone on loopback, every address."""
    assert address("5001") == ("127.0.0.1", 5001)
    assert address(":5001") == ("0.0.0.0", 5001)
    assert address("[fe80::1]:0") == ("fe80::1", 0)
