"""Pictures of searches and sweeps: what is drawn, on which scales, and what is said about it."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="daskhpc[plots] is not installed")

import matplotlib
import pandas as pd
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.figure import Figure
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier

from daskhpc import plots
from daskhpc.errors import DaskhpcError
from daskhpc.plots.data import as_column, number_text, read_search, read_sweep, short_names
from daskhpc.plots.scales import cells, is_log, limits

C, GAMMA = np.logspace(-2, 2, 5), np.logspace(-4, -1, 4)


def results(scores: Any = None, **params: Any) -> dict[str, Any]:
    """A ``cv_results_`` of a grid over `params`, or of lists of equal length if there are as many scores."""
    values = list(params.values())
    rows = list(itertools.product(*values) if scores is None or callable(scores) else zip(*values, strict=True))
    made = {f"param_{name}": [row[place] for row in rows] for place, name in enumerate(params)}
    mean = np.array([scores(*row) for row in rows] if callable(scores) else scores, dtype=float)
    return {**made, "mean_test_score": mean, "std_test_score": np.full(len(rows), 0.01), "params": rows}


def hill(c: float, gamma: float, *_: Any) -> float:
    return 0.9 - 0.01 * (np.log10(c) - 1) ** 2 - 0.01 * (np.log10(gamma) + 3) ** 2


def artist(figure: Figure, label: str) -> Any:
    found = [a for a in figure.axes[0].get_children() if a.get_label() == label]
    assert len(found) == 1, f"{len(found)} artists called {label}"
    return found[0]


def said(figure: Figure) -> str:
    """Title and notes in one line."""
    ax = figure.axes[0]
    return f"{ax.get_title(loc='left')} · {artist(figure, 'notes').get_text()}".replace("\n", " ").replace("\xa0", " ")


def mesh(figure: Figure) -> Any:
    return next(c for c in figure.axes[0].collections if isinstance(c, QuadMesh))


def star(figure: Figure) -> tuple[float, float]:
    (x,), (y,) = artist(figure, "best").get_data()
    return float(x), float(y)


def ticks(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def test_a_log_grid_is_a_heat_map_on_real_axes() -> None:
    figure = plots.search(results(hill, svc__C=C, svc__gamma=GAMMA))
    ax, bar = figure.axes
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert (ax.get_xlabel(), ax.get_ylabel(), bar.get_ylabel()) == ("C", "gamma", "mean test score")
    assert ax.get_xlim() == pytest.approx((10**-2.5, 10**2.5))
    edges = np.asarray(mesh(figure).get_coordinates())
    assert edges[0, :, 0] == pytest.approx(np.logspace(-2.5, 2.5, 6))
    assert np.array(mesh(figure).get_array()) == pytest.approx(np.array([[hill(c, g) for c in C] for g in GAMMA]))


def test_the_best_candidate_is_marked_and_named() -> None:
    figure = plots.search(results(hill, svc__C=C, svc__gamma=GAMMA))
    assert star(figure) == pytest.approx((10, 1e-3))
    assert said(figure) == "★ best 0.9 ± 0.01 at C = 10, gamma = 0.001 · 20 candidates"


def test_failed_and_absent_cells_are_hatched_and_counted() -> None:
    table = results(hill, C=C, gamma=GAMMA)
    table = {name: values[:-1] for name, values in table.items()}
    table["mean_test_score"][[0, 7]] = np.nan
    figure = plots.search(table)
    assert np.ma.count_masked(mesh(figure).get_array()) == 3
    assert figure.axes[0].patch.get_hatch() == "////"
    assert "19 candidates · 2 of 19 failed · hatched: failed or not tried" in said(figure)


def test_other_values_are_places_with_their_own_ticks() -> None:
    figure = plots.heatmap(results(lambda a, b: len(a) + 1 / b, sizes=[(50,), (100, 50)], batch=[1, 2, 4, 32]))
    ax = figure.axes[0]
    assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "linear")
    assert (ax.get_xlabel(), ticks(ax.xaxis)) == ("batch", ["1", "2", "4", "32"])
    assert (ax.get_ylabel(), ticks(ax.yaxis)) == ("sizes", ["(50,)", "(100, 50)"])
    assert star(figure) == (0, 1)


def test_a_cell_shows_the_best_over_the_other_parameters() -> None:
    table = results(lambda c, g, degree: hill(c, g) - 0.1 * degree, C=C, gamma=GAMMA, degree=[0, 1])
    figure = plots.search(table, params=["C", "gamma"])
    assert np.array(mesh(figure).get_array()) == pytest.approx(np.array([[hill(c, g) for c in C] for g in GAMMA]))
    assert "best over degree" in said(figure)
    assert "degree = 0" in said(figure)


def test_random_draws_are_points_and_failed_ones_crosses() -> None:
    rng = np.random.default_rng(0)
    c, gamma = 10 ** rng.uniform(-2, 3, 30), 10 ** rng.uniform(-5, 0, 30)
    score = np.array([hill(*pair) for pair in zip(c, gamma, strict=True)])
    score[3] = np.nan
    figure = plots.search(results(score, C=c, gamma=gamma))
    points = artist(figure, "tried")
    assert isinstance(points, PathCollection)
    assert (figure.axes[0].get_xscale(), figure.axes[0].get_yscale()) == ("log", "log")
    assert len(points.get_offsets()) == 29
    assert artist(figure, "failed").get_xdata() == pytest.approx([c[3]])
    assert star(figure) == pytest.approx((c[np.nanargmax(score)], gamma[np.nanargmax(score)]))
    assert "1 of 30 failed" in said(figure)


def test_a_few_terrible_candidates_do_not_wash_out_the_good_ones() -> None:
    good = np.linspace(0.9, 0.95, 50)
    assert limits(np.append(good, [0.1, np.nan]), directed=True) == (0.9, 0.95, "min")
    assert limits(good, directed=True) == (0.9, 0.95, "neither")
    assert limits(np.append(good, [0.1, 9]), directed=False) == (0.9, 0.95, "both")
    low, high, extend = limits(np.full(3, 0.5), directed=True)
    assert low < 0.5 < high
    assert extend == "neither"


def test_the_colour_bar_says_that_there_are_lower_scores() -> None:
    table = results(hill, C=C, gamma=GAMMA)
    table["mean_test_score"][0] = -50
    figure = plots.heatmap(table)
    assert mesh(figure).norm.vmin > 0
    assert mesh(figure).norm.vmax == pytest.approx(0.9)
    assert mesh(figure).get_cmap().name == "viridis"
    assert figure.axes[1]._colorbar.extend == "min"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("values", "log"),
    [
        ([0.01, 0.1, 1], True),
        ([1, 10, 100], True),
        ([1, 100], True),
        ([1, 2, 4, 8, 16], False),
        (list(range(1, 201)), False),
        ([0, 1, 10, 100], False),
        ([-100, 1, 100], False),
        ([5], False),
        (list(np.random.default_rng(0).uniform(0.001, 100, 50)), False),
        (list(10 ** np.random.default_rng(0).uniform(-3, 0, 50)), True),
    ],
)
def test_axes_are_logarithmic_where_that_belongs(values: list[float], log: bool) -> None:
    assert is_log(np.unique(np.array(values, dtype=float))) is log


@pytest.mark.parametrize(
    ("values", "kind", "edges"),
    [
        ([1.0, 2.0, 3.0], "linear", [0.5, 1.5, 2.5, 3.5]),
        ([1.0, 10.0, 100.0], "log", [10**-0.5, 10**0.5, 10**1.5, 10**2.5]),
        ([1.0, 2.0, 9.0], "category", [-0.5, 0.5, 1.5, 2.5]),
        (["a", "b"], "category", [-0.5, 0.5, 1.5]),
    ],
)
def test_cells_end_between_the_values(values: list[Any], kind: str, edges: list[float]) -> None:
    made = cells(as_column(values))
    assert made.kind == kind
    assert made.edges == pytest.approx(edges)


def test_one_numeric_parameter_is_a_curve_with_its_band() -> None:
    table = results(lambda c, _: hill(c, 1e-3), C=C, kernel=["rbf"])
    table["mean_train_score"] = np.full(5, 0.99)
    figure = plots.search(table)
    ax = figure.axes[0]
    line = artist(figure, "mean test score")
    assert ax.get_xscale() == "log"
    assert line.get_xdata() == pytest.approx(C)
    assert line.get_ydata() == pytest.approx(table["mean_test_score"])
    assert artist(figure, "_train").get_ydata() == pytest.approx(np.full(5, 0.99))
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(table["mean_test_score"].max() + 0.01)
    assert star(figure) == pytest.approx((10, 0.9))
    assert "fixed: kernel = rbf" in said(figure)
    assert "1 standard deviation over splits" in said(figure)


def test_a_categorical_parameter_makes_one_line_per_value() -> None:
    figure = plots.search(results(lambda c, k: hill(c, 1e-3) - len(k) / 100, C=C, kernel=["rbf", "poly", "linear"]))
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["rbf", "poly", "linear"]
    assert legend.get_title().get_text() == "kernel"
    assert artist(figure, "poly").get_ydata() == pytest.approx([hill(c, 1e-3) - 0.04 for c in C])


def test_many_draws_get_a_running_median() -> None:
    rng = np.random.default_rng(0)
    rate = 10 ** rng.uniform(-4, 1, 1000)
    loss = np.log10(rate) + rng.normal(0, 0.1, 1000)
    loss[:7] = np.nan
    figure = plots.sweep(pd.DataFrame({"rate": rate, "momentum": 0.9, "loss": loss, "seconds": 1.0, "host": "n1"}))
    assert figure.axes[0].get_xscale() == "log"
    assert len(artist(figure, "_tried").get_xdata()) == 993
    x, y = artist(figure, "loss").get_data()
    assert np.abs(y - np.log10(x)).max() < 0.1
    assert said(figure).startswith("loss by rate · 1000 calls · 7 of 1000 failed · fixed: momentum = 0.9")


def many(count: int) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    table = results(
        rng.uniform(0.8, 0.9, count),
        a=10 ** rng.uniform(-3, 0, count),
        b=rng.integers(1, 9, count),
        c=rng.uniform(0, 1, count),
        step__kind=[["x", "y", "z"][i % 3] for i in range(count)],
    )
    table["mean_test_score"][:2] = np.nan
    return table


def test_more_parameters_are_parallel_coordinates_with_the_best_on_top() -> None:
    table = many(3000)
    figure = plots.search(table)
    lines = artist(figure, "tried")
    assert isinstance(lines, LineCollection)
    assert len(lines.get_segments()) == 2998
    best = np.nanargmax(table["mean_test_score"])
    kind = "xyz".index(table["param_step__kind"][best]) / 2
    top = lines.get_segments()[-1]
    assert top[2, 1] == pytest.approx(
        (table["param_c"][best] - min(table["param_c"])) / np.ptp(table["param_c"]), abs=0.01
    )
    assert top[3, 1] == kind
    assert top[4, 1] == 1
    assert artist(figure, "best line").get_ydata() == pytest.approx(top[:, 1])
    assert lines.get_colors()[0, 3] < 0.1 < 0.7 < lines.get_colors()[-1, 3]
    assert ticks(figure.axes[0].xaxis) == ["a", "b", "c", "kind", "mean test\nscore"]
    assert "2 of 3000 failed" in said(figure)


def test_parameters_that_only_some_candidates_have() -> None:
    masked = np.ma.MaskedArray([1.0, 0.0, 2.0, 0.0], [False, True, False, True], dtype=object)
    table = results([0.9, 0.8, 0.7, 0.95], C=[1, 1, 2, 3], kernel=["rbf", "linear", "rbf", "linear"])
    table["param_gamma"] = masked
    figure = plots.parallel_coordinates(table)
    assert artist(figure, "best line").get_ydata()[2] == 0
    assert "gamma" not in said(figure)
    assert "2 without gamma left out" in said(plots.heatmap(table))


def test_without_numeric_parameters_the_best_are_dots_in_order() -> None:
    names = [f"estimator {n}" for n in range(30)]
    figure = plots.search(results(lambda name: int(name.split()[1]) / 100, model=names))
    assert artist(figure, "tried").get_xdata() == pytest.approx(np.arange(29, 9, -1) / 100)
    assert ticks(figure.axes[0].yaxis)[0] == "estimator 29"
    assert "30 candidates · the top 20 of 30" in said(figure)


def test_score_chooses_among_several() -> None:
    table = results(hill, C=C, gamma=GAMMA)
    table["mean_test_accuracy"] = -table["mean_test_score"]
    assert "accuracy" in plots.search(table, score="accuracy").axes[1].get_ylabel()
    with pytest.raises(DaskhpcError) as error:
        plots.search(table, score="f1")
    assert (error.value.found, error.value.todo) == ("'f1'", "score= one of score, accuracy")


def test_a_fitted_search_its_results_and_their_table_are_the_same() -> None:
    X = np.arange(40.0).reshape(-1, 1)
    search = GridSearchCV(DecisionTreeClassifier(), {"max_depth": [1, 2, None]}, scoring="accuracy", cv=2)
    with pytest.raises(DaskhpcError, match="not fitted"):
        plots.search(search)
    search.fit(X, X[:, 0] % 4 > 1)
    read = [read_search(made) for made in (search, search.cv_results_, pd.DataFrame(search.cv_results_))]
    for data in read:
        assert list(data.outcome["score"]) == pytest.approx(search.cv_results_["mean_test_score"])
        assert data.best == search.best_index_
        assert list(data.parameters["max_depth"].cat.categories) == ["1", "2", "None"]
    assert (read[0].label, read[1].label) == ("mean test accuracy", "mean test score")


def test_the_star_marks_what_the_search_chose() -> None:
    X = np.arange(40.0).reshape(-1, 1)
    options: dict[str, Any] = {"param_grid": {"max_depth": [1, 2, 3]}, "scoring": "accuracy", "cv": 2}
    search = GridSearchCV(DecisionTreeClassifier(), **options, refit=lambda results: 1).fit(X, X[:, 0] > 20)
    figure = plots.search(search)
    assert star(figure)[0] == 2
    assert said(figure).startswith("★ best ")  # the three are equal
    table = pd.DataFrame(results([0.5, 0.9, 0.7], C=[1, 2, 3]))
    table.attrs["best_index"] = 2
    assert star(plots.search(table)) == (3, 0.7)
    assert said(plots.search(table)).startswith("★ chosen 0.7")
    tied = GridSearchCV(DecisionTreeClassifier(), **options).fit(X, X[:, 0] > 20)
    assert len(set(tied.cv_results_["mean_test_score"])) == 1
    for made in (tied, tied.cv_results_, pd.DataFrame(tied.cv_results_)):
        assert read_search(made).best == tied.best_index_
        assert star(plots.search(made))[0] == tied.best_params_["max_depth"]


def test_the_best_of_a_halving_search_had_all_resources() -> None:
    table = results([0.99, 0.5, 0.6, 0.7], C=[1, 2, 3, 3])
    table["iter"] = [0, 0, 0, 1]
    data = read_search(table)
    assert list(data.outcome["score"]) == [0.99, 0.5, 0.7]
    assert data.best == 2
    assert "each as last tried" in said(plots.search(table))


def test_a_sweep_shows_the_mean_and_has_no_best() -> None:
    table = pd.DataFrame(
        [(t, f, s, t + f + s, "boom" if s == 2 else None) for t in (1, 2, 3) for f in (1, 2, 3) for s in (0, 1, 2)],
        columns=["t", "field", "seed", "energy", "error"],
    )
    figure = plots.sweep(table, "energy", ["t", "field"])
    assert np.array(mesh(figure).get_array())[0] == pytest.approx([2.5, 3.5, 4.5])
    assert said(figure) == "energy by t and field · 27 calls · 9 of 27 failed · mean over repeated calls"
    assert not [line for line in figure.axes[0].get_lines() if line.get_label() == "best"]


def test_the_last_column_is_the_value_of_a_sweep_and_those_before_it_its_parameters() -> None:
    data = read_sweep(pd.DataFrame({"a": [1, 2], "b": [3, 4], "y": [5.0, 6.0], "seconds": [1, 1]}))
    assert (data.label, list(data.parameters)) == ("y", ["a", "b"])


@pytest.mark.parametrize(
    ("call", "happened", "found", "todo"),
    [
        (lambda: plots.search({}), "no candidates", "nothing", "fitted search"),
        (lambda: plots.search(42), "no results", "int", "cv_results_"),
        (lambda: plots.search(results([np.nan] * 2, C=[1, 2])), "None of", "2 of 2", "error_score='raise'"),
        (lambda: plots.search(results([1], C=[1])), "no parameter varies", "C = 1", "two or more values"),
        (lambda: plots.search(results([1, 2], C=[1, 2]), params=["D"]), "no such parameter", "'D'", "some of C"),
        (lambda: plots.heatmap(results([1, 2], C=[1, 2])), "needs two parameters", "C", "plots.curve"),
        (lambda: plots.curve(results([1, 2], k=["a", "b"])), "numeric parameter", "k: a, b", "params="),
        (lambda: plots.sweep(pd.DataFrame({"a": [], "y": []})), "no calls", "2 columns", "daskhpc.sweep"),
        (lambda: plots.sweep(pd.DataFrame({"a": [1], "y": [2]}), "z"), "no such column", "'z'", "a, y"),
        (lambda: plots.sweep(pd.DataFrame({"a": [1], "y": [2]}), "y", ["b"]), "no such column", "'b'", "a, y"),
        (lambda: plots.sweep(pd.DataFrame({"a": [1, 2], "y": ["u", "v"]})), "Only numbers", "'y' with str", "value="),
    ],
)
def test_errors_have_three_parts(call: Any, happened: str, found: str, todo: str) -> None:
    with pytest.raises(DaskhpcError) as error:
        call()
    assert happened in error.value.happened
    assert found in error.value.found
    assert todo in error.value.todo


def test_names_lose_their_steps_where_that_leaves_them_unique() -> None:
    assert short_names(["svc__C", "pca__n", "sub__pca__n", "k"]) == {
        "svc__C": "C",
        "pca__n": "pca__n",
        "sub__pca__n": "sub__pca__n",
        "k": "k",
    }


def test_numbers_are_short() -> None:
    numbers = (1, 0.5, 1e-5, 785.3, 1127.6, 10000, 3e7)
    assert list(map(number_text, numbers)) == ["1", "0.5", "1e-05", "785", "1128", "10000", "3e+07"]


def test_names_that_look_like_formulas_are_drawn_as_they_are(tmp_path: Path) -> None:
    table = results(lambda a, b: a, **{"$a": [1, 2, 3], "b$_{": ["$x$", "\\frac{"]})
    for draw in (plots.search, plots.heatmap, plots.parallel_coordinates):
        plots.save(draw(table), tmp_path / "p.png")


@pytest.mark.parametrize(
    ("name", "start"), [("p.png", b"\x89PNG"), ("p.pdf", b"%PDF"), ("p.svg", b"<?xml"), ("P.PNG", b"\x89PNG")]
)
def test_a_picture_is_saved_as_its_name_says(tmp_path: Path, name: str, start: bytes) -> None:
    path = plots.save(plots.search(results(hill, C=C, gamma=GAMMA)), str(tmp_path / name))
    assert path == tmp_path / name
    assert path.read_bytes().startswith(start)
    assert list(tmp_path.iterdir()) == [path]
    if name.endswith("svg"):
        assert ET.parse(path).getroot().tag.endswith("svg")


def test_a_picture_that_cannot_be_saved_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure, path = plots.search(results(hill, C=C, gamma=GAMMA)), tmp_path / "p.png"
    with pytest.raises(DaskhpcError, match=r"PNG, PDF or SVG.*\n.*p\.gif.*\n.*p\.png"):
        plots.save(figure, tmp_path / "p.gif")
    with pytest.raises(DaskhpcError, match="No such file"):
        plots.save(figure, tmp_path / "absent" / "p.png")
    path.write_text("old")

    def full(draft: Path, **_: Any) -> None:
        draft.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", full)
    with pytest.raises(DaskhpcError, match="No space left"):
        plots.save(figure, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_callers_axes_and_settings_are_kept() -> None:
    before = dict(matplotlib.rcParams)
    figure = Figure(layout="constrained")
    left, right = figure.subplots(1, 2)
    assert plots.heatmap(results(hill, C=C, gamma=GAMMA), ax=left) is figure
    assert plots.curve(results(hill, C=C, gamma=GAMMA), params=["gamma"], ax=right) is figure
    assert (left.get_xlabel(), right.get_xlabel()) == ("C", "gamma")
    assert dict(matplotlib.rcParams) == before


def test_a_picture_shows_in_a_notebook_and_travels() -> None:
    figure: Any = plots.search(results(hill, C=C, gamma=GAMMA))
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert pickle.loads(pickle.dumps(figure)).axes[0].get_xlabel() == "C"


def test_no_pyplot_and_a_clear_word_without_matplotlib(tmp_path: Path) -> None:
    table = "{'param_C': [1, 2], 'mean_test_score': [0.1, 0.2]}"
    program = (
        "import sys\nfrom daskhpc import plots\n"
        "assert 'matplotlib' not in sys.modules and 'numpy' not in sys.modules\n"
        f"plots.save(plots.search({table}), 'p.png')\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=120)
    without = f"import sys\nsys.modules['matplotlib'] = None\nfrom daskhpc import plots\nplots.search({table})"
    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, timeout=120)
    assert "Pictures need matplotlib." in done.stderr
    assert "pip install 'daskhpc[plots]'" in done.stderr
