"""S10's calls."""

from chimera.contracts.http.config import (
    ActiveAnswer,
    BundleAnswer,
    BundleBody,
    BundleDraft,
    BundlesAnswer,
    PromoteAnswer,
    PromoteRequest,
)
from chimera.runtime.service import Route
from chimera.services.s10_config.handlers.bundles import KeepBundles, parse_draft
from chimera.services.s10_config.handlers.promote import Promote


def routes(bundles: KeepBundles, promote: Promote) -> tuple[Route, ...]:
    return (
        Route(
            method="POST",
            path="/bundles",
            handle=bundles.create,
            summary="Store a draft: flags, rules, factors, instruments. What is not told is the default's.",
            body=BundleDraft,
            parse=parse_draft,
            answer=BundleAnswer,
            errors=(400, 503),
        ),
        Route(
            method="GET",
            path="/bundles",
            handle=bundles.list_all,
            summary="Every bundle, newest first.",
            answer=BundlesAnswer,
            errors=(503,),
        ),
        Route(
            method="GET",
            path="/bundles/{id}",
            handle=bundles.show,
            summary="One bundle, whole.",
            answer=BundleBody,
            errors=(404, 503),
        ),
        Route(
            method="POST",
            path="/bundles/{id}/lint",
            handle=bundles.lint_one,
            summary="Everything that is wrong with a bundle.",
            answer=BundleAnswer,
            errors=(404, 409, 503),
        ),
        Route(
            method="POST",
            path="/bundles/{id}/stage",
            handle=bundles.stage,
            summary="Give a clean bundle its revision.",
            answer=BundleAnswer,
            errors=(404, 409, 422, 503),
        ),
        Route(
            method="POST",
            path="/promote",
            handle=promote.promote,
            summary="Put a staged bundle in force, at once and for everything (mode FULL).",
            body=PromoteRequest,
            answer=PromoteAnswer,
            errors=(404, 409, 422, 503),
        ),
        Route(
            method="GET",
            path="/active",
            handle=promote.active,
            summary="Which bundle is in force.",
            answer=ActiveAnswer,
            errors=(503,),
        ),
    )
