"""Between a trigger and a function's revisions: which one takes a call, and by which policy."""
