"""`auflow bench`: what the kernels, the stages and whole runs cost on this machine, and how that has changed."""
