"""What the gateway must be told to start."""

from dataclasses import dataclass

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """`host_names` are names besides loopback under which a browser may reach us; `secure` marks the cookie for HTTPS.

    `cookie_name` differs between systems on one machine: cookies do not know ports.
    """

    env: str
    session_ms: int = 12 * HOUR_MS
    idle_ms: int = 4 * HOUR_MS
    host_names: tuple[str, ...] = ()
    cookie_name: str = "chimera_session"
    secure: bool = False
    in_step_ms: int = 5_000
    """Our own work's time: how soon a key that differs from its document is put right."""
