"""The gate: who gets a challenge, who a refusal, who a token; over real HTTP."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest
from aiohttp import ClientSession, web

from corten.serve.registry.access import htpasswd
from corten.serve.registry.access.challenge import scopes
from corten.serve.registry.access.gate import HomeGate, TokenGate
from corten.serve.registry.access.rights import Rights, Rule
from corten.serve.registry.access.tokens import Tokens
from corten.serve.registry.access.users import Users
from corten.serve.registry.hooks import Action, Denied, Gate
from corten.serve.registry.refusal import Refusal
from tests.looping import in_loop


def basic(name: str, password: str) -> dict[str, str]:
    """Return the header that clients send a password in."""
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


ANNA, BEN = basic("anna", "secret"), basic("ben", "secret")
RULES = (
    Rule(users=("anna",), repositories=("team/**",), actions=("pull", "push", "delete", "catalog")),
    Rule(users=("ben",), repositories=("team/app",)),
    Rule(users=("anonymous",), repositories=("public/**",)),
)
FORM = {"service": "here", "client_id": "test"}


@pytest.fixture
def users_file(tmp_path: Path) -> Path:
    """Two users with the same password."""
    path = tmp_path / "users"
    hashes = [bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode() for _ in range(2)]
    path.write_text(f"anna:{hashes[0]}\nben:{hashes[1]}\n")
    return path


@pytest.fixture
def gate(users_file: Path) -> TokenGate:
    """A gate with two users and three rules."""
    return TokenGate(Users(str(users_file)), Rights(RULES, {}), Tokens(bytes(32), "here"))


class Site:
    """A door of which only the gate is real: ``/check/ACTIONS/REPOSITORY`` asks it."""

    def __init__(self, session: ClientSession, address: str) -> None:
        self._session, self.address = session, address

    async def ask(self, actions: str, repository: str = "", **options: Any) -> tuple[int, str]:
        """Return the status, and the challenge or the reason."""
        url = f"{self.address}/check/{actions}/{repository}"
        async with self._session.get(url, **options) as answer:
            return answer.status, answer.headers.get("WWW-Authenticate", "") or await answer.text()

    async def with_token(self, token: str, actions: str, repository: str = "") -> tuple[int, str]:
        """Ask with a token."""
        return await self.ask(actions, repository, headers={"Authorization": f"Bearer {token}"})

    async def token(self, method: str = "GET", **options: Any) -> tuple[int, Any]:
        """Ask for a token; returns status and decoded answer."""
        async with self._session.request(method, f"{self.address}/token", **options) as answer:
            return answer.status, await answer.json()


@asynccontextmanager
async def site(gate: Gate) -> AsyncIterator[Site]:
    """Serve *gate* on loopback."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if isinstance(gate, TokenGate) and request.path == "/token":
            return await gate.token(request)
        _, _, words, repository = request.path.split("/", 3)
        known: tuple[Action, ...] = ("pull", "push", "delete", "catalog")
        actions = frozenset(action for action in known if action in words.split(","))
        try:
            await gate.check(request, repository, actions)
        except Denied as refusal:
            headers = {"WWW-Authenticate": refusal.challenge} if refusal.challenge else {}
            return web.Response(status=401 if refusal.challenge else 403, text=str(refusal), headers=headers)
        except Refusal as refusal:
            return web.Response(status=refusal.status, text=str(refusal))
        return web.Response()

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    place = web.TCPSite(runner, "127.0.0.1", 0)
    await place.start()
    try:
        host, port = runner.addresses[0][:2]
        async with ClientSession() as session:
            yield Site(session, f"http://{host}:{port}")
    finally:
        await runner.cleanup()


@in_loop
async def test_strangers_are_told_where_tokens_are(gate: TokenGate) -> None:
    """The challenge names the page of tokens under the address that was used, and what is needed."""
    async with site(gate) as door:
        assert await door.ask("base") == (401, f'Bearer realm="{door.address}/token",service="here"')
        status, challenge = await door.ask("pull,push", "team/app")
        assert status == 401
        assert challenge.endswith(',scope="repository:team/app:pull,push"')
        assert (await door.ask("catalog"))[1].endswith(',scope="registry:catalog:*"')


