"""Models fitted on pandas see the types of the fit in every block of a Dask frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier

import daskhpc
from daskhpc import ParallelPostFit, frames
from daskhpc.errors import SettingsError

ROWS = 40


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Text, numbers, and true and false, with gaps in all of them."""
    numbers = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "species": numbers.choice(["oak", "fir", "elm"], ROWS),
            "count": numbers.integers(0, 9, ROWS),
            "old": numbers.choice([True, False], ROWS),
            "size": numbers.random(ROWS),
        }
    )
    gaps = table.mask(numbers.random(table.shape) < 0.2)
    gaps["label"] = np.where(table["size"] > 0.5, "tall", "low")
    gaps.to_csv(tmp_path / "plots.csv", index=False)
    return tmp_path / "plots.csv"


def steps() -> Any:
    """As in a first script: gaps are filled, words become columns."""
    words = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    columns = make_column_transformer((words, ["species", "old"]), (SimpleImputer(), ["count", "size"]))
    return make_pipeline(columns, DecisionTreeClassifier(random_state=0))


FEATURES = ["species", "count", "old", "size"]


@pytest.mark.parametrize("fitted_before", [True, False])
@pytest.mark.parametrize("read", ["daskhpc", "dask", "from_pandas"])
def test_gaps_among_text_are_as_in_pandas(path: Path, read: str, fitted_before: bool) -> None:
    table = pd.read_csv(path)
    model = steps().fit(table[FEATURES], table["label"])
    wrapped = ParallelPostFit(model if fitted_before else steps())
    if not fitted_before:
        wrapped.fit(table[FEATURES], table["label"])
    lazy = {
        "daskhpc": lambda: frames.read_csv(path, blocksize=400),
        "dask": lambda: dd.read_csv(path, blocksize=400, dtype={"old": "boolean"}),
        "from_pandas": lambda: dd.from_pandas(table.astype({"old": "boolean"}), npartitions=3),
    }[read]()
    assert lazy.npartitions > 1
    predicted = wrapped.predict(lazy[FEATURES]).compute()
    np.testing.assert_array_equal(predicted, model.predict(table[FEATURES]))
    score = wrapped.score(lazy[FEATURES], lazy["label"])
    assert score == pytest.approx(model.score(table[FEATURES], table["label"]))


def test_objects_that_dask_made_text_of_are_refused(path: Path) -> None:
    table = pd.read_csv(path)
    assert str(table["old"].dtype) == "object"
    order = np.argsort(table["old"].notna())  # a gap comes first
    model = ParallelPostFit(steps()).fit(table[FEATURES].iloc[order], table["label"].iloc[order])
    with pytest.raises(SettingsError, match="'old' is text here and was none when the model was fitted"):
        model.predict(dd.from_pandas(table[FEATURES], npartitions=3))


@pytest.mark.parametrize("cut", [lambda lazy: lazy, lambda lazy: lazy[lazy["count"] > 2]], ids=["whole", "filtered"])
def test_objects_that_dask_made_text_of_are_refused_for_a_model_fitted_before(path: Path, cut: Any) -> None:
    table = pd.read_csv(path)
    model = ParallelPostFit(steps().fit(table[FEATURES], table["label"]))
    lazy = cut(dd.from_pandas(table[FEATURES], npartitions=3))
    with pytest.raises(SettingsError, match="'old' is text here and was none before Dask made text of it"):
        model.predict(lazy)
    model.predict(lazy.astype({"old": "string[pyarrow]"}))  # the user's own text


@pytest.mark.parametrize("gaps", [True, False])
def test_true_and_false_with_gaps_for_a_model_fitted_before(path: Path, gaps: bool) -> None:
    table = pd.read_csv(path)
    columns = ["old", "size"]
    # This encoder refuses what it has not seen, as the regression refuses what is no number.
    words = make_column_transformer((OneHotEncoder(), ["old"]), remainder=SimpleImputer())
    encoded = make_pipeline(words, DecisionTreeClassifier(random_state=0)).fit(table[columns], table["label"])
    whole = table.dropna()
    plain = DecisionTreeClassifier(random_state=0).fit(whole[columns].astype(float), whole["label"])
    data = table if gaps else whole
    for model in (encoded, plain):
        for lazy in (
            dd.from_pandas(data[columns].astype({"old": "boolean"}), npartitions=3),
            dd.from_pandas(data[columns].convert_dtypes(), npartitions=3),
        ):
            predicted = ParallelPostFit(model).predict(lazy).compute()
            np.testing.assert_array_equal(predicted, model.predict(data[columns]))


