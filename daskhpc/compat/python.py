"""What daskhpc needs of Python's standard library beyond its public names."""
