"""Which role may do what at the gateway. Pure.

viewer looks, operator works, admin lets money and risk go. Pulling the kill switch is anybody's; releasing is not.
"""

import re
from typing import Any

from chimera.contracts.enums import Role, Switch

_RANK = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}

_ADMIN_ONLY = {
    ("s10", "POST", "/promote"),
    ("s10", "POST", "/rollback"),
    ("s4", "POST", "/breaker/close"),
    ("s12", "POST", "/auth/links"),
}
_ADMIN_PATHS = re.compile(r"/halts/[^/]+/release|/approvals/[^/]+/approve")
"""Of the gateway's own: what lets risk go that a limit, or a person, held."""


def has(role: Role, needed: Role) -> bool:
    return _RANK[role] >= _RANK[needed]


def needed(service: str, method: str, path: str, body: Any) -> Role:
    """The least role for this call; `path` without its query and the service's prefix."""
    if method in ("GET", "HEAD"):
        return Role.VIEWER
    if service == "s12" and path == "/kill-switch":
        pulls = not isinstance(body, dict) or body.get("state", Switch.ON) == Switch.ON
        return Role.VIEWER if pulls else Role.ADMIN
    if service == "s12" and path == "/auth/logout":
        return Role.VIEWER
    if (service, method, path) in _ADMIN_ONLY or (service == "s12" and _ADMIN_PATHS.fullmatch(path)):
        return Role.ADMIN
    return Role.OPERATOR