@in_loop
async def test_a_set_address_is_told_instead(users_file: Path) -> None:
    """Behind a proxy the page of tokens has the proxy's address."""
    gate = TokenGate(
        Users(str(users_file)), Rights((), {}), Tokens(bytes(32), "here"), "https://hub.example/"
    )
    async with site(gate) as door:
        assert 'realm="https://hub.example/token"' in (await door.ask("base"))[1]


@in_loop
async def test_passwords_work_with_every_request(gate: TokenGate) -> None:
    """Basic credentials do what their user may, no more; who may not and is known is refused for good."""
    async with site(gate) as door:
        assert (await door.ask("base", headers=ANNA))[0] == 200
        assert (await door.ask("pull,push", "team/app", headers=ANNA))[0] == 200
        assert (await door.ask("pull", "team/app", headers=BEN))[0] == 200
        status, reason = await door.ask("push", "team/app", headers=BEN)
        assert (status, "ben" in reason) == (403, True)
        assert (await door.ask("catalog", headers=ANNA))[0] == 200
        assert (await door.ask("catalog", headers=BEN))[0] == 403


@in_loop
async def test_wrong_credentials_are_challenged(gate: TokenGate) -> None:
    """A wrong password, an unknown user and headers that are none do not even see public things."""
    async with site(gate) as door:
        for wrong in (basic("anna", "wrong"), basic("eve", "secret"), basic("", "")):
            assert (await door.ask("pull", "public/x", headers=wrong))[0] == 401
        for header in (
            "Basic",
            "Basic ???",
            "Basic " + base64.b64encode(b"anna").decode(),
            "Digest x",
            "Bearer x",
        ):
            assert (await door.ask("pull", "public/x", headers={"Authorization": header}))[0] == 401


@in_loop
async def test_the_public_needs_no_token(gate: TokenGate) -> None:
    """What anonymous may do works without a login; what it may not asks for one."""
    async with site(gate) as door:
        assert (await door.ask("pull", "public/x"))[0] == 200
        assert (await door.ask("push", "public/x"))[0] == 401


@in_loop
async def test_a_token_opens_what_it_was_asked_for(gate: TokenGate) -> None:
    """Of what was asked the user's part is granted; the token opens that and nothing else."""
    asked = [
        ("scope", "repository:team/app:pull,push"),
        ("scope", "repository:team/x:pull registry:catalog:*"),
    ]
    async with site(gate) as door:
        status, answer = await door.token(params=[("service", "here"), *asked], headers=BEN)
        assert (status, answer["token"], answer["expires_in"]) == (200, answer["access_token"], 300)
        assert "refresh_token" not in answer
        assert (await door.with_token(answer["token"], "base"))[0] == 200
        assert (await door.with_token(answer["token"], "pull", "team/app"))[0] == 200
        assert (await door.with_token(answer["token"], "push", "team/app"))[0] == 403
        _, anna = await door.token(params=asked[:1], headers=ANNA)
        assert (await door.with_token(anna["token"], "push", "team/app"))[0] == 200
        status, challenge = await door.with_token(anna["token"], "delete", "team/app")
        assert (status, 'error="insufficient_scope"' in challenge) == (401, True)
        assert (await door.with_token(anna["token"], "catalog"))[0] == 401


@in_loop
async def test_anonymous_tokens(gate: TokenGate) -> None:
    """Nobody in particular gets a token for public things, and no way past the base page."""
    async with site(gate) as door:
        scope = "repository:public/x:pull repository:team/app:pull"
        status, answer = await door.token(params={"scope": scope, "offline_token": "true"})
        assert (status, "refresh_token" in answer) == (200, False)
        assert (await door.with_token(answer["token"], "pull", "public/x"))[0] == 200
        assert (await door.with_token(answer["token"], "pull", "team/app"))[0] == 401


