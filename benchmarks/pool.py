"""What a pool costs a call: CPU of its own, and of the node with a real worker behind it.

Run as `python -m benchmarks.pool`. CPU time of this process, best of several rounds.
"""
