"""What runs inside the worker processes, and the rules by which the orchestrator runs them."""
