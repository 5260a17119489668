"""Connections: names, certificates, proxies, and what is said when there is none."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web

from corten.core.distribution.settings import HostSettings, Patience, RegistrySettings
from corten.errors import CortenError, Forbidden, InvalidInput, Unavailable
from tests.fakes.registry import PATIENCE, Authority, FakeRegistry, Names, authority, reply
from tests.unit.core.distribution.client import ME, client, insecure, repository, run, settings


@pytest.fixture(scope="session")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate for registry.test."""
    return authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """A registry that speaks plain HTTP."""
    with FakeRegistry() as made:
        made.add_image("a/b", "1", b"layer")
        yield made


def resolve(host: str, given: RegistrySettings | None = None, names: Names | None = None) -> None:
    """Resolve an image at *host*."""

    async def go() -> None:
        async with repository(f"{host}/a/b", given=given, names=names) as one:
            await one.resolve("1")

    run(go())


def trusting(host: str, signed: Authority, certificate: str = "", key: str = "") -> RegistrySettings:
    """Return settings that trust the authority at *host*."""
    return settings(hosts={host: HostSettings(ca_files=(str(signed.ca),), certificate=certificate, key=key)})


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def test_unknown_name() -> None:
    """A name that stands for nothing is told at once, with no further tries."""
    names = Names()

    with pytest.raises(Unavailable, match=r"cannot find nowhere\.example: no such host: check the name"):
        resolve("nowhere.example", names=names)
    assert len(names.asked) == 1


@pytest.mark.parametrize("host", ["registry.test", "127.0.0.1"])
def test_connection_refused(host: str) -> None:
    """Nobody listens: one line, without the client's own words."""
    with pytest.raises(
        Unavailable, match=rf"cannot reach {host}:\d+: connection refused: is the registry running"
    ):
        resolve(f"{host}:{_free_port()}")


def test_no_answer_to_a_connection() -> None:
    """A host that drops packets is left after the time for a connection."""

    class Deaf(Names):
        async def resolve(self, *_: object, **__: object) -> list[object]:  # type: ignore[override]
            await asyncio.sleep(PATIENCE)
            return []

    patience = Patience(attempts=2, pause=0.001, connect=0.05)

    with pytest.raises(Unavailable, match=r"cannot reach deaf\.test: no connection within 0\.05 s"):
        resolve("deaf.test", settings(patience), Deaf())


def test_plain_http_where_https_is_needed(registry: FakeRegistry) -> None:
    """A registry without TLS is told how it can be used all the same."""
    with pytest.raises(Unavailable, match="speaks plain HTTP, not HTTPS: name it an insecure registry"):
        resolve(f"registry.test:{registry.port}")
    assert not registry.seen


def test_plain_http_of_an_insecure_registry(registry: FakeRegistry) -> None:
    """Insecure registries, and loopback ones by default, are spoken to in clear where HTTPS does not answer."""
    resolve(registry.host)
    resolve(f"registry.test:{registry.port}", insecure(f"registry.test:{registry.port}"))
    resolve(f"registry.test:{registry.port}", settings(insecure=("registry.test",)))


def test_registry_that_changes_its_way(registry: FakeRegistry) -> None:
    """What was learnt of a registry is forgotten when it can no longer be reached so."""

    async def go() -> None:
        async with repository(f"{registry.host}/a/b") as one:
            await one.resolve("1")
            await asyncio.to_thread(registry.close)
            with pytest.raises(Unavailable, match="cannot reach"):
                await one.resolve("1")
            assert one._route._channels._known[registry.host].scheme == ""

    run(go())


def test_unknown_authority(signed: Authority) -> None:
    """A certificate that nobody vouches for is refused, and the place for its authority named."""
    with FakeRegistry(signed.server()) as registry:
        host = f"registry.test:{registry.port}"
        with pytest.raises(
            Unavailable, match=rf"not trusted \(.*\): put its CA into /etc/corten/certs\.d/{host}/ca\.crt"
        ):
            resolve(host)
        assert not registry.seen


def test_known_authority(signed: Authority) -> None:
    """A host's own authority is trusted for that host, and for no other."""
    with FakeRegistry(signed.server()) as registry:
        registry.add_image("a/b", "1", b"layer")
        host = f"registry.test:{registry.port}"
        resolve(host, trusting(host, signed))
        with pytest.raises(Unavailable, match="not trusted"):
            resolve(host, trusting("other.test", signed))


def test_insecure_registry_with_a_bad_certificate(signed: Authority) -> None:
    """Insecure means that certificates are not checked; HTTPS is used all the same."""
    with FakeRegistry(signed.server()) as registry:
        registry.add_image("a/b", "1", b"layer")
        resolve(registry.host)
        resolve(f"other.test:{registry.port}", insecure(f"other.test:{registry.port}"))


def test_certificate_for_another_host(signed: Authority) -> None:
    """The name must be the certificate's."""
    with FakeRegistry(signed.server()) as registry:
        host = f"other.test:{registry.port}"
        with pytest.raises(Unavailable, match=r"is for another host .* use the name it was made for"):
            resolve(host, trusting(host, signed))


def test_expired_certificate(tmp_path: Path) -> None:
    """A certificate that is over is told as such."""
    expired = authority(tmp_path / "expired", days=-1)
    with FakeRegistry(expired.server()) as registry:
        host = f"registry.test:{registry.port}"
        with pytest.raises(Unavailable, match=r"is not valid now .* set this machine's clock"):
            resolve(host, trusting(host, expired))


