"""Authority: who we are to one registry, and to nobody else.

Theory. A registry that wants to know who asks answers 401 with a challenge.
Basic wants the password itself. Bearer names a token service (*realm*), which
gets the password and gives a token for the registry. What a challenge says is
the word of whoever sent it, so the question is always: who did?

* A credential belongs to the origin (scheme, host, port) of the registry that
  the user named. Only a challenge from that very origin, with no redirect to
  another one before it, is answered with it. In CVE-2020-15157 a manifest
  named a foreign URL for a layer, that server sent a challenge, and the client
  answered it with the registry's password. Here foreign layer URLs are never
  used, and a challenge from a redirect's target, from the host of an upload,
  or from a mirror is answered by nobody.
* The token service may be another host than the registry: Docker's own
  registry and many others are made so. Naming it gives the registry nothing
  that it could not have by asking for Basic, since the password is the one
  that the user has *there*. But the network in between must not win: if the
  registry is reached by checked HTTPS, its token service must be HTTPS as
  well. Where the administrator calls the registry insecure (loopback is by
  default), the password may travel in clear anyway.
* A realm at a link-local or metadata address is refused before any
  connection, see ``addresses``.
* Redirects of the token service follow the rule of ``hops``: the credential
  stays behind. An identity token, which would travel in a body, is posted
  without following any.
* A token goes to the origin that asked for it, never further.
* A mirror has an authority without a credential: anonymous tokens only.
"""

import base64
from collections.abc import Mapping, Sequence

from yarl import URL

from corten.core.distribution.access import challenge
from corten.core.distribution.access.challenge import Challenge
from corten.core.distribution.access.tokens import CLIENT_ID, Service, Token, Tokens, Wanted, merge
from corten.core.distribution.addresses import Origin, follow, origin_of
from corten.core.distribution.credentials import Credential
from corten.core.distribution.http import answers
from corten.core.distribution.http.hops import travel
from corten.core.distribution.http.transport import Transport
from corten.core.distribution.http.wire import Answer, Call
from corten.errors import Forbidden, Unavailable, Unsupported

_MAX_TOKEN = 1 << 20  # bytes of a token service's answer
_NO_POST = frozenset({404, 405, 501})


