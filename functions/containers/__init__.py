"""Functions in containers: the engine, what starts and ends them, and how a call reaches one."""
