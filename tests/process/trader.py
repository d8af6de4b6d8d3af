"""Somebody who uses the system while something is done to it."""

import random
import time
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import Any

from chimera.contracts.collections import TRADES
from tests.process.system import System

DECIDING_WITHIN_S = 15.0
LIMITED_S = 60.0
"""So much longer where the exchange's limit is used up: the fourth start within a minute waits for the next one."""
LIMITED = "the rest is kept for stops"
"""What the log says then."""


@dataclass(slots=True)
class Trader:
    """Somebody who uses the system: decisions, own orders, exits, cancels, all drawn from one seed."""

    system: System
    chance: random.Random
    name: str = "KILL"
    count: int = 0

    def decide(self) -> Any:
        held = self.open_trades()
        every = (("FUT", "BTCUSDT"), ("FUT", "ETHUSDT"), ("SPOT", "BTCUSDT"))
        market, symbol = self.chance.choice([each for each in every if each not in held] or every)
        side = "BUY" if market == "SPOT" else self.chance.choice(("BUY", "SELL"))
        return self.system.send("POST", "/s3/decide", {"symbol": symbol, "market": market, "sideHint": side})

    def order(self) -> Any:
        """An entry of our own where nothing is open; else an exit makes room."""
        return self.enter() if self.free() else self.exit()

    def free(self) -> list[str]:
        held = self.open_trades()
        return [symbol for symbol in ("BTCUSDT", "ETHUSDT") if ("FUT", symbol) not in held]

    def enter(self) -> Any:
        self.count += 1
        symbol = self.chance.choice(self.free())
        qty, distance = ("0.004", "400") if symbol == "BTCUSDT" else ("0.1", "16")
        return self.system.send(
            "POST",
            "/s4/orders",
            {
                "intent_id": f"{self.name}-{self.system.venue_now_ms()}-{self.count}",
                "market": "FUT",
                "symbol": symbol,
                "side": self.chance.choice(("BUY", "SELL")),
                "intent": "ENTRY",
                "qty": qty,
                "sl": {"type": "STOP_MARKET", "distance": distance},
                "tp": {"type": "TAKE_PROFIT_MARKET", "ratio": 0.1},
                "leverage": 20,
            },
        )

    def exit(self) -> Any:
        """A spot holding is left to its pair, which has it locked."""
        held = {key: trade for key, trade in self.open_trades().items() if key[0] == "FUT"}
        if not held:
            return self.order()
        (market, symbol), trade = self.chance.choice(sorted(held.items()))
        self.count += 1
        return self.system.send(
            "POST",
            "/s4/orders",
            {
                "intent_id": f"{self.name}-{self.system.venue_now_ms()}-{self.count}",
                "parent_id": trade["trade_id"],
                "market": market,
                "symbol": symbol,
                "side": "SELL" if trade["side"] == "LONG" else "BUY",
                "intent": "EXIT",
                "qty": str(Decimal(str(trade["qty"])).quantize(Decimal("0.00001"), ROUND_FLOOR)),
                "reduce_only": True,
            },
        )

    def cancel(self) -> Any:
        """The target of something open: its keeper rests another one, or lives without."""
        for (market, _), trade in sorted(self.open_trades().items()):
            if market == "FUT" and trade.get("trade_id"):
                evidence = self.system.evidence()
                document = next((t for t in evidence.on_file(TRADES) if t.trade_id == trade["trade_id"]), None)
                if document is not None and document.tp_order_id:
                    return self.system.send(
                        "POST", "/s4/cancel", {"order_id": document.tp_order_id, "reason": "MANUAL"}
                    )
        return self.order()

    def open_trades(self) -> dict[tuple[str, str], Any]:
        status, body = self.system.call("GET", "/s6/positions")
        assert status == 200, body
        return {(each["market"], each["symbol"]): each for each in body["positions"] if each["qty"]}


def wait_deciding(system: System) -> None:
    """Some gates are fed a few seconds after a start, and refuse until then."""
    began_s = time.perf_counter()
    said_before = system.log.read_text(errors="replace").count(LIMITED)
    blind: Any = None
    body: Any = {"symbol": "BTCUSDT", "market": "FUT", "sideHint": "BUY", "dry_run": True}
    while True:
        waited_s = time.perf_counter() - began_s
        limited = waited_s > DECIDING_WITHIN_S and system.log.read_text(errors="replace").count(LIMITED) > said_before
        if waited_s > DECIDING_WITHIN_S + (LIMITED_S if limited else 0.0):
            break
        answer = system.call("POST", "/s3/decide", body)[1]
        # Before the first features there is nothing to decide on, and so no trail.
        gates = answer["trail"]["gates"] if "trail" in answer else None
        blind = answer if gates is None else [g["code"] for g in gates if g["value"] is None and not g["passed"]]
        if not blind:
            return
        time.sleep(0.1)
    raise AssertionError(f"gates that see nothing after {waited_s:.0f} s: {blind}")


def widen_limits(system: System) -> None:
    """A day of kills loses more than a day may: the limits that would end the trading are not what is tested."""
    system.promote(
        risk={"daily_loss_usdt_max": 900, "drawdown_pct_max": 0.9},
        strategy={"cooldown_min": 0, "max_entries_per_signal": 50},
    )
