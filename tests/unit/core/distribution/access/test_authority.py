"""Who sees a credential: the registry that it belongs to, its token service, and nobody else.

Regression suite for CVE-2020-15157 and its relatives: an evil server records
everything that reaches it, while the registry (or somebody who took over a
part of it) sends us there in every way that the protocol knows.
"""

import io
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web

from corten.core.distribution.credentials import Credential
from corten.core.distribution.registries import Registries
from corten.core.distribution.repository import Repository
from corten.core.distribution.settings import HostSettings, RegistrySettings
from corten.errors import CortenError, Forbidden, NotFound, Unavailable, Unsupported
from corten.oci.descriptor import OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor
from corten.oci.digest import Digest
from corten.oci.reference import Reference
from tests.fakes.registry import (
    Authority,
    FakeRegistry,
    Handler,
    Names,
    authority,
    challenge,
    redirect,
    refuse,
    reply,
)
from tests.unit.core.distribution.client import ME, client, insecure, repository, run, settings, whole

LAYER = os.urandom(1000)
NEW = b"a new layer"
TEXT = Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(NEW), size=len(NEW))

Act = Callable[[Repository, FakeRegistry], Awaitable[object]]


@pytest.fixture
def good() -> Iterator[FakeRegistry]:
    """The registry that knows us."""
    with FakeRegistry() as registry:
        registry.passwords = {"me": "secret"}
        registry.add_image("a/b", "1", LAYER)
        yield registry


@pytest.fixture
def evil() -> Iterator[FakeRegistry]:
    """A server that wants our password: it asks for it in every way."""
    with FakeRegistry() as registry:
        header = f'Bearer realm="{registry.url("/token")}",service="evil", Basic realm="evil"'
        registry.order(r" /(?!token)", challenge(header), times=1000)
        registry.order(r" /token", reply(200, body=b'{"token": "evil"}'), times=1000)
        yield registry


