"""The gateway's own calls. Who may make them is decided in `roles`, before they get here."""

from chimera.contracts.http.exchange import TransferAnswer, TransferRequest
from chimera.contracts.http.gateway import (
    ApprovalDecision,
    ApprovalRequest,
    ApprovalsAnswer,
    ApprovalView,
    CancelOrderRequest,
    ClosePositionRequest,
    FlattenAnswer,
    FlattenRequest,
    HaltReleaseAnswer,
    HaltReleaseRequest,
    KillSwitchAnswer,
    KillSwitchRequest,
    OrdersAnswer,
    OrdersQuery,
    PauseAnswer,
    PauseRequest,
    RestraintsAnswer,
    StatusAnswer,
    StopPriceRequest,
    TransferDecision,
)
from chimera.contracts.http.orders import CancelAnswer
from chimera.contracts.http.positions import LeaveAnswer, PutStopAnswer
from chimera.runtime.service import Route
from chimera.services.s12_gateway.handlers.approvals import Approve
from chimera.services.s12_gateway.handlers.kill_switch import TurnKillSwitch
from chimera.services.s12_gateway.handlers.orders import ListOrders
from chimera.services.s12_gateway.handlers.positions import WorkPositions
from chimera.services.s12_gateway.handlers.restrained import TellRestraints
from chimera.services.s12_gateway.handlers.restraints import SetRestraints
from chimera.services.s12_gateway.handlers.status import TellStatus
from chimera.services.s12_gateway.handlers.treasury import MoveMoney


def routes(
    kill_switch: TurnKillSwitch,
    restraints: SetRestraints,
    restrained: TellRestraints,
    status: TellStatus,
    treasury: MoveMoney,
    approve: Approve,
    positions: WorkPositions,
    orders: ListOrders,
) -> tuple[Route, ...]:
    return (
        Route(
            method="GET",
            path="/status",
            handle=status.show,
            summary="The whole system in one look: health, equity, positions with their stops, the last decision.",
            answer=StatusAnswer,
            errors=(503,),
        ),
        Route(
            method="GET",
            path="/restraints",
            handle=restrained.show,
            summary="Everything that keeps the system from entering now, why, and what a person can do about it.",
            answer=RestraintsAnswer,
        ),
        Route(
            method="GET",
            path="/kill-switch",
            handle=kill_switch.show,
            summary="Is the kill switch pulled, by whom and why?",
            answer=KillSwitchAnswer,
            errors=(503,),
        ),
        Route(
            method="POST",
            path="/kill-switch",
            handle=kill_switch.turn,
            summary="Stop all new entries (ON), or allow them again (OFF).",
            body=KillSwitchRequest,
            answer=KillSwitchAnswer,
            errors=(503,),
        ),
        Route(
            method="GET",
            path="/pause",
            handle=restraints.paused,
            summary="What is paused?",
            answer=PauseAnswer,
            errors=(503,),
        ),
        Route(
            method="POST",
            path="/pause",
            handle=restraints.pause,
            summary="Pause entries: everything, a market, or an instrument.",
            body=PauseRequest,
            answer=PauseAnswer,
            errors=(409, 503),
        ),
        Route(
            method="POST",
            path="/resume",
            handle=restraints.resume,
            summary="End a pause.",
            body=PauseRequest,
            answer=PauseAnswer,
            errors=(404, 409, 503),
        ),
        Route(
            method="POST",
            path="/halts/{name}/release",
            handle=restraints.release_halt,
            summary="Release a halt that a limit set, after a person looked.",
            body=HaltReleaseRequest,
            answer=HaltReleaseAnswer,
            errors=(404, 409, 503),
        ),
        Route(
            method="POST",
            path="/treasury/transfer",
            handle=treasury.transfer,
            summary="Move USDT between the two wallets, once however often the same transfer is asked for.",
            body=TransferRequest,
            answer=TransferAnswer,
            errors=(409, 503),
        ),
        Route(
            method="POST",
            path="/treasury/transfers/{id}/approve",
            handle=treasury.decide,
            summary="Allow a transfer that waits for a person, or refuse it.",
            body=TransferDecision,
            answer=TransferAnswer,
            errors=(404, 409, 503),
        ),
        *_positions(positions, orders),
        *_approvals(approve),
    )


def _positions(positions: WorkPositions, orders: ListOrders) -> tuple[Route, ...]:
    return (
        Route(
            method="GET",
            path="/orders",
            handle=orders.show,
            summary="Orders, the newest first, or those alone that still rest.",
            query=OrdersQuery,
            answer=OrdersAnswer,
            errors=(503,),
        ),
        Route(
            method="POST",
            path="/positions/{instr}/close",
            handle=positions.close,
            summary="Close a position at market, all of it; the instrument as FUT:BTCUSDT or FUT-BTCUSDT.",
            body=ClosePositionRequest,
            answer=LeaveAnswer,
            errors=(404, 409, 503),
        ),
        Route(
            method="POST",
            path="/positions/{instr}/stop",
            handle=positions.stop,
            summary="Move a position's stop; looser than the loss budget it needs confirm.",
            body=StopPriceRequest,
            answer=PutStopAnswer,
            errors=(404, 409, 422, 503),
        ),
        Route(
            method="POST",
            path="/flatten",
            handle=positions.flatten,
            summary="Pull the kill switch, take back every entry, close every position at market.",
            body=FlattenRequest,
            answer=FlattenAnswer,
            errors=(422, 503),
        ),
        Route(
            method="POST",
            path="/orders/{id}/cancel",
            handle=positions.cancel,
            summary="Cancel a resting order, or every order of an intent.",
            body=CancelOrderRequest,
            answer=CancelAnswer,
            errors=(404, 409, 503),
        ),
    )


def _approvals(approve: Approve) -> tuple[Route, ...]:
    return (
        Route(
            method="GET",
            path="/approvals",
            handle=approve.show,
            summary="Tokens for large entries, the newest first, and when an entry needs one.",
            answer=ApprovalsAnswer,
            errors=(503,),
        ),
        Route(
            method="POST",
            path="/approvals",
            handle=approve.ask,
            summary="Ask for a one-time token for one large entry.",
            body=ApprovalRequest,
            answer=ApprovalView,
            errors=(409, 503),
        ),
        Route(
            method="POST",
            path="/approvals/{id}/approve",
            handle=approve.approve,
            summary="Allow what somebody else asked for; its token can be used once, and for a while.",
            body=ApprovalDecision,
            answer=ApprovalView,
            errors=(403, 404, 409, 503),
        ),
        Route(
            method="POST",
            path="/approvals/{id}/revoke",
            handle=approve.revoke,
            summary="Take an approval back before it is used.",
            body=ApprovalDecision,
            answer=ApprovalView,
            errors=(404, 409, 503),
        ),
    )
