"""Stands for a module of the standard library that servers import without need of it: this Python is built without it."""

OPENSSL_VERSION_INFO = 0, 0


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    if name.isupper():  # a constant
        return 0
    return globals().setdefault(name, type(name, (OSError if name.endswith("Error") else object,), {}))