@pytest.fixture(scope="session")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate for registry.test."""
    return authority(tmp_path_factory.mktemp("tls"))


async def _blob(repository: Repository, _: FakeRegistry) -> None:
    await whole(repository, Descriptor(media_type="", digest=Digest.of(LAYER), size=len(LAYER)))


async def _resumed(repository: Repository, _: FakeRegistry) -> None:
    await whole(repository, Descriptor(media_type="", digest=Digest.of(LAYER), size=len(LAYER)), 10)


async def _upload(repository: Repository, _: FakeRegistry) -> None:
    await repository.upload(TEXT, lambda: io.BytesIO(NEW), lambda _: None)


async def _put(repository: Repository, good: FakeRegistry) -> None:
    await repository.put("2", OCI_MANIFEST, good.manifests["a/b", "1"][1])


def _name(good: FakeRegistry) -> Digest:
    return Digest.of(good.manifests["a/b", "1"][1])


ACTS: dict[str, tuple[str, Act]] = {
    "manifest": ("GET .*/manifests/", lambda one, _: one.resolve("1")),
    "head of a manifest": ("HEAD .*/manifests/", lambda one, _: one.head("1")),
    "blob": ("GET .*/blobs/", _blob),
    "rest of a blob": ("GET .*/blobs/", _resumed),
    "head of a blob": ("HEAD .*/blobs/", lambda one, _: one.exists(Digest.of(LAYER))),
    "start of an upload": ("POST .*/uploads/", _upload),
    "bytes of an upload": ("PUT .*/uploads/", _upload),
    "mount": ("POST .*/uploads/", lambda one, _: one.mount(Digest.of(LAYER), "x/y")),
    "new manifest": ("PUT .*/manifests/", _put),
    "tags": ("GET .*/tags/", lambda one, _: one.tags()),
    "referrers": ("GET .*/referrers/", lambda one, good: one.referrers(_name(good))),
    "deletion": ("DELETE .*/manifests/", lambda one, good: one.delete(_name(good))),
}
# How an evil place may be spelled; only the port differs from the registry's in some
PLACES = {
    "another host": "http://evil.test:{port}/take",
    "another port": "http://registry.test:{port}/take",
    "another port in upper case": "HTTP://REGISTRY.TEST:{port}/take",
    "a name with a dot": "http://registry.test.:{port}/take",
    "with a user": "http://me:secret@evil.test:{port}/take",
    "a user that looks like the host": "http://registry.test@evil.test:{port}/take",
    "without a scheme": "//evil.test:{port}/take",
}


def assert_nothing_told(evil: FakeRegistry) -> None:
    """No header and no query that reached *evil* holds what opens the registry."""
    for seen in evil.seen:
        assert seen.headers.get("Authorization") in (None, "Bearer evil"), "its own token is no secret to it"
        assert "Proxy-Authorization" not in seen.headers
        assert "Cookie" not in seen.headers
        told = " ".join([*seen.headers.values(), *seen.query.values(), seen.path])
        assert not any(secret in told for secret in ("secret", "bWU6c2VjcmV0", "token-0", "refresh-me"))


def _spelled(good: FakeRegistry) -> str:
    return f"registry.test:{good.port}"


async def _act(good: FakeRegistry, act: Act, credential: Credential | None = ME) -> None:
    """Do *act* as somebody who has logged in, whatever comes of it; the first request is an honest one."""
    given = insecure(_spelled(good))
    async with repository(f"{_spelled(good)}/a/b", credential, given) as one:
        with suppress(CortenError):
            await act(one, good)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("what", ACTS)
def test_redirect_to_another_origin_leaves_the_credential_behind(
    good: FakeRegistry, evil: FakeRegistry, what: str, place: str
) -> None:
    """Whatever is asked, however the other origin is spelled, it sees no Authorization, also when it asks."""
    pattern, act = ACTS[what]
    bearer = (list(ACTS).index(what) + list(PLACES).index(place)) % 2  # each act and place meets both ways
    good.realm = "self" if bearer else ""

    async def go() -> None:
        given = insecure(_spelled(good))
        async with repository(f"{_spelled(good)}/a/b", ME, given) as one:
            await one.resolve("1")
            good.order(pattern, redirect(PLACES[place].format(port=evil.port)))
            with suppress(CortenError):
                await act(one, good)

    run(go())

    assert evil.seen, "the redirect was followed"
    assert_nothing_told(evil)
    assert not evil.saw("/token"), "a stranger's challenge is not answered"


@pytest.mark.parametrize("realm", ["", "self"], ids=["basic", "bearer"])
@pytest.mark.parametrize("place", PLACES)
def test_upload_to_another_origin_goes_without_the_credential(
    good: FakeRegistry, evil: FakeRegistry, place: str, realm: str
) -> None:
    """The Location of an upload may be another host; it gets the bytes and no Authorization."""
    good.realm = realm
    location = PLACES[place].format(port=evil.port)
    good.order("POST .*/uploads/", _after_login(location), times=2)

    run(_act(good, _upload))

    assert evil.seen
    assert_nothing_told(evil)
    assert not evil.saw("/token")


def _after_login(location: str) -> Handler:
    """Open an upload elsewhere for who has logged in."""
    accept = reply(202, {"Location": location})

    async def handler(request: web.Request) -> web.StreamResponse | None:
        return await accept(request) if "Authorization" in request.headers else None

    return handler


@pytest.mark.parametrize("place", PLACES)
def test_next_page_elsewhere_is_refused(good: FakeRegistry, evil: FakeRegistry, place: str) -> None:
    """A list goes on where it began, or not at all."""
    link = f'<{PLACES[place].format(port=evil.port)}>; rel="next"'
    good.passwords = {}
    good.order("GET .*/tags/", reply(200, {"Link": link}, b'{"tags": []}'))

    async def go() -> None:
        async with repository(f"{_spelled(good)}/a/b", ME, insecure(_spelled(good))) as one:
            with pytest.raises(Unavailable, match="next page"):
                await one.tags()

    run(go())

    assert not evil.seen


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_mirror_sees_no_credential(good: FakeRegistry, evil: FakeRegistry, scheme: str) -> None:
    """A mirror that asks for the password, or names a token service, gets an anonymous client."""
    mirrors = HostSettings(mirrors=(evil.url(),), insecure=True)

    async def go() -> None:
        given = settings(hosts={_spelled(good): mirrors})
        async with repository(f"{_spelled(good)}/a/b", ME, given) as one:
            got = await one.resolve("1")
            assert got.raw == good.manifests["a/b", "1"][1]
            await _blob(one, good)

    evil._orders.pop(0)
    evil.order(" /v2/", challenge(f'{scheme} realm="{evil.url("/token")}",service="evil"'), times=100)
    run(go())

    assert evil.saw("/v2/a/b/manifests/1")
    assert bool(evil.saw("/token")) == (scheme == "Bearer")
    assert_nothing_told(evil)


def test_chain_that_returns_stays_without_the_credential(good: FakeRegistry, evil: FakeRegistry) -> None:
    """Once left, the origin does not get the credential again in the same chain: the target was not ours."""
    back = f"http://registry.test:{good.port}/elsewhere/back"
    evil._orders.clear()
    evil.order("GET /take", redirect(back))
    good.order("GET .*/manifests/2", redirect(f"http://evil.test:{evil.port}/take"))

    async def go() -> None:
        async with repository(f"{_spelled(good)}/a/b", ME, insecure(_spelled(good))) as one:
            await one.resolve("1")
            with suppress(CortenError):
                await one.resolve("2")

    run(go())

    (returned,) = good.saw("/elsewhere/back")
    assert "Authorization" not in returned.headers
    assert_nothing_told(evil)


@pytest.mark.parametrize("host", ["registry.test", "REGISTRY.TEST", "registry.test."])
def test_redirect_within_the_origin_keeps_the_credential(good: FakeRegistry, host: str) -> None:
    """Other spellings of the same origin are the same origin."""
    good.add_image("a/b", "2", b"x")
    good.order("GET .*/manifests/1", redirect(f"http://{host}:{good.port}/v2/a/b/manifests/2"), times=1)

    async def go() -> None:
        async with repository(f"{_spelled(good)}/a/b", ME, insecure(_spelled(good))) as one:
            await one.tags()
            assert (await one.resolve("1")).raw == good.manifests["a/b", "2"][1]

    run(go())

    assert good.saw("manifests/2")[-1].headers["Authorization"].startswith("Basic ")


def test_redirect_of_the_token_service_leaves_the_credential_behind(
    good: FakeRegistry, evil: FakeRegistry
) -> None:
    """The token service is an origin like any other."""
    good.realm = "self"
    good.order("GET /token", redirect(f"http://evil.test:{evil.port}/token"), times=10)

    run(_act(good, lambda one, _: one.resolve("1")))

    assert evil.saw("/token")
    assert_nothing_told(evil)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_identity_token_is_never_redirected(good: FakeRegistry, evil: FakeRegistry, status: int) -> None:
    """The body of the POST to the token service holds a secret and goes to that service only."""
    good.realm, good.identity = "self", "refresh-me"
    good.order("POST /token", redirect(evil.url("/token"), status), times=10)

    run(_act(good, lambda one, _: one.resolve("1"), Credential("me", "", "refresh-me")))

    assert good.saw("POST /token")
    assert not evil.seen


def test_token_service_elsewhere_needs_https(
    good: FakeRegistry, evil: FakeRegistry, signed: Authority
) -> None:
    """A registry that is reached by checked HTTPS cannot have the password sent in clear."""
    with FakeRegistry(signed.server()) as registry:
        registry.passwords, registry.realm = {"me": "secret"}, evil.url("/token", "evil.test")
        host = f"registry.test:{registry.port}"
        given = settings(hosts={host: HostSettings(ca_files=(str(signed.ca),))})

        async def go() -> None:
            async with repository(f"{host}/a/b", ME, given) as one:
                with pytest.raises(Forbidden, match=rf"password sent in clear to evil\.test:{evil.port}"):
                    await one.resolve("1")

        run(go())

    assert not evil.seen


@pytest.mark.parametrize("realm", ["", "http://127.0.0.1:{port}/token", "http://LOCALHOST.:{port}/token"])
def test_clear_token_service_on_loopback_is_no_exception(
    good: FakeRegistry, evil: FakeRegistry, signed: Authority, realm: str
) -> None:
    """That our own machine is insecure by default does not make it the token service of a remote registry."""
    with FakeRegistry(signed.server()) as registry:
        registry.passwords = {"me": "secret"}
        registry.realm = realm.format(port=evil.port) or "relative/token"
        host = f"registry.test:{registry.port}"
        given = settings(hosts={host: HostSettings(ca_files=(str(signed.ca),))})

        async def go() -> None:
            async with repository(f"{host}/a/b", ME, given) as one:
                with pytest.raises((Forbidden, Unavailable)):
                    await one.resolve("1")

        run(go())

    assert not evil.seen


def test_token_service_may_be_another_host_by_https(signed: Authority) -> None:
    """Docker's own registry is made so: the password goes to the token service, the token to the registry."""
    with FakeRegistry(signed.server()) as tokens, FakeRegistry(signed.server()) as registry:
        registry.passwords = tokens.passwords = {"me": "secret"}
        registry.realm, registry._tokens = tokens.url("/token", "registry.test"), tokens._tokens
        registry.add_image("a/b", "1", LAYER)
        hosts = [f"registry.test:{one.port}" for one in (registry, tokens)]
        given = settings(hosts={host: HostSettings(ca_files=(str(signed.ca),)) for host in hosts})

        async def go() -> None:
            async with repository(f"{hosts[0]}/a/b", ME, given) as one:
                await one.resolve("1")

        run(go())

        (asked,) = tokens.saw("/token")
        assert asked.headers["Authorization"].startswith("Basic ")
        assert asked.query["scope"] == "repository:a/b:pull"
        assert registry.seen[-1].headers["Authorization"] == "Bearer token-0"
        assert all("Basic" not in seen.headers.get("Authorization", "") for seen in registry.seen)


