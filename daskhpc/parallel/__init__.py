"""The joblib backend "daskhpc": calls of joblib's Parallel on all workers of a Dask cluster."""
