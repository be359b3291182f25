"""Counts the requests of an application in uWSGI, whose server is in C and calls nothing that could be patched.

uWSGI imports a module, or executes a file, and takes the application from its variables at once. So at the end of that module or file an
application that counts is put into the variable. It gives the variable back at the first request: until then it looks like the
application itself to everything else that imports it.

uWSGI's own hooks stay the application's. Nor are they needed: uWSGI serves requests in forks only, and each opens its pages at its first.
"""

import os
import sys
import weakref

import _frozen_importlib_external as importing

_MOUNTS = "SUPERCTL_UWSGI_MOUNTS"  # a variable for other interpreters of this process
_FILES = ("uwsgi_file_", "uwsgi_eval_config")  # how the names begin under which uWSGI executes files and --eval


def _values(options, *names):
    """Returns the values of options of uWSGI."""
    for name in names:
        value = options.get(name)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, bytes):
                yield one.decode("utf-8", "replace")


def _options():
    """Returns uWSGI's options, those of ini files too, or None if this is not uWSGI or they are not known yet."""
    return getattr(sys.modules.get("uwsgi"), "opt", None)


class Applications(object):
    """Puts counting applications in the place of those that uWSGI is about to take."""

    def __init__(self, counter, complain):
        self.counter, self.complain = counter, complain
        self.names = None
        fix_up_module = importing._fix_up_module

        def fix_up(variables, name, *args):  # the interpreter calls it just before the code of a file that uWSGI has read is executed
            result = fix_up_module(variables, name, *args)
            if name.startswith(_FILES):
                self.patch(name)
                self.after(variables)
            return result

        importing._fix_up_module = fix_up

    def patch(self, name):
        """Returns what to do with a module after its import; None if uWSGI takes no application from it."""
        if self.names is None:
            options = _options()
            if options is None:
                return None
            self.names = self.wanted(options)
        names = self.names.get(name)
        if names is None:
            return None
        return lambda module: self.replace(vars(module), names)

    def wanted(self, options):
        """Returns, for each module that uWSGI is told to import, the names of its applications."""
        names = {}
        for value in list(_values(options, "module", "wsgi")) + self.mounts(options):
            module, _, name = value.partition(":")
            names.setdefault(module, set()).add(name or self.default(options))
        return names

    def mounts(self, options):
        """Returns the modules and names of --mount.

        uWSGI tells the last one only, and cuts it short when it makes an interpreter for it. So the first interpreter notes it, with those of
        the command line. Of several mounts of modules in an ini file only the last is known; a mount of a file needs no option.
        """
        noted = os.environ.get(_MOUNTS)
        if noted is None:
            with open("/proc/self/cmdline") as command:
                mounts = command.read().split("\0") + list(_values(options, "mount"))
            noted = os.environ[_MOUNTS] = "\n".join(mount for mount in mounts if mount.startswith(("/", "--mount=/")) and "=" in mount)
        mounts = [mount.replace("--mount=", "", 1).partition("=")[2] for mount in noted.split("\n")]
        return [mount for mount in mounts if ":" in mount and not mount.endswith((".py", ".wsgi", ".ini"))]

    def default(self, options):
        return next(_values(options, "callable"), "application")

    def after(self, variables):
        """Replaces the application of a file after it has been executed, which is when uWSGI forgets its code."""
        before = sys.getprofile()

        def begins(frame, event, _):
            if event == "call" and frame.f_globals is variables:
                sys.setprofile(before)
                weak.append(weakref.ref(frame.f_code, lambda _: self.replace(variables, {self.default(_options() or {})})))

        weak = [begins]
        sys.setprofile(begins)

    def replace(self, variables, names):
        try:
            counter = self.counter()
            if counter is None:
                return
            for several in variables, vars(sys.modules["uwsgi"]):
                mounted = several.get("applications")  # by their mountpoints
                if isinstance(mounted, dict):
                    names = names | {app for app in mounted.values() if isinstance(app, str)}
                    for mountpoint in mounted:
                        _put(counter, mounted, mountpoint)
            for name in names:
                _put(counter, variables, name)
        except Exception:
            self.complain("count requests of uWSGI")


def _put(counter, variables, name):
    """Puts a counting application into a variable. "name()" is a function that uWSGI calls once and that returns the application."""
    makes = name.endswith("()")
    key = name[:-2] if makes else name
    app = variables.get(key)
    if not callable(app) or type(app) is Application:
        return

    def restore():
        if variables.get(key) is application:
            variables[key] = app

    if makes:

        def application(*args):
            restore()
            return Application(app(*args), counter, restore)
    else:
        application = Application(app, counter, restore)
    variables[key] = application


class Application(object):
    """A counting application, and for everything but its call the application itself."""

    __slots__ = ("_app", "_count", "_restore")

    def __init__(self, app, counter, restore):
        for name, value in ("_app", app), ("_count", counter.uwsgi(app, _options() or {})), ("_restore", restore):
            object.__setattr__(self, name, value)

    def __call__(self, environ, start_response):
        if self._restore is not None:
            self._restore()
            object.__setattr__(self, "_restore", None)
        return self._count(environ, start_response)

    @property
    def __class__(self):
        return self._app.__class__

    def __getattr__(self, name):
        return getattr(self._app, name)

    def __setattr__(self, name, value):
        setattr(self._app, name, value)