def test_redirect_from_https_to_plain_http_is_refused(evil: FakeRegistry, signed: Authority) -> None:
    """Nothing is fetched in clear that was asked for by HTTPS."""
    with FakeRegistry(signed.server()) as registry:
        registry.order("GET .*/manifests/", redirect(evil.url("/take", "evil.test")))
        host = f"registry.test:{registry.port}"
        given = settings(hosts={host: HostSettings(ca_files=(str(signed.ca),))})

        async def go() -> None:
            async with repository(f"{host}/a/b", ME, given) as one:
                with pytest.raises(Unavailable, match="HTTPS to plain HTTP"):
                    await one.resolve("1")

        run(go())

    assert not evil.seen


def test_location_in_clear_on_the_same_host_stays_on_https(signed: Authority) -> None:
    """A registry behind a proxy that does TLS gives http:// locations; they mean the way we came."""
    with FakeRegistry(signed.server()) as registry:
        registry.elsewhere = "http://registry.test"
        host = f"registry.test:{registry.port}"
        given = settings(hosts={host: HostSettings(ca_files=(str(signed.ca),))})

        async def go() -> None:
            async with repository(f"{host}/a/b", None, given) as one:
                await _upload(one, registry)

        run(go())

        assert registry.blobs["a/b", TEXT.digest] == NEW


