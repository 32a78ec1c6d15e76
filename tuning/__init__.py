"""`auflow tune`: measures what this machine allows on the user's clips within a budget of accuracy, and keeps it."""