class Authority:
    """Answers the challenges of one origin with one credential.

    Args:
        transport: For the token service.
        tokens: Where tokens are kept.
        base: The root of the registry's API.
        credential: None to be anonymous.
        insecure: The registry may be spoken to in clear, and so may its token service.
        label: The registry as people write it.
    """

    def __init__(
        self,
        transport: Transport,
        tokens: Tokens,
        base: URL,
        credential: Credential | None,
        insecure: bool,
        label: str,
    ) -> None:
        self._transport, self._tokens = transport, tokens
        self._base, self._credential, self._label = base, credential, label
        self._open = insecure or base.scheme == "http"
        self._challenge: Challenge | None = None

    @property
    def origin(self) -> Origin:
        """The only place that gets what this authority gives out."""
        return origin_of(self._base)

    async def header(self, scopes: tuple[str, ...]) -> str | None:
        """Return what to send in advance, by the last challenge; None before the first one."""
        if self._challenge is None:
            return None
        return await self._answer(self._challenge, scopes)

    async def learn(self, headers: Sequence[str], scopes: tuple[str, ...], refused: str | None) -> str | None:
        """Return what answers the challenges in *headers*, the 401 of our origin.

        Args:
            headers: The values of WWW-Authenticate.
            scopes: The rights that are needed.
            refused: What was sent and not accepted; its token is not used again.

        Returns:
            A value for Authorization; None if there is nothing (more) to offer.

        Raises:
            Forbidden: the password is wrong, or the realm is one that must not get it.
            Unsupported: the registry knows none of our ways.
        """
        chosen = _choose(challenge.parse(headers), self.origin)
        if refused:
            self._tokens.drop(refused.removeprefix("Bearer "))
        self._challenge = _without_scope(chosen)
        answer = await self._answer(chosen, scopes)
        if answer is None or answer != refused:
            return answer
        if chosen.scheme == "basic":
            raise self.wrong_password()
        return None

    def wrong_password(self) -> Forbidden:
        """Return the failure for a credential that is not accepted."""
        return answers.wrong_password(self._label)

    async def login(self, headers: Sequence[str]) -> tuple[str | None, str]:
        """Return what answers a challenge, and an identity token if the token service gave one."""
        chosen = _choose(challenge.parse(headers), self.origin)
        if chosen.scheme == "basic":
            return self._basic(), ""
        token = await self._fetch(self._wanted(chosen, ()), offline=True)
        if token is None:
            return None, ""
        return f"Bearer {token.value}", token.refresh_token or ""

    async def _answer(self, chosen: Challenge, scopes: tuple[str, ...]) -> str | None:
        """Return the value of Authorization for a challenge."""
        if chosen.scheme == "basic":
            return self._basic()
        wanted = self._wanted(chosen, scopes)
        async with self._tokens.lock(wanted):
            value = self._tokens.find(wanted)
            if value is None:
                token = await self._fetch(wanted, offline=False)
                value = None if token is None else self._tokens.keep(wanted, token)
        return None if value is None else f"Bearer {value}"

    def _basic(self) -> str | None:
        """Return name and password as RFC 7617 has them."""
        if self._credential is None:
            return None
        pair = f"{self._credential.username}:{self._credential.password}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"

    def _wanted(self, chosen: Challenge, scopes: tuple[str, ...]) -> Wanted:
        """Return the token that a Bearer challenge asks for; checks its realm."""
        realm = self._realm(chosen.parameters.get("realm", ""))
        asked = tuple(chosen.parameters.get("scope", "").split())
        service = Service(self.origin, realm, chosen.parameters.get("service", ""))
        return Wanted(service, merge(scopes, asked), self._credential)

    def _realm(self, text: str) -> URL:
        """Return the token service if it may be asked.

        Raises:
            Forbidden: it is in clear while the registry is not, or at an address that is never contacted.
        """
        if "://" not in text:
            raise Unavailable(f"{self.origin} names no token service in its challenge")
        realm = follow(URL(f"http://{self._base.raw_authority}/"), text)
        if realm.scheme == "http" and not self._open:
            raise Forbidden(f"{self.origin} wants your password sent in clear to {origin_of(realm)}: refused")
        return realm

    async def _fetch(self, wanted: Wanted, offline: bool) -> Token | None:
        """Ask the token service; None if it refuses somebody anonymous.

        Raises:
            Forbidden: it refuses the credential.
            Unavailable: it fails.
        """
        answer = await self._post(wanted) if wanted.credential and wanted.credential.identity_token else None
        if answer is None or answer.status in _NO_POST:
            answer = await self._get(wanted, offline)
        place = str(origin_of(wanted.service.realm))
        if answer.ok:
            return Token.parse(answer.body, place)
        if answer.status in (400, 401, 403) and wanted.credential is None:
            return None
        if wanted.credential and answer.status in (400, 401, 403):
            raise self.wrong_password()
        asked = answers.Asked(place, place, "login")
        raise answers.failure(answer.status, answer.headers, answer.body, asked)

    async def _get(self, wanted: Wanted, offline: bool) -> Answer:
        """Ask with Basic, or anonymously."""
        pairs = [("scope", scope) for scope in wanted.scopes]
        if wanted.service.service:
            pairs.insert(0, ("service", wanted.service.service))
        if wanted.credential:
            pairs.append(("account", wanted.credential.username))
        if offline:
            pairs += [("offline_token", "true"), ("client_id", CLIENT_ID)]
        call = Call("GET", wanted.service.realm.extend_query(pairs))
        return await self._send(call, self._basic())

    async def _post(self, wanted: Wanted) -> Answer:
        """Ask with an identity token, which is worth as much as a password."""
        assert wanted.credential is not None
        form = {
            "grant_type": "refresh_token",
            "service": wanted.service.service,
            "client_id": CLIENT_ID,
            "scope": " ".join(wanted.scopes),
            "refresh_token": wanted.credential.identity_token,
        }
        body = URL.build(query=form).raw_query_string.encode()
        headers: Mapping[str, str] = {"Content-Type": "application/x-www-form-urlencoded"}
        response = await self._transport.send("POST", wanted.service.realm, headers, body)
        return await self._transport.read(response, _MAX_TOKEN)

    async def _send(self, call: Call, authorization: str | None) -> Answer:
        """Send *call* to the token service and read the answer."""
        response, _ = await travel(self._transport, call, authorization)
        return await self._transport.read(response, _MAX_TOKEN)


def _choose(offered: Sequence[Challenge], origin: Origin) -> Challenge:
    """Return the challenge to answer: Bearer before Basic.

    Raises:
        Unsupported: there is neither.
    """
    for scheme in ("bearer", "basic"):
        for candidate in offered:
            if candidate.scheme == scheme:
                return candidate
    names = ", ".join(sorted({candidate.scheme for candidate in offered})) or "no way at all"
    raise Unsupported(f"{origin} asks for {names} to log in: only Basic and Bearer are known")


def _without_scope(seen: Challenge) -> Challenge:
    """Return a challenge to answer in advance later: what was asked then may have been another repository."""
    return seen._replace(parameters={name: text for name, text in seen.parameters.items() if name != "scope"})
