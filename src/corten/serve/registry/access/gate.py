"""The gate of a registry with users: it asks who is there, and lets pass what rights allow.

A client without credentials gets a challenge that names the page of tokens
(``/token``). It asks there, with its password, for a token for what it is
about to do, and comes back with it. Clients that send their password with
every request are served as well. A token never allows more than its user may
do at the moment it is used: rights that were taken away, users that were
removed and passwords that were changed count at once.
Source: distribution.github.io/distribution/spec/auth/token, /oauth and /scope.
"""

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import msgspec
from aiohttp import web

from corten.errors import CortenError, Forbidden, InvalidInput, LimitExceeded
from corten.serve.registry.access.challenge import Login, basic, bearer, challenge, realm, scope_of, scopes
from corten.serve.registry.access.rights import Rights
from corten.serve.registry.access.tokens import ACCESS_LIFE, Claims, Grant, Tokens
from corten.serve.registry.access.users import Users
from corten.serve.registry.hooks import Action, Denied
from corten.serve.registry.refusal import Code, Refusal

_FORM_LIMIT = 64 << 10  # bytes of a form that asks for a token
_WRONG = "wrong user name or password: log in again"


class Caller(NamedTuple):
    """Who asks (empty: nobody in particular), and what their token is limited to (None: not at all)."""

    user: str
    grants: tuple[Grant, ...] | None = None


