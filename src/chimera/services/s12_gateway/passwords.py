"""Passwords: which are good enough, how they are kept, and what listening beyond loopback demands.

Owns the argon2 hash in `users`. Sessions and who may do what live elsewhere.
"""

import asyncio
import re
from dataclasses import dataclass, field

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from chimera.contracts.collections import SESSIONS, USERS
from chimera.contracts.documents import User
from chimera.contracts.enums import Role
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.runtime.guard import is_loopback

LENGTH_MIN = 12
LENGTH_MAX = 1_000
"""Longer is no password but a way to keep us busy."""
DISTINCT_MIN = 5

COMMON_WORDS = re.compile(
    "pas{1,2}(word|wort|phrase)|qwerty(uiop)?(asdf)?|asdfghjkl|zxcvbnm|letmein|welcome|iloveyou|admin|administrator|changeme"
    "|default|trustno|football|baseball|dragon|monkey|sunshine|princess|superman|batman|master|bitcoin|binance|ethereum"
    "|chimera|trad(ing|er)|secret|abc(def|defghijkl)?|correcthorsebatterystaple"
)
"""What remains of the usual passwords when digits and signs are taken off and repeats are folded."""


class WeakPassword(ValueError):
    """Names what is wrong and what would do."""


class PasswordRequired(Exception):
    """Listening where others can reach it, with no password set."""


def refuse_weak(name: str, password: str) -> None:
    """
    Raises:
        WeakPassword: too short, too plain, or one of those that are tried first.
    """
    remedy = f"use at least {LENGTH_MIN} characters, for example four words that do not belong together"
    if not LENGTH_MIN <= len(password) <= LENGTH_MAX:
        raise WeakPassword(
            f"a password has {LENGTH_MIN} to {LENGTH_MAX} characters, this one {len(password)}; {remedy}"
        )
    if len(set(password.lower())) < DISTINCT_MIN or password.isdigit():
        raise WeakPassword(f"the password is too plain; {remedy}")
    letters = re.sub(r"[^a-z]+", "", password.lower().translate(str.maketrans("013457@$!", "oieastasi")))
    plain = re.sub(r"[^a-z]+", "", password.lower())
    for word in (letters, plain):
        folded = re.sub(r"^(.+?)\1+$", r"\1", word)
        if COMMON_WORDS.fullmatch(folded) or folded == name.lower():
            raise WeakPassword(f"the password is one of those that are tried first; {remedy}")


@dataclass(slots=True)
class Passwords:
    """Hashes on a thread, one at a time: argon2 takes tens of milliseconds and 64 MiB on purpose, and the loop that
    places stops must not wait for a login. There is no login in virtual time, so no thread either."""

    documents: Documents
    clock: Clock
    _hasher: PasswordHasher = field(default_factory=PasswordHasher)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def set(self, name: str, password: str, role: Role = Role.ADMIN) -> None:
        """Create the user or change the password; whoever was logged in by the old one is out.

        Raises:
            WeakPassword
        """
        refuse_weak(name, password)
        known = await self.documents.get(USERS, name)
        now_ms = self.clock.now_ms()
        hashed = await self._on_thread_hash(password)
        await self.documents.put(
            USERS,
            User(
                name=name,
                role=role,
                password_hash=hashed,
                created_at=known.created_at if known else now_ms,
                updated_at=now_ms,
                language=known.language if known else "en",
            ),
        )
        for session in await self.documents.find(Query(collection=SESSIONS, index="by_user", equal=(("user", name),))):
            await self.documents.remove(SESSIONS, session.session_hash)

    async def check(self, name: str, password: str) -> User | None:
        """The user when the password is theirs. An unknown name takes as long as a wrong password."""
        user = await self.documents.get(USERS, name)
        # A hash to compare with when there is no such user, so that time does not tell which names exist.
        hashed = user.password_hash if user else await self._on_thread_hash("nobody's password")
        async with self._one_at_a_time:
            good = await asyncio.get_running_loop().run_in_executor(None, self._verify, hashed, password[:LENGTH_MAX])
        return user if good else None

    async def _on_thread_hash(self, password: str) -> str:
        async with self._one_at_a_time:
            return await asyncio.get_running_loop().run_in_executor(None, self._hasher.hash, password)

    def _verify(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False


async def require_password_for(host: str, documents: Documents) -> None:
    """Refuse to listen on `host` before somebody must log in there.

    Raises:
        PasswordRequired: `host` can be reached from other machines and no user has a password.
    """
    if is_loopback(host) or await documents.count(USERS) > 0:
        return
    raise PasswordRequired(
        f"--host {host} can be reached from other machines, and no password is set. "
        "Set one first: chimera password --name admin; or leave --host at 127.0.0.1"
    )
