"""What computes the stages' graphs, and what of it this machine has. Knows arrays and graphs, and no stage."""
