"""scikit-learn's own installed tests, with daskhpc's search classes in place of its own, and with daskhpc's backend."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest
import sklearn
from suite_process import run_suite

SEARCHES = (
    "model_selection.tests.test_search",
    "model_selection.tests.test_successive_halving",
    "model_selection.tests.test_validation",
)
OTHERS = (
    "decomposition.tests.test_kernel_pca",
    "ensemble.tests.test_bagging",
    "ensemble.tests.test_forest",
    "ensemble.tests.test_voting",
    "ensemble.tests.test_weight_boosting",
    "feature_extraction.tests.test_text",
    "impute.tests.test_impute",
    "linear_model.tests.test_coordinate_descent",
    "linear_model.tests.test_logistic",
    "linear_model.tests.test_ridge",
    "linear_model.tests.test_sgd",
    "metrics.tests.test_regression",
    "metrics.tests.test_score_objects",
    "neighbors.tests.test_kde",
    "tests.test_base",
    "tests.test_metaestimators",
    "tests.test_metaestimators_metadata_routing",
    "tests.test_multiclass",
    "tests.test_multioutput",
    "utils.tests.test_parallel",
    "utils.tests.test_pprint",
)

# Tests that cannot hold where fits run in other processes, as they watch this one: each must fail there.
ROUTED = "metadata is noted by the scorer's object in this process"
NOTED = "what was called is noted in a list of this process"
WARNED = "expects in this process a warning that a fit gives in its own"
FIRST = "by chance: several calls fail, and any of them may be the first"

OF_SEARCHES = {
    "test_search_cv_verbose_3": "reads what the fits print from the output of this process",
    "test_multi_metric_search_forwards_metadata": ROUTED,
    "test_search_callbacks_receive_search_instance": "asks the callback of a fit for the search object itself",
    "test_base_estimator_inputs": NOTED,
    **{
        f"test_cv_results[{name}]": "by chance: its scorer draws from a generator, of which each process has one"
        for name in ("HalvingGridSearchCV", "HalvingRandomSearchCV")
    },
}
OF_OTHERS = {
    f"test_metadata_is_routed_correctly_to_scorer[{name}]": ROUTED
    for name in ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")
}
OF_VALIDATION = {
    "test_cross_validate_invalid_scoring_param": WARNED,
    "test_cross_val_predict": WARNED,
    "test_learning_curve_params": FIRST,
    "test_cross_val_predict_decision_function_shape": FIRST,
    "test_cross_val_score_score_func": NOTED,
    "test_passed_unrequested_metadata[cross_val_score-extra_args1]": "scikit-learn's exception cannot be pickled",
    "test_learning_curve_exploit_incremental_learning_routing": ROUTED,
    **{f"test_cross_val_score_failing_scorer[{score}]": WARNED for score in ("nan", "0")},
    **{
        f"test_cross_validate_failing_scorer[{train}-{several}-{score}]": WARNED
        for train in (True, False)
        for several in (True, False)
        for score in ("nan", "0")
    },
    **{
        f"test_validation_functions_routing[{function}]": ROUTED
        for function in (
            "cross_validate-extra_args0",
            "cross_val_score-extra_args1",
            "cross_val_predict-extra_args2",
            "learning_curve-extra_args3",
            "validation_curve-extra_args5",
        )
    },
}


class Suite(NamedTuple):
    """Which tests run how, which of them must fail, and how many must pass at least."""

    modules: tuple[str, ...]
    switches: tuple[str, ...]
    least: int
    excluded: dict[str, str] = {}  # noqa: RUF012


SUITES = {
    "classes-alone": Suite(SEARCHES + OTHERS, ("SWAP",), 300),
    "classes-client": Suite(SEARCHES, ("SWAP", "CLIENT"), 200, OF_SEARCHES),
    "classes-client-others": Suite(OTHERS, ("SWAP", "CLIENT"), 100, OF_OTHERS),
    "backend-alone": Suite(SEARCHES[:1], ("BACKEND",), 100),
    "backend-client": Suite(SEARCHES, ("BACKEND", "CLIENT"), 280, OF_SEARCHES | OF_VALIDATION),
}


@pytest.mark.timeout(2100)
@pytest.mark.parametrize("name", SUITES)
def test_the_tests_of_scikit_learn(name: str, tmp_path: Path) -> None:
    modules, switches, least, excluded = SUITES[name]
    there = Path(sklearn.__file__).parent
    present = [m for m in modules if there.joinpath(*m.split(".")).with_suffix(".py").exists()]
    ended = run_suite(
        tmp_path,
        ["-p", "swapped", "--timeout=300", "--pyargs", *(f"sklearn.{module}" for module in present)],
        {
            **{f"SEARCH_{switch}": "1" for switch in switches},
            "SEARCH_EXCLUDED": json.dumps(excluded),
            "SKLEARN_TESTS_GLOBAL_RANDOM_SEED": "42",
        },
    )
    assert ended.code == 0, ended.said
    passed = re.findall(r"(\d+) passed", ended.out)
    assert int(passed[-1]) >= least, ended.said