# places where nothing is ever sent

NOWHERE = {
    "link-local": "http://169.254.169.254/x",
    "link-local, HTTPS": "https://169.254.169.254/x",
    "another link-local one": "http://169.254.10.20:8080/x",
    "IPv6 link-local": "http://[fe80::1]/x",
    "IPv6 link-local with a zone": "http://[fe80::1%25lo]/x",
    "mapped into IPv6": "http://[::ffff:169.254.169.254]/x",
    "mapped, in hex": "http://[::ffff:a9fe:a9fe]/x",
    "compatible with IPv6": "http://[::169.254.169.254]/x",
    "translated by NAT64": "http://[64:ff9b::a9fe:a9fe]/x",
    "6to4": "http://[2002:a9fe:a9fe::1]/x",
    "metadata by IPv6": "http://[fd00:ec2::254]/x",
    "metadata of another cloud": "http://100.100.100.200/x",
    "one number": "http://2852039166/x",
    "hexadecimal": "http://0xa9fea9fe/x",
    "octal parts": "http://0251.0376.0251.0376/x",
    "short form": "http://169.254.43518/x",
    "a name": "http://metadata.test/x",
    "a name in upper case": "http://METADATA.test/x",
    "a name for an IPv6 address": "http://metadata6.test/x",
}


