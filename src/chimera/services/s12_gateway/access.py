"""Who is asking: sessions of the browser, the one-time link, and the API token.

Owns `sessions`. Only hashes are kept, each kind under a prefix of its own so that none can stand in for another:

    <hash>        a cookie; ends after `idle_ms` without a request and `session_ms` after the login
    link-<hash>   the token of a printed link; used once
    api-<hash>    a bearer token for programs on this machine; lies readable by its owner in the data folder
"""

import hashlib
from dataclasses import dataclass, field

from chimera.contracts.collections import SESSIONS
from chimera.contracts.documents import Session
from chimera.contracts.enums import Role
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, DocumentsUnavailable, DuplicateKey, Query, RevisionConflict
from chimera.ports.randomness import Randomness

TOKEN_BYTES = 32
API_USER = "api"
LINK_USER = "admin"
HOUR_MS = 3_600_000
LINK_LIFE_MS = 24 * HOUR_MS
API_LIFE_MS = 10 * 365 * 24 * HOUR_MS
"""As long as the data folder lives; a new token replaces the old one."""
RENEW_AFTER_MS = 60_000
"""The end of an idle session is moved at most once a minute, not with every request."""
SEEN_MAX = 1_000
LINK = "link-"
API = "api-"


def hash_of(token: str) -> str:
    """A token is 32 random bytes, so one round is enough: there is nothing to guess."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody known. `by_cookie`: a browser sends it by itself, so a change must carry `csrf_token` as well."""

    user: str
    role: Role
    csrf_token: str
    expires_at: int
    by_cookie: bool
    session_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """`session_ms`, `idle_ms` and the lives above are a person's time: a sped-up market does not shorten them."""

    documents: Documents
    clock: Clock
    randomness: Randomness
    session_ms: int
    idle_ms: int
    _seen: dict[str, Identity] = field(default_factory=dict)
    """Who was known a moment ago: they must be able to pull the kill switch while the documents are down."""

    async def open(self, user: str, role: Role) -> tuple[str, Identity]:
        """The cookie's value, which nobody else ever learns, and who it stands for."""
        cookie = self.randomness.token_hex(TOKEN_BYTES)
        now_ms = self.clock.now_ms()
        session = Session(
            session_hash=hash_of(cookie),
            user=user,
            role=role,
            csrf_token=self.randomness.token_hex(TOKEN_BYTES),
            created_at=now_ms,
            expires_at=now_ms + self.clock.work_ms(min(self.idle_ms, self.session_ms)),
        )
        await self.documents.insert(SESSIONS, session)
        return cookie, _identity(session, by_cookie=True)

    async def by_cookie(self, cookie: str) -> Identity | None:
        key = hash_of(cookie)
        try:
            return self._remember(key, await self.renew(key))
        except DocumentsUnavailable:
            return self._recall(key)

    async def renew(self, session_hash: str) -> Identity | None:
        """The session, kept awake; None when it has ended. A page that stays open calls this while somebody looks."""
        stored = await self.documents.get_stored(SESSIONS, session_hash)
        now_ms = self.clock.now_ms()
        if stored is None or stored.doc.expires_at <= now_ms:
            return None
        session = stored.doc
        ends_ms = min(
            now_ms + self.clock.work_ms(self.idle_ms), session.created_at + self.clock.work_ms(self.session_ms)
        )
        if ends_ms - session.expires_at >= self.clock.work_ms(RENEW_AFTER_MS):
            try:
                # Compare and set: a logout meanwhile must stay a logout.
                session = session.but(expires_at=ends_ms)
                await self.documents.replace(SESSIONS, session, rev=stored.rev)
            except RevisionConflict:
                return await self._living(session_hash, by_cookie=True)
        return _identity(session, by_cookie=True)

    async def by_bearer(self, token: str) -> Identity | None:
        key = API + hash_of(token)
        try:
            return self._remember(key, await self._living(key, by_cookie=False))
        except DocumentsUnavailable:
            return self._recall(key)

    async def close(self, session_hash: str) -> None:
        self._seen.pop(session_hash, None)
        await self.documents.remove(SESSIONS, session_hash)

    async def new_link(self) -> str:
        """A token for `/login?token=…`; a link printed before it no longer works."""
        token = self.randomness.token_hex(TOKEN_BYTES)
        await self.set_link(token)
        return token

    async def set_link(self, token: str) -> None:
        """Make `token`, printed before there was anywhere to keep it, the only link."""
        await self._only(LINK, LINK_USER, token, LINK_LIFE_MS)

    async def use_link(self, token: str) -> tuple[str, Identity] | None:
        """A session for whoever shows the token first; None for everybody after."""
        key = LINK + hash_of(token)
        link = await self._living(key, by_cookie=False)
        if link is None or not await self.documents.remove(SESSIONS, key):
            return None
        return await self.open(link.user, link.role)

    async def set_api_token(self, token: str | None = None) -> str:
        """Make `token` (or a new one) the only API token, and return it."""
        token = token or self.randomness.token_hex(TOKEN_BYTES)
        await self._only(API, API_USER, token, API_LIFE_MS)
        return token

    async def _only(self, prefix: str, user: str, token: str, life_ms: int) -> None:
        key = prefix + hash_of(token)
        for old in await self.documents.find(Query(collection=SESSIONS, index="by_user", equal=(("user", user),))):
            if old.session_hash.startswith(prefix) and old.session_hash != key:
                await self.documents.remove(SESSIONS, old.session_hash)
        now_ms = self.clock.now_ms()
        session = Session(
            session_hash=key,
            user=user,
            role=Role.ADMIN,
            csrf_token="",
            created_at=now_ms,
            expires_at=now_ms + self.clock.work_ms(life_ms),
        )
        try:
            await self.documents.insert(SESSIONS, session)
        except DuplicateKey:
            await self.documents.put(SESSIONS, session)

    def _remember(self, key: str, identity: Identity | None) -> Identity | None:
        self._seen.pop(key, None)
        if identity is not None:
            self._seen[key] = identity
            if len(self._seen) > SEEN_MAX:
                del self._seen[next(iter(self._seen))]
        return identity

    def _recall(self, key: str) -> Identity:
        """
        Raises:
            DocumentsUnavailable: not seen before, so nobody can say who this is.
        """
        identity = self._seen.get(key)
        if identity is None or identity.expires_at <= self.clock.now_ms():
            raise DocumentsUnavailable("sessions cannot be read")
        return identity

    async def _living(self, key: str, *, by_cookie: bool) -> Identity | None:
        session = await self.documents.get(SESSIONS, key)
        if session is None or session.expires_at <= self.clock.now_ms():
            return None
        return _identity(session, by_cookie=by_cookie)


def _identity(session: Session, *, by_cookie: bool) -> Identity:
    return Identity(session.user, session.role, session.csrf_token, session.expires_at, by_cookie, session.session_hash)
