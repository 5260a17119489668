"""corten registry: what goes wrong at the start is one line, and the folder is left in order."""

import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from corten.errors import InvalidInput
from corten.serve.daemon import registry
from corten.serve.daemon.registry_settings import RegistryConfig, Tls
from corten.serve.registry.storage.folder import FolderStorage


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A folder for a registry's state, which is not there yet."""
    return str(tmp_path / "data")


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run a verb that has to fail; return what it said."""
    assert registry.main(list(argv)) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1, told
    return told


def test_a_taken_address(capsys: pytest.CaptureFixture[str], data: str) -> None:
    """The address is named, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        told = said(capsys, "serve", "--data", data, "--listen", address)
    assert f"cannot listen at {address}: address already in use" in told


def test_a_second_registry_on_the_same_folder(capsys: pytest.CaptureFixture[str], data: str) -> None:
    """A folder has one owner."""
    storage = FolderStorage(data)
    try:
        assert "another registry" in said(capsys, "serve", "--data", data, "--listen", "0")
    finally:
        storage.close()


def test_a_bad_certificate(capsys: pytest.CaptureFixture[str], data: str, tmp_path: Path) -> None:
    """A file that is missing or holds none is told before anything is served."""
    (tmp_path / "bad.pem").write_text("nothing")
    for name in ("none.pem", "bad.pem"):
        path = str(tmp_path / name)
        flags = ("--tls-cert", path, "--tls-key", path)
        assert f"cannot use {path}" in said(capsys, "serve", "--data", data, "--listen", "0", *flags)


def test_a_registry_that_never_was(capsys: pytest.CaptureFixture[str], data: str) -> None:
    """Upkeep of a folder that is not there makes none."""
    assert "no such registry" in said(capsys, "gc", "--data", data)
    assert not Path(data).exists()


def test_an_engine_that_never_was(capsys: pytest.CaptureFixture[str], data: str) -> None:
    """There is nothing to serve where no engine is."""
    told = said(capsys, "--root", data, "serve", "--from-engine", "--listen", "0")
    assert "there is no engine" in told


def test_an_object_store_that_does_not_answer(
    capsys: pytest.CaptureFixture[str], data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bucket and its service are named."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setattr("corten.serve.registry.storage.bucket._RETRIES", 0)
    flags = ("--s3-bucket", "b", "--s3-endpoint", "http://127.0.0.1:9")
    told = said(capsys, "serve", "--data", data, "--listen", "0", *flags)
    assert "the bucket b at http://127.0.0.1:9 cannot be used" in told


def certificate(folder: Path, name: str) -> None:
    """Write ``c.pem`` and ``k.pem`` for *name*."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    new = (
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        f"/CN={name}",
        "-days",
        "2",
    )
    files = ("-keyout", str(folder / "k.pem"), "-out", str(folder / "c.pem"))
    subprocess.run(["openssl", "req", "-x509", *new, *files], check=True, capture_output=True)


def test_tls_is_new_enough_and_read_again(tmp_path: Path) -> None:
    """Nothing older than 1.2 is spoken; a renewed certificate counts, a broken one leaves the old in place."""
    certificate(tmp_path, "first")
    config = RegistryConfig(tls=Tls(cert=str(tmp_path / "c.pem"), key=str(tmp_path / "k.pem")))
    context = registry._tls(config)
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    certificate(tmp_path, "second")
    registry._reload(config, context)
    assert presented(context) == "second"
    (tmp_path / "c.pem").write_text("nothing")
    registry._reload(config, context)
    assert presented(context) == "second"
    with pytest.raises(InvalidInput):
        registry._tls(config)


def presented(context: ssl.SSLContext) -> str:
    """Return the name in the certificate that a server with *context* shows, without any network."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(back, there), context.wrap_bio(there, back, server_side=True)]
    for end in ends * 3:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    raw = ends[0].getpeercert(binary_form=True)
    assert raw is not None
    return "second" if b"second" in raw else "first"