class _Watched(Names):
    """Resolves the names of the table; numbers in odd forms as the system would."""

    def __init__(self) -> None:
        odd = dict.fromkeys(
            ("2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"), "169.254.169.254"
        )
        super().__init__()
        self.known = {
            "metadata.test": "169.254.169.254",
            "metadata6.test": "fe80::1234",
            **odd,
        }


def _assert_refused(good: FakeRegistry, act: Act) -> None:
    """Do *act*; it is refused for the address, not because a connection failed."""

    async def go() -> None:
        async with repository(f"{_spelled(good)}/a/b", ME, insecure(_spelled(good)), _Watched()) as one:
            with pytest.raises(CortenError, match=r"link-local or metadata|no name of a host"):
                await act(one, good)

    run(go())


@pytest.mark.parametrize("place", NOWHERE)
def test_redirect_to_a_metadata_service_is_refused(good: FakeRegistry, place: str) -> None:
    """No connection is made, however the address is written."""
    good.passwords = {}
    good.order("GET .*/blobs/", redirect(NOWHERE[place]), times=10)

    _assert_refused(good, _blob)


@pytest.mark.parametrize("place", NOWHERE)
def test_realm_at_a_metadata_service_is_refused(good: FakeRegistry, place: str) -> None:
    """No connection is made, however the address is written."""
    good.realm = NOWHERE[place]

    _assert_refused(good, lambda one, _: one.resolve("1"))


@pytest.mark.parametrize("place", NOWHERE)
def test_upload_to_a_metadata_service_is_refused(good: FakeRegistry, place: str) -> None:
    """No connection is made, however the address is written."""
    good.passwords = {}
    good.order("POST .*/uploads/", reply(202, {"Location": NOWHERE[place]}))

    _assert_refused(good, _upload)


def test_registry_at_a_link_local_address_is_refused() -> None:
    """A name that comes to stand for the metadata service does not reach it either."""

    async def go() -> None:
        async with repository("metadata.test/a/b", ME, names=_Watched()) as one:
            with pytest.raises(Forbidden, match="link-local"):
                await one.resolve("1")

    run(go())


# how a registry asks, and what it gets


def test_password_goes_out_only_when_asked_for(good: FakeRegistry) -> None:
    """The first request is anonymous; then every request carries what was asked for."""
    run(_act(good, lambda one, _: one.resolve("1")))

    asked = good.saw("manifests")
    assert "Authorization" not in asked[0].headers
    assert asked[1].headers["Authorization"] == "Basic bWU6c2VjcmV0"


def test_token_is_asked_for_once_and_kept(good: FakeRegistry) -> None:
    """Many requests for the same rights need one token."""
    good.realm = "self"

    async def act(one: Repository, good: FakeRegistry) -> None:
        await one.resolve("1")
        await _blob(one, good)
        await one.tags()

    run(_act(good, act))

    assert len(good.saw("/token")) == 1
    assert good.saw("blobs")[-1].headers["Authorization"] == "Bearer token-0"


