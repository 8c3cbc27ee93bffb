"""Fit a saved router's prior for unmeasured experts to its own experts; change nothing else.

    python benchmarks/bundle/prior.py shared/tryage/perception/bundled

`train.py` ends with the same step. Predictions for the known experts do not change by a bit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tryage import Router
from tryage.learning.training.metadata_prior import with_metadata_prior


def with_prior(router: Router) -> Router:
    """Return the router with a prior fitted to the facts of its library about its own experts."""
    return Router(
        with_metadata_prior(router.perception, router.library),
        router.library,
        preferences=router.preferences,
        default=router.default,
        strict=router.strict,
        prompt_flags=router.prompt_flags,
    )


def main() -> None:
    """Read, fit, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("router", type=Path)
    folder = parser.parse_args().router
    with_prior(Router.from_pretrained(folder)).save_pretrained(folder)


if __name__ == "__main__":
    main()
