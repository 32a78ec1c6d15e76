"""`auflow models export`: what the stages compute as files for other runtimes, each checked when it is written."""