def test_client_certificate(signed: Authority) -> None:
    """A registry that asks who we are by TLS is shown the host's certificate, and only that registry."""
    with FakeRegistry(signed.server(clients=True)) as registry:
        registry.add_image("a/b", "1", b"layer")
        host = f"registry.test:{registry.port}"
        with pytest.raises(Unavailable):
            resolve(host, trusting(host, signed))
        assert not registry.seen
        resolve(host, trusting(host, signed, certificate=str(signed.certificate), key=str(signed.key)))


@pytest.mark.parametrize("member", ["ca", "certificate"])
def test_certificate_files_that_cannot_be_read(tmp_path: Path, member: str) -> None:
    """What the administrator named wrong is told with its host."""
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing", encoding="utf-8")
    host = {
        "ca": HostSettings(ca_files=(str(wrong),)),
        "certificate": HostSettings(certificate=str(tmp_path / "absent")),
    }[member]

    with pytest.raises(InvalidInput, match=r"the certificates for registry\.test cannot be read"):
        resolve("registry.test", settings(hosts={"registry.test": host}))


def test_server_that_is_no_registry(registry: FakeRegistry) -> None:
    """A web server is not taken for a registry."""
    registry.order("GET /v2/", reply(404, body=b"<html>"), times=10)

    async def go() -> None:
        async with client() as registries:
            with pytest.raises(Unavailable, match="is no registry"):
                await registries.login(registry.host, ME)

    run(go())


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Run *serve* for each connection in a thread; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    peer, _ = listener.accept()
                    with peer, suppress(OSError):
                        peer.settimeout(PATIENCE)
                        serve(peer)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)


def test_absent_client_certificate_is_told(signed: Authority) -> None:
    """A server that ends the handshake for the lack of a certificate is told with the place to put it."""
    context = signed.server(clients=True)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # 1.3 ends it later, and closing can overtake the reason

    def serve(peer: socket.socket) -> None:
        with context.wrap_socket(peer, server_side=True):
            pass

    with server(serve) as port:
        host = f"registry.test:{port}"
        with pytest.raises(
            Unavailable, match=r"asks for a client certificate: put client\.cert and client\.key"
        ):
            resolve(host, trusting(host, signed))


def test_server_that_speaks_no_http() -> None:
    """Whatever else listens there is told in one line."""

    def serve(peer: socket.socket) -> None:
        peer.recv(100)
        peer.sendall(b"220 mail.example ESMTP\r\n")

    with server(serve) as port, pytest.raises(Unavailable) as caught:
        resolve(f"127.0.0.1:{port}")
    assert str(caught.value).isprintable()


# proxies


def test_proxy_is_used(registry: FakeRegistry) -> None:
    """A plain request goes to the proxy with its whole address and the proxy's own password."""
    with FakeRegistry() as proxy:
        proxy.order("GET", reply(503), times=100)
        given = settings(
            hosts={"registry.test": HostSettings(insecure=True)},
            proxies={"HTTP_PROXY": f"http://user:pass@127.0.0.1:{proxy.port}"},
        )
        with pytest.raises(CortenError):
            resolve("registry.test", given)
        assert proxy.seen[-1].headers["Host"] == "registry.test"
        assert proxy.seen[-1].headers["Proxy-Authorization"].startswith("Basic ")


def test_https_goes_through_a_tunnel() -> None:
    """A proxy that refuses the tunnel is told with its status."""

    async def go() -> None:
        async def refuse(_: web.BaseRequest) -> web.Response:
            return web.Response(status=403)

        runner = web.ServerRunner(web.Server(refuse))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        given = settings(proxies={"https_proxy": f"127.0.0.1:{runner.addresses[0][1]}"})
        try:
            async with repository("registry.test/a/b", given=given) as one:
                with pytest.raises(
                    Unavailable, match=r"the proxy refuses the way to registry\.test with status 403"
                ):
                    await one.resolve("1")
        finally:
            await runner.cleanup()

    run(go())


def test_proxy_that_is_not_there() -> None:
    """A proxy that cannot be reached is told as such, not as the registry."""
    given = settings(proxies={"https_proxy": f"http://127.0.0.1:{_free_port()}"})

    with pytest.raises(
        Unavailable, match=r"cannot reach the proxy 127\.0\.0\.1:\d+ on the way to registry\.test"
    ):
        resolve("registry.test", given)


def test_address_of_a_proxy_that_is_none() -> None:
    """What the variable holds is not shown: it may hold a password."""
    given = settings(proxies={"https_proxy": "ftp://user:secret@proxy"})

    with pytest.raises(InvalidInput, match="is no URL such as") as caught:
        resolve("registry.test", given)
    assert "secret" not in str(caught.value)


def test_address_with_a_metadata_service_among_others() -> None:
    """Of several addresses only those are used that may be."""

    class Two(Names):
        async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET):  # type: ignore[no-untyped-def]
            good = await super().resolve(host, port, family)
            return [{**good[0], "host": "169.254.169.254"}, *good]

    with FakeRegistry() as registry:
        registry.add_image("a/b", "1", b"layer")
        resolve(f"registry.test:{registry.port}", settings(insecure=("registry.test",)), Two())
        assert registry.seen


def test_only_forbidden_addresses() -> None:
    """A name that stands for forbidden addresses only is refused."""
    with pytest.raises(Forbidden, match=r"registry\.example is at 169\.254\.1\.1 is a|link-local"):
        resolve("registry.example", names=Names(registry_example="169.254.1.1"))
