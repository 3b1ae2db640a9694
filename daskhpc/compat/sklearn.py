"""What daskhpc needs of scikit-learn beyond its public names."""
