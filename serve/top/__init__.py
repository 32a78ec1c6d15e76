"""`auflow top`: how a running service is doing, at a terminal."""
