"""What a search's checkpoint folder belongs to, and the seeds that it keeps."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sklearn.base import is_classifier
from sklearn.model_selection import check_cv

from ..journal.describe import describe
from ..journal.origins import origin
from ..journal.tokens import Tokens
from ..parallel.checkpoints import SYNC_SECONDS, SearchCheckpoint, opened


@contextlib.contextmanager
def kept(search: Any, data: Mapping[str, Any]) -> Iterator[SearchCheckpoint | None]:
    """Within: what is random in a search comes from its journal's seed; gives what keeps its fits.

    Parameters
    ----------
    search : object
        One with a ``checkpoint``; without it, nothing is kept.
    data : Mapping[str, Any]
        The arguments of its ``fit``, by name.

    Raises
    ------
    JournalError
        If the folder is of other work, naming what differs, or cannot be used.
    """
    if search.checkpoint is None or search.checkpoint is False:
        yield None
        return
    splitter = _splitter(search, data)
    keeper = SearchCheckpoint(opened(search.checkpoint, "search", parts(search, splitter, data)))
    before = {name: value for name, value in vars(search).items() if name in ("cv", "random_state")}
    search.cv = seeded(splitter, keeper.journal.seed)
    if before.get("random_state", 0) is None:
        search.random_state = keeper.journal.seed
    try:
        yield keeper
    finally:
        vars(search).update(before)


def finish(search: Any, keeper: SearchCheckpoint) -> None:
    """Note the results of a search whose fits are all made."""
    best = getattr(search, "best_index_", None)
    if best is not None:
        # In a note of its own, for `daskhpc status`, which reads no payload: a large "results" is one.
        # A function as `refit` that chose by several scores has no score that is the best.
        score = f"mean_test_{search.refit if isinstance(search.refit, str) else 'score'}"
        means = search.cv_results_.get(score, search.cv_results_.get("mean_test_score"))
        note = {"params": search.cv_results_["params"][best], "score": None if means is None else float(means[best])}
        keeper.journal.note("best", note)
    keeper.journal.note("results", {"cv_results": search.cv_results_, "best_index": best})
    keeper.journal.sync(SYNC_SECONDS)


def _splitter(search: Any, data: Mapping[str, Any]) -> Any:
    if isinstance(search.cv, Iterable) and not hasattr(search.cv, "split"):
        return list(search.cv)
    return check_cv(search.cv, data.get("y"), classifier=is_classifier(search.estimator))


def seeded(splitter: Any, seed: int) -> Any:
    """A splitter that would shuffle otherwise each time shuffles by the seed."""
    if getattr(splitter, "random_state", 0) is not None:
        return splitter
    twin = copy.copy(splitter)
    twin.random_state = seed
    return twin


def parts(search: Any, splitter: Any, data: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What the folder of a search is bound to: all that its fits depend on, but the candidates."""
    tokens = Tokens()
    whole = {"estimator": search.estimator, **data, "scoring": search.scoring, "cv": splitter}
    found = {
        name: {"token": tokens.token(value).hex(), "text": describe(value)}
        for name, value in whole.items()
        if value is not None
    }
    versions = _versions(search.estimator)
    return {**found, **{name: {"token": version, "text": version} for name, version in versions.items()}}


def _versions(estimator: Any) -> dict[str, str]:
    """The versions of the distributions that an estimator and what is in it come from."""
    inside = estimator.get_params(deep=True).values() if hasattr(estimator, "get_params") else ()
    modules = {type(value).__module__ for value in (estimator, *inside) if hasattr(value, "fit")}
    found = [origin(module).version.rpartition(" ") for module in sorted({*modules, "sklearn"})]
    return {name: version for name, _, version in found if name}
