"""S10's calls."""

from chimera.contracts.http.config import (
    ActiveAnswer,
    BundleAnswer,
    BundleBody,
    BundleDiff,
    BundleDraft,
    BundlesAnswer,
    DiffQuery,
    DryRunAnswer,
    DryRunRequest,
    LintAnswer,
    PromoteAnswer,
    PromoteRequest,
    RollbackRequest,
)
from chimera.runtime.service import Route
from chimera.services.s10_config.handlers.bundles import KeepBundles, parse_draft, read_draft
from chimera.services.s10_config.handlers.dry_run import RunDry
from chimera.services.s10_config.handlers.promote import Promote
from chimera.services.s10_config.handlers.rollback import Rollback


def routes(bundles: KeepBundles, promote: Promote, rollback: Rollback, dry_run: RunDry) -> tuple[Route, ...]:
    return (
        Route(
            method="POST",
            path="/bundles",
            handle=bundles.create,
            summary="Store a draft: flags, rules, factors, instruments. What is not told is the default's.",
            body=BundleDraft,
            parse=parse_draft,
            read=read_draft,
            answer=BundleAnswer,
            errors=(400, 503),
        ),
        Route(
            method="POST",
            path="/lint",
            handle=bundles.check,
            summary="What is wrong with a configuration, by the line where it came as text. Nothing is stored.",
            body=BundleDraft,
            parse=parse_draft,
            read=read_draft,
            answer=LintAnswer,
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
            summary="One bundle, whole; `id` is its id, its revision or `active`, as in every call below.",
            answer=BundleBody,
            errors=(404, 503),
        ),
        Route(
            method="GET",
            path="/bundles/{id}/diff",
            handle=bundles.diff,
            summary="What the bundle changes of another, by path and by rule, and in words.",
            query=DiffQuery,
            answer=BundleDiff,
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
            path="/bundles/{id}/dry-run",
            handle=dry_run.run,
            summary="What the bundle would have done with the signals of the last days, beside another.",
            body=DryRunRequest,
            answer=DryRunAnswer,
            errors=(404, 422, 503),
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
            method="POST",
            path="/rollback",
            handle=rollback.roll_back,
            summary="Put back in force what was in force before, or a revision that once was.",
            body=RollbackRequest,
            answer=PromoteAnswer,
            errors=(404, 409, 422, 503),
        ),
        Route(
            method="GET",
            path="/schema",
            handle=bundles.schema,
            summary="JSON Schema of what POST /bundles takes, for editors.",
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
