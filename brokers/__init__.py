"""Where events live: the broker contract and its implementations."""