@in_loop
async def test_refresh_tokens(gate: TokenGate, users_file: Path) -> None:
    """A client that asks for it can keep a token instead of the password, until that changes."""
    form = FORM | {"scope": "repository:team/app:pull"}
    async with site(gate) as door:
        _, answer = await door.token(params={"offline_token": "true"}, headers=ANNA)
        refresh = form | {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]}
        status, fresh = await door.token("POST", data=refresh)
        assert (status, fresh["scope"]) == (200, "repository:team/app:pull")
        assert (await door.with_token(fresh["access_token"], "pull", "team/app"))[0] == 200
        assert (await door.with_token(answer["refresh_token"], "pull", "team/app"))[0] == 401
        htpasswd.add(str(users_file), "anna", bcrypt.hashpw(b"new", bcrypt.gensalt(4)).decode())
        assert (await door.token("POST", data=refresh))[0] == 401
        assert (await door.with_token(fresh["access_token"], "pull", "team/app"))[0] == 401


@in_loop
async def test_password_forms(gate: TokenGate) -> None:
    """The OAuth2 form takes a password as well, and refuses a wrong one."""
    form = FORM | {"grant_type": "password", "username": "anna", "access_type": "offline", "scope": ""}
    async with site(gate) as door:
        status, answer = await door.token("POST", data=form | {"password": "secret"})
        assert (status, bool(answer["refresh_token"])) == (200, True)
        status, answer = await door.token("POST", data=form | {"password": "wrong"})
        assert (status, answer["errors"][0]["code"]) == (401, "UNAUTHORIZED")
        assert (await door.token("POST", data=FORM | {"grant_type": "magic"}))[0] == 400


@in_loop
async def test_bad_requests_for_tokens(gate: TokenGate) -> None:
    """Wrong passwords, wrong schemes, broken scopes and huge forms are told as what they are."""
    async with site(gate) as door:
        assert (await door.token(headers=basic("anna", "wrong")))[0] == 401
        assert (await door.token(headers={"Authorization": "Bearer x"}))[0] == 401
        assert (await door.token(params={"scope": "nonsense"}))[0] == 400
        assert (await door.token("POST", data={"grant_type": "x" * 100_000}))[0] == 400
        assert (await door.token("POST", data={f"field{n}": "" for n in range(100)}))[0] == 400


@in_loop
async def test_too_many_logins_at_once(gate: TokenGate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has to wait too long is told to come back, at the page of tokens and everywhere else."""
    monkeypatch.setattr("corten.serve.registry.access.users._MOST_WAITING", 0)
    async with site(gate) as door:
        assert (await door.ask("pull", "team/app", headers=ANNA))[0] == 429
        status, answer = await door.token(headers=ANNA)
        assert (status, answer["errors"][0]["code"]) == (429, "TOOMANYREQUESTS")


@in_loop
async def test_a_home_registry_refuses_web_pages() -> None:
    """Without users only localhost and addresses are answered, and no request that a page sent."""
    async with site(HomeGate()) as door:
        port = door.address.rpartition(":")[2]
        for host in (f"localhost:{port}", "127.0.0.1", f"[::1]:{port}", "LOCALHOST"):
            assert (await door.ask("push", "x", headers={"Host": host}))[0] == 200
        for host in (f"evil.example:{port}", "localhost.evil.example", "127.0.0.1.nip.example"):
            assert (await door.ask("pull", "x", headers={"Host": host}))[0] == 403
        assert (await door.ask("pull", "x", headers={"Origin": "http://evil.example"}))[0] == 403


def test_scopes_are_taken_apart() -> None:
    """Names may hold colons and slashes; kinds may have a class."""
    found = scopes(["repository:host:5000/a/b:pull,push", "repository(plugin):x:pull registry:catalog:*"])
    assert [(grant.type, grant.name, grant.actions) for grant in found] == [
        ("repository", "host:5000/a/b", ("pull", "push")),
        ("repository", "x", ("pull",)),
        ("registry", "catalog", ("*",)),
    ]


@in_loop
async def test_a_false_host_is_refused(gate: TokenGate) -> None:
    """A Host header that is none never gets into a challenge."""
    async with (
        site(gate) as door,
        aiohttp.request("GET", f"{door.address}/check/base/", headers={"Host": 'x",realm="evil'}) as answer,
    ):
        assert answer.status in (400, 500)
        assert "evil" not in answer.headers.get("WWW-Authenticate", "")
