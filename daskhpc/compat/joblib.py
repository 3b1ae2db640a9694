"""What daskhpc needs of joblib beyond its public names."""
