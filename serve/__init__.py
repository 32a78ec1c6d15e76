"""`auflow serve`: streams that run day and night, and what can be told and asked from outside while they do."""
