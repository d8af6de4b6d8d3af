"""Random bundles and conditions for the laws of diff and reach."""

from typing import Any

from hypothesis import strategies as st

from chimera.domain.config.bundle import default_bundle

FIRST = default_bundle(0).to_dict()
RANGES = {"spread_bps": (0.0, 1000.0), "xmkt_signal": (-1.0, 1.0), "rv_1d": (0.0, 10.0)}

EDGES = st.sampled_from([-1.0, -0.5, 0, 0.25, 0.5, 1, 1.5, 2.0, 10, 999.0, 1000])
SCALARS = st.one_of(EDGES, st.sampled_from(["calm", "wild", True, False]))


def leaves(factors: tuple[str, ...] = tuple(RANGES)) -> st.SearchStrategy[dict[str, Any]]:
    ordered = st.fixed_dictionaries(
        {"f": st.sampled_from(factors), "op": st.sampled_from(["<", "<=", ">", ">="]), "v": EDGES}
    )
    equal = st.fixed_dictionaries({"f": st.sampled_from(factors), "op": st.sampled_from(["==", "!="]), "v": SCALARS})
    member = st.fixed_dictionaries(
        {
            "f": st.sampled_from(factors),
            "op": st.sampled_from(["in", "notIn"]),
            "v": st.lists(SCALARS, min_size=1, max_size=3),
        }
    )
    return st.one_of(ordered, equal, member)


def conditions(factors: tuple[str, ...] = tuple(RANGES)) -> st.SearchStrategy[dict[str, Any]]:
    return st.recursive(
        leaves(factors),
        lambda inner: st.one_of(
            st.fixed_dictionaries({"allOf": st.lists(inner, min_size=1, max_size=3)}),
            st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)}),
            st.fixed_dictionaries({"not": inner}),
        ),
        max_leaves=6,
    )


ACTIONS = st.one_of(
    st.fixed_dictionaries({"type": st.just("size_mult"), "value": st.sampled_from([0.5, 0.8, 1, 1.2])}),
    st.fixed_dictionaries({"type": st.just("sl_mult"), "value": st.sampled_from([0.8, 1.0, 2.5])}),
    st.fixed_dictionaries({"type": st.just("skip_entry"), "value": st.booleans()}),
    st.fixed_dictionaries({"type": st.just("max_adds_override"), "value": st.sampled_from([0, 1, 2])}),
)


def rules(rule_id: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "rule_id": st.just(rule_id),
            "priority": st.integers(0, 3),
            "applies": st.fixed_dictionaries(
                {"symbols": st.sampled_from([[], ["BTCUSDT"]]), "services": st.just(["s3-strategy"])}
            ),
            "when": conditions(),
            "action": ACTIONS,
            "status": st.sampled_from(["ENABLED", "DISABLED"]),
        },
        optional={"explain": st.sampled_from(["why", "because"])},
    )


def _flags(changes: dict[str, Any]) -> dict[str, Any]:
    return {**FIRST["flags"], **{name: {**FIRST["flags"][name], **each} for name, each in changes.items()}}


FLAGS = st.fixed_dictionaries(
    {},
    optional={
        "risk": st.fixed_dictionaries({"slip_bp_max": st.sampled_from([7, 8.0, 9]), "windows": st.just([])}),
        "strategy": st.fixed_dictionaries(
            {"markets": st.dictionaries(st.sampled_from(["BTCUSDT", "A.B"]), st.sampled_from([["FUT"], ["SPOT"]]))}
        ),
        "position": st.fixed_dictionaries(
            {
                "tiers": st.lists(
                    st.fixed_dictionaries({"roe_min": st.sampled_from([0.05, 0.1]), "lock_roe": st.just(0)}),
                    min_size=1,
                    max_size=3,
                )
            }
        ),
    },
).map(_flags)


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(["R-1", "R-2", "R-3", "R-1"]), max_size=3))
    return {
        "flags": draw(FLAGS),
        "rules": [draw(rules(name)) for name in names],
        "factors": draw(st.permutations(FIRST["factors"]))[: draw(st.integers(0, 3))],
        "instruments": [
            {"market": market, "symbol": "BTCUSDT", "tickSize": draw(st.sampled_from([0.1, 1])), "status": "ENABLED"}
            for market in draw(st.sampled_from([[], ["FUT"], ["FUT", "SPOT"], ["SPOT", "FUT"]]))
        ],
    }
