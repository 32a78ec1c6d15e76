"""`auflow doctor`: what this machine has, what auflow would use and why, what is broken and the command that mends it.

Each area has functions that gather facts, from places that a test can fake, and pure functions that judge them.
"""
