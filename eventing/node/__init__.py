"""The node: the composition root, its HTTP ports and the command line."""
