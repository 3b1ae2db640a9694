"""Results that outlive their process: what was computed once is read back, exactly."""