def test_what_an_imputer_gives_back(path: Path) -> None:
    table = pd.read_csv(path)[["species"]]
    imputer = SimpleImputer(strategy="most_frequent").set_output(transform="pandas").fit(table)
    found = ParallelPostFit(imputer).transform(frames.read_csv(path, blocksize=400)[["species"]])
    expected = imputer.transform(table)
    pd.testing.assert_frame_equal(found.compute().reset_index(drop=True), expected)
    assert found.dtypes.to_dict() == expected.dtypes.to_dict()


def test_fits_on_dask_frames_with_gaps(path: Path) -> None:
    table, lazy = pd.read_csv(path), frames.read_csv(path, blocksize=400)
    words = ["species"]
    model = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(), LogisticRegression())
    wrapped = ParallelPostFit(model).fit(lazy[words], lazy["label"])
    expected = model.fit(table[words], table["label"]).predict(table[words])
    np.testing.assert_array_equal(wrapped.predict(lazy[words]).compute(), expected)
    search = daskhpc.GridSearchCV(model, {"logisticregression__C": [1.0]}, cv=2).fit(lazy[words], lazy["label"])
    np.testing.assert_array_equal(search.predict(table[words]), expected)


class CodesOfCategories(ClassifierMixin, BaseEstimator):
    """Takes the codes of categories for what they are, as gradient boosting libraries do."""

    def fit(self, X: Any, y: Any = None) -> Any:
        self.classes_ = np.arange(3)
        return self

    def predict(self, X: Any) -> Any:
        return X["species"].cat.codes.to_numpy()


def test_categories_of_each_partition_are_those_of_the_fit() -> None:
    table = pd.DataFrame({"species": ["a", "b", "c", "b", "c", "a"]}, dtype="category")
    parts = [table.iloc[i : i + 2].astype(str).astype("category") for i in (0, 2, 4)]
    lazy = dd.from_map(lambda part: part, parts, meta=parts[0])
    assert [len(part["species"].cat.categories) for part in parts] == [2, 2, 2]
    found = ParallelPostFit(CodesOfCategories()).fit(table).predict(lazy).compute()
    assert found.tolist() == [0, 1, 2, 1, 2, 0]


def test_types_that_the_model_was_fitted_with_stay(path: Path) -> None:
    lazy = frames.read_csv(path, blocksize=400)
    table = lazy[["species", "old"]].compute().dropna()
    seen: list[Any] = []

    class Seen(BaseEstimator):
        def fit(self, X: Any, y: Any = None) -> Any:
            self.n_features_in_ = 2
            return self

        def predict(self, X: Any) -> Any:
            seen.append(X.dtypes.to_dict())
            return np.zeros(len(X))

    ParallelPostFit(Seen()).fit(table).predict(lazy[["species", "old"]]).compute(scheduler="synchronous")
    ParallelPostFit(Seen().fit(table)).predict(lazy[["species", "old"]]).compute(scheduler="synchronous")
    assert seen
    assert all(dtypes == table.dtypes.to_dict() for dtypes in seen)


def test_a_series_of_text_and_nullable_numbers() -> None:
    texts = pd.Series(["a list", "of words", "of a list"] * 4)
    lazy = dd.from_pandas(texts.astype("string"), npartitions=2)
    model = CountVectorizer().fit(texts)
    np.testing.assert_array_equal(
        ParallelPostFit(model).transform(lazy).compute().toarray(), model.transform(texts).toarray()
    )
    numbers = pd.DataFrame({"n": pd.array([1, None, 3, 1] * 3, "Int64"), "t": ["a", np.nan, "b", "a"] * 3})
    encoder = OrdinalEncoder().fit(numbers.astype({"n": float, "t": object}))
    wrapped = ParallelPostFit(OrdinalEncoder()).fit(numbers.astype({"n": float, "t": object}))
    found = wrapped.transform(dd.from_pandas(numbers, npartitions=2)).compute()
    np.testing.assert_array_equal(found, encoder.transform(numbers.astype({"n": float, "t": object})))