def test_expired_token_is_renewed(good: FakeRegistry) -> None:
    """A token that is refused is forgotten, and a new one asked for."""
    good.realm = "self"

    async def act(one: Repository, good: FakeRegistry) -> None:
        await one.resolve("1")
        good.forget_tokens()
        assert (await one.resolve("1")).raw

    run(_act(good, act))

    assert len(good.saw("/token")) == 2


def test_rights_on_other_repositories_are_not_asked_for(good: FakeRegistry) -> None:
    """What one challenge asked for is not asked for again with the next repository."""
    good.realm = "self"
    good.add_image("x/y", "1", LAYER)
    header = f'Bearer realm="{good.url("/token")}",service="fake",scope="repository:a/b:pull,odd"'
    good.order("GET .*/manifests/", challenge(header))

    async def go() -> None:
        async with client(insecure(_spelled(good))) as registries:
            for name in ("a/b", "x/y"):
                await registries.repository(Reference.parse(f"{_spelled(good)}/{name}"), ME).resolve("1")

    run(go())

    assert list(good._tokens.values()) == ["repository:a/b:odd,pull", "repository:x/y:pull"]


def test_rights_to_push_and_to_mount_are_asked_for(good: FakeRegistry) -> None:
    """A mount asks for both repositories."""
    good.realm = "self"
    good.add_blob("x/y", NEW)

    async def act(one: Repository, _: FakeRegistry) -> None:
        assert await one.mount(TEXT.digest, "x/y")

    run(_act(good, act))

    assert set(good._tokens.values()) == {"repository:a/b:pull,push repository:x/y:pull"}


def test_identity_token_is_posted(good: FakeRegistry) -> None:
    """Who logged in with an identity token gets tokens by OAuth 2."""
    good.realm, good.identity = "self", "refresh-me"

    run(_act(good, lambda one, _: one.resolve("1"), Credential("<token>", "", "refresh-me")))

    assert good.seen[-1].headers["Authorization"] == "Bearer token-0"
    assert [seen.method for seen in good.saw("/token")] == ["POST"]


def test_token_service_without_post_is_asked_by_get(good: FakeRegistry) -> None:
    """Some services know only the older way."""
    good.realm = "self"
    good.order("POST /token", refuse(404, ""))

    run(_act(good, lambda one, _: one.resolve("1"), Credential("me", "secret", "refresh-me")))

    assert [seen.method for seen in good.saw("/token")] == ["POST", "GET"]
    assert good.seen[-1].headers["Authorization"] == "Bearer token-0"


@pytest.mark.parametrize("realm", ["", "self"], ids=["basic", "bearer"])
def test_anonymous_client_hears_that_it_may_need_a_login(good: FakeRegistry, realm: str) -> None:
    """The words are those that users of Docker know."""
    good.realm = realm

    async def go() -> None:
        async with repository(f"{_spelled(good)}/a/b", None, insecure(_spelled(good))) as one:
            with pytest.raises(NotFound, match=r"pull access denied .* may require 'corten login registry"):
                await one.resolve("1")

    run(go())


@pytest.mark.parametrize("realm", ["", "self"], ids=["basic", "bearer"])
def test_wrong_password_is_told(good: FakeRegistry, realm: str) -> None:
    """A wrong password is not an absent image."""
    good.realm = realm

    async def go() -> None:
        wrong = Credential("me", "wrong")
        async with repository(f"{_spelled(good)}/a/b", wrong, insecure(_spelled(good))) as one:
            with pytest.raises(Forbidden, match="incorrect username or password"):
                await one.resolve("1")

    run(go())


def test_unknown_way_to_log_in_is_told(good: FakeRegistry) -> None:
    """A registry that wants Negotiate is not one of ours."""
    good.order("GET .*/manifests/", challenge("Negotiate"))

    async def go() -> None:
        async with repository(f"{_spelled(good)}/a/b", ME, insecure(_spelled(good))) as one:
            with pytest.raises(Unsupported, match="asks for negotiate to log in"):
                await one.resolve("1")

    run(go())


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"token": 1}', b'{"token": "a\\r\\nX: y"}', b"\xff"])
def test_token_that_is_none_is_refused(good: FakeRegistry, body: bytes) -> None:
    """What a token service sends ends in a header and is checked before."""
    good.realm = "self"
    good.order("GET /token", reply(200, body=body))

    async def go() -> None:
        async with repository(f"{_spelled(good)}/a/b", ME, insecure(_spelled(good))) as one:
            with pytest.raises(CortenError, match="token service"):
                await one.resolve("1")

    run(go())