class TokenGate:
    """Lets in the users of *users*, within *rights*; gives out *tokens* at ``/token``.

    *url* is how clients reach the registry, where that is not the address they
    send (behind a proxy that does the TLS, for example).
    """

    def __init__(self, users: Users, rights: Rights, tokens: Tokens, url: str = "") -> None:
        self._users = users
        self._rights = rights
        self._tokens = tokens
        self._url = url

    async def check(self, request: web.BaseRequest, repository: str, actions: frozenset[Action]) -> None:
        """Let the request pass, or refuse it with Denied; with Refusal (429) if too many want to log in."""
        scope = scope_of(repository, actions)
        try:
            caller = await self._identify(request)
        except (Forbidden, InvalidInput) as failure:
            raise Denied(str(failure), self._challenge(request, scope, "invalid_token")) from None
        except LimitExceeded as failure:
            raise Refusal(Code.TOOMANYREQUESTS, str(failure), headers={"Retry-After": "1"}) from None
        if not actions:
            if not caller.user:
                raise Denied("log in first", self._challenge(request, scope))
            return
        if not actions <= self._may(caller.user, repository):
            raise self._refusal(request, caller, scope)
        if caller.grants is not None and not actions <= _granted(caller.grants, repository):
            raise Denied(
                "the token is for something else", self._challenge(request, scope, "insufficient_scope")
            )

    async def token(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request to the page of tokens: GET with a password, or POST of an OAuth2 form."""
        try:
            if request.method == "POST":
                return await self._token_for_form(request)
            if request.method != "GET":
                return web.Response(status=405, headers={"Allow": "GET, POST"})
            return await self._token_for_query(request)
        except LimitExceeded as failure:
            return _failed(429, "TOOMANYREQUESTS", failure)
        except InvalidInput as failure:
            return _failed(400, "UNSUPPORTED", failure)
        except Forbidden as failure:
            return _failed(401, "UNAUTHORIZED", failure)

    async def _identify(self, request: web.BaseRequest) -> Caller:
        """Return who sent *request*; Forbidden if what they show is not right."""
        header = request.headers.get("Authorization", "")
        if not header:
            return Caller("")
        token = bearer(header)
        if token is not None:
            claims = self._tokens.read(token, "access")
            self._check_current(claims)
            return Caller(claims.sub, claims.access)
        login = basic(header)
        if login is None:
            raise Forbidden("only Basic and Bearer are understood in the Authorization header")
        await self._check_login(login)
        return Caller(login.name)

    async def _check_login(self, login: Login) -> None:
        if not await self._users.check(login.name, login.password):
            raise Forbidden(_WRONG)

    def _check_current(self, claims: Claims) -> None:
        """Refuse a token whose user is gone or has another password now."""
        if claims.sub and claims.pwd != self._users.fingerprint(claims.sub):
            raise Forbidden("the user or the password has changed: log in again")

    def _may(self, user: str, repository: str) -> frozenset[Action]:
        """Return all that *user* may do."""
        allowed: frozenset[Action] = self._rights.allowed(user, repository) if repository else frozenset()
        return allowed | {"catalog"} if self._rights.catalog(user) else allowed

    def _refusal(self, request: web.BaseRequest, caller: Caller, scope: str) -> Denied:
        """Return the refusal of what *caller* may not do: whoever has not logged in may do that first."""
        if caller.user:
            return Denied(f"user {caller.user} may not do that: {scope}")
        return Denied("log in first", self._challenge(request, scope))

    def _challenge(self, request: web.BaseRequest, scope: str, error: str = "") -> str:
        return challenge(realm(request, self._url), self._tokens.service, scope, error)

    async def _token_for_query(self, request: web.BaseRequest) -> web.Response:
        """Give a token to whoever shows a password, or to anybody for what anybody may do."""
        header = request.headers.get("Authorization", "")
        login = basic(header) if header else None
        if header and login is None:
            raise Forbidden("a token is given for a password only: log in again")
        if login is not None:
            await self._check_login(login)
        query = request.query
        user = login.name if login else ""
        grants = self._grants(user, scopes(query.getall("scope", [])))
        answer = self._answer(user, grants)
        if user and query.get("offline_token", "").lower() in ("true", "1"):
            answer["refresh_token"] = self._tokens.refresh(user, self._users.fingerprint(user))
        return _json(answer)

    async def _token_for_form(self, request: web.BaseRequest) -> web.Response:
        form = await _form(request)
        user, refresh = await self._owner(form)
        grants = self._grants(user, scopes([form.get("scope", "")]))
        answer = self._answer(user, grants)
        answer["scope"] = " ".join(f"{g.type}:{g.name}:{','.join(g.actions)}" for g in grants)
        if refresh:
            answer["refresh_token"] = refresh
        return _json(answer)

    async def _owner(self, form: dict[str, str]) -> tuple[str, str]:
        """Return whose form that is, and the refresh token to answer with."""
        kind = form.get("grant_type", "")
        if kind == "refresh_token":
            claims = self._tokens.read(form.get("refresh_token", ""), "refresh")
            self._check_current(claims)
            return claims.sub, form["refresh_token"]
        if kind != "password":
            raise InvalidInput(f"invalid grant_type {kind[:40]!r}: password and refresh_token are known")
        login = Login(form.get("username", ""), form.get("password", ""))
        await self._check_login(login)
        offline = form.get("access_type", "") == "offline"
        return login.name, self._tokens.refresh(
            login.name, self._users.fingerprint(login.name)
        ) if offline else ""

    def _grants(self, user: str, asked: list[Grant]) -> tuple[Grant, ...]:
        """Return what of *asked* the user may do; what is not allowed is left out without a word."""
        found = (Grant(grant.type, grant.name, self._allowed(user, grant)) for grant in asked)
        return tuple(grant for grant in found if grant.actions)

    def _allowed(self, user: str, grant: Grant) -> tuple[str, ...]:
        if grant.type == "repository":
            may = self._rights.allowed(user, grant.name)
            return tuple(sorted(may if "*" in grant.actions else may & frozenset(grant.actions)))
        if (grant.type, grant.name) == ("registry", "catalog") and self._rights.catalog(user):
            return ("*",)
        return ()

    def _answer(self, user: str, grants: tuple[Grant, ...]) -> dict[str, Any]:
        token = self._tokens.access(user, self._users.fingerprint(user) if user else "", grants)
        return {
            "token": token,
            "access_token": token,
            "expires_in": ACCESS_LIFE,
            "issued_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


class HomeGate:
    """Lets everybody do everything who speaks with this machine under a name that only it can have.

    For a registry without users on loopback. A web page can have its reader's
    browser send requests to loopback under the page's own name (DNS rebinding);
    such names are refused, and so are requests that say that a page sent them.
    *names* are further ones that are fine.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = {"localhost", *(name.lower() for name in names)}

    async def check(
        self,
        request: web.BaseRequest,
        repository: str,  # noqa: ARG002  # the same everywhere
        actions: frozenset[Action],  # noqa: ARG002  # the same for everything
    ) -> None:
        """Let the request pass unless a web page may be behind it."""
        host = request.headers.get("Host", "")
        if not self._is_home(host):
            raise Denied(
                f"this registry has no users and answers to localhost only, not to {host[:100]!r}: add --htpasswd, or --url"
            )
        if "Origin" in request.headers:
            raise Denied("requests of web pages are refused: this registry has no users")

    def _is_home(self, host: str) -> bool:
        """Tell whether *host* is a name of ours or an address, with or without a port."""
        name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
        try:
            return name.lower() in self._names or bool(ipaddress.ip_address(name))
        except ValueError:
            return False


def _granted(grants: tuple[Grant, ...], repository: str) -> frozenset[str]:
    """Return what *grants* allow in *repository*."""
    if not repository:
        listing = any((grant.type, grant.name) == ("registry", "catalog") for grant in grants)
        return frozenset({"catalog"} if listing else ())
    return frozenset(
        action
        for grant in grants
        if (grant.type, grant.name) == ("repository", repository)
        for action in grant.actions
    )


async def _form(request: web.BaseRequest) -> dict[str, str]:
    """Return the fields of a posted form, the first of each name."""
    raw = bytearray()
    async for piece in request.content.iter_chunked(16 << 10):
        raw += piece
        if len(raw) > _FORM_LIMIT:
            raise InvalidInput(f"the form is longer than {_FORM_LIMIT} bytes")
    try:
        fields = parse_qs(raw.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=64)
    except ValueError:
        raise InvalidInput("the form has more than 64 fields") from None
    return {name: values[0] for name, values in fields.items()}


def _json(answer: dict[str, Any]) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(answer),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _failed(status: int, code: str, failure: CortenError) -> web.Response:
    body = {"errors": [{"code": code, "message": str(failure)}]}
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")
