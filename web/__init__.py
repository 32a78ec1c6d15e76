"""The live page: what a browser is shown of a running service, and who may look."""
