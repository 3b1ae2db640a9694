"""What daskhpc needs of Dask's collections beyond their public names."""
