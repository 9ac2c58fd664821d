"""Which events go where, and what happens when that fails."""
