"""What runs beside a user's code: the decorator, the worker, the zygote. Imports no node."""