def test_credential_hides_its_secrets() -> None:
    """No log and no traceback shows a password."""
    shown = f"{Credential('me', 'secret', 'identity')!r} {Credential('me', 'secret', 'identity')}"

    assert "secret" not in shown
    assert "refresh-me" not in shown


@pytest.mark.parametrize("realm", ["", "self"], ids=["basic", "bearer"])
def test_login_checks_the_password(good: FakeRegistry, realm: str) -> None:
    """A login succeeds with the right password and fails with a wrong one."""
    good.realm = realm

    async def go() -> None:
        async with client(insecure(_spelled(good))) as registries:
            assert await registries.login(_spelled(good), ME) == ""
            with pytest.raises(Forbidden, match="incorrect username or password"):
                await registries.login(_spelled(good), Credential("me", "wrong"))

    run(go())


def test_login_returns_an_identity_token(good: FakeRegistry) -> None:
    """A token service that gives one spares us keeping the password."""
    good.realm, good.identity = "self", "refresh-me"

    async def go() -> str:
        async with client(insecure(_spelled(good))) as registries:
            return await registries.login(f"http://{_spelled(good)}/v1/", ME)

    assert run(go()) == "refresh-me"


def test_login_does_not_follow_a_redirect_with_the_password(good: FakeRegistry, evil: FakeRegistry) -> None:
    """The answer of a stranger's /v2/ is no challenge of ours."""
    good.order("GET /v2/", redirect(f"http://evil.test:{evil.port}/v2/"), times=10)

    async def go() -> None:
        async with client(insecure(_spelled(good))) as registries:
            with pytest.raises(CortenError):
                await registries.login(_spelled(good), ME)

    run(go())

    assert evil.saw("/v2/")
    assert_nothing_told(evil)


def test_two_registries_do_not_share_a_credential(good: FakeRegistry, evil: FakeRegistry) -> None:
    """What was learnt of one registry is of no use at another, in the same daemon."""
    given = insecure(_spelled(good), f"registry.test:{evil.port}")

    async def both(registries: Registries) -> None:
        await registries.repository(Reference.parse(f"{_spelled(good)}/a/b"), ME).resolve("1")
        with suppress(CortenError):
            await registries.repository(Reference.parse(f"registry.test:{evil.port}/a/b")).resolve("1")

    async def go() -> None:
        async with client(given) as registries:
            await both(registries)

    run(go())

    assert evil.seen
    assert_nothing_told(evil)


def test_search_redirect_leaves_the_credential_behind(good: FakeRegistry, evil: FakeRegistry) -> None:
    """A search is a request like any other."""
    good.order("GET /v1/search", redirect(f"http://evil.test:{evil.port}/take"), times=10)

    async def go() -> None:
        async with client(insecure(_spelled(good))) as registries:
            await registries.repository(Reference.parse(f"{_spelled(good)}/a/b"), ME).resolve("1")
            with suppress(CortenError):
                await registries.search(_spelled(good), "x", 5, ME)

    run(go())

    assert evil.saw("/take")
    assert_nothing_told(evil)


def test_files_of_the_user_are_not_read(
    good: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A netrc file or a proxy in the environment of the daemon says nothing about registries."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine registry.test login me password secret\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    run(_act(good, lambda one, _: one.resolve("1"), None))

    assert good.seen
    assert all("Authorization" not in seen.headers for seen in good.seen)


def test_settings_are_values() -> None:
    """Settings can be compared and kept."""
    assert RegistrySettings() == RegistrySettings()
