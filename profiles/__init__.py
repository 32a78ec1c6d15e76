"""What `auflow tune` has found to be best on this machine, kept in a file that `run` and `serve` read."""
