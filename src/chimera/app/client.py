"""Asking the running system from another process: the command line's own HTTP client.

Owns how a running system is found (what it left in its data folder) and the words for every way in which it cannot be
asked. Knows no call by name.
"""

import http.client
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chimera.app.data_folder import API_TOKEN_NAME, EXCHANGE_NAME, RUN_NAME

TIMEOUT_S = 15.0
"""Longer than any call of ours takes; a decision that opens waits half a second for its order."""

WARMING_UP = "WARMING_UP"


class NotRunning(Exception):
    """No system on that data folder can be asked now; the text says why and what to do."""


class WarmingUp(NotRunning):
    """It was started and is not ready yet: ask again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is the JSON that came; a body that is none is told as `detail`."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class Running:
    """Where a system says it runs: the file that it leaves at its start."""

    pid: int
    host: str
    port: int

    @property
    def alive(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


def _venue_of(data: Path) -> str:
    """The exchange that the folder belongs to, as the start wants it named; nothing for the usual one."""
    try:
        venue = json.loads((data / EXCHANGE_NAME).read_text(encoding="utf-8"))["venue"]
    except (OSError, ValueError, KeyError):
        return ""
    return "" if venue == "sim" else f" --venue {venue}"


def running_on(data: Path) -> Running:
    """
    Raises:
        NotRunning: no folder, nothing started on it, or what was started has ended.
    """
    start = f"start one with: chimera up --data {data}{_venue_of(data)}"
    if not data.is_dir():
        raise NotRunning(f"there is no data folder {data}; name the right one with --data, or {start}")
    path = data / RUN_NAME
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        running = Running(int(told["pid"]), str(told["host"]), int(told["port"]))
    except FileNotFoundError:
        raise NotRunning(f"no system runs on the data folder {data}; {start}") from None
    except OSError as error:
        raise NotRunning(f"{path} cannot be read: {error.strerror}; ask as the user who started the system") from error
    except (ValueError, KeyError, TypeError) as error:
        raise NotRunning(f"{path} is damaged ({error}); stop the system if it runs, then {start}") from error
    if not running.alive:
        raise NotRunning(f"the system on {data} (process {running.pid}) has ended; {start}")
    return running


@dataclass(frozen=True, slots=True)
class Client:
    """Calls the system that runs on the folder `data` with the token that lies there."""

    data: Path
    timeout_s: float = TIMEOUT_S

    def call(self, method: str, path: str, body: Any = None, *, text: tuple[str, str] | None = None) -> Answer:
        """One call, never repeated: a refusal of the system is an answer as well.

        Args:
            text: instead of `body`: a media type, and the text itself.

        Raises:
            NotRunning: nobody there to ask.
            WarmingUp: somebody there, who cannot answer yet.
        """
        running = running_on(self.data)
        token = self._token()
        headers = {"Accept": "application/json", "Authorization": f"Bearer {token}"}
        payload = None
        if body is not None:
            payload, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        if text is not None:
            headers["Content-Type"], payload = text[0], text[1].encode()
        # Not urllib: it would send a call to this machine through a proxy that the environment names.
        connection = http.client.HTTPConnection(running.host.strip("[]"), running.port, timeout=self.timeout_s)
        try:
            connection.request(method, path, payload, headers)
            response = connection.getresponse()
            answer = Answer(response.status, _body(response.read(), response.getheader("Content-Type") or ""))
        except TimeoutError as error:
            raise NotRunning(
                f"the system at {running.address} (process {running.pid}) did not answer within {self.timeout_s:g} s;"
                " look at what it says in its terminal, and ask again"
            ) from error
        except ConnectionRefusedError as error:
            raise NotRunning(
                f"nothing listens at {running.address}, although process {running.pid} lives; it is starting or"
                f" stopping: ask again, or start it anew with: chimera up --data {self.data}"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise NotRunning(f"the system at {running.address} broke the call off ({error!r}); ask again") from error
        finally:
            connection.close()
        if answer.status == 503 and isinstance(answer.body, dict) and answer.body.get("status") == WARMING_UP:
            raise WarmingUp(_how_far(answer.body))
        return answer

    def _token(self) -> str:
        path = self.data / API_TOKEN_NAME
        try:
            return path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            raise NotRunning(f"{path} is missing; start the system anew, which writes it") from None
        except OSError as error:
            raise NotRunning(
                f"{path} cannot be read: {error.strerror}; ask as the user who started the system"
            ) from error


def _body(raw: bytes, content_type: str) -> Any:
    text = raw.decode("utf-8", "replace")
    if "json" not in content_type:
        return {"detail": text[:300]}
    try:
        return json.loads(text)
    except ValueError:
        return {"detail": f"no JSON: {text[:300]}"}


def _how_far(body: dict[str, Any]) -> str:
    day, days, note = body.get("day", 0), body.get("days", 0), body.get("note", "starting")
    far = f"day {day} of {days}, {note}" if days else note
    return f"the system is warming up ({far}); ask again in a moment"
