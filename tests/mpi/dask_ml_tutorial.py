"""The form that Dask's tutorials teach: dask-mpi for the cluster, Dask-ML for the search. Nothing here is daskhpc's."""

from dask_mpi import initialize

initialize()

from dask_ml.model_selection import GridSearchCV  # noqa: E402
from distributed import Client  # noqa: E402
from sklearn.datasets import load_iris  # noqa: E402
from sklearn.svm import SVC  # noqa: E402

client = Client()
X, y = load_iris(return_X_y=True)
search = GridSearchCV(SVC(), {"C": [0.1, 1, 10], "kernel": ["rbf", "linear"]}, cv=3, scheduler=client)
search.fit(X, y)
print(search.best_params_, round(search.best_score_, 3))
