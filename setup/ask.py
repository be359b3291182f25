"""What superctl init wants to know of a Django project's settings.

Usage: python -c PROGRAM ROOT SETTINGS PATHS, with PATHS a JSON list of URL paths. Each answer is a
line that begins with "@superctl ": first the settings, then the paths that have a view.

A variable that the settings need and that is not set gets the value "0", or an address without a
server, so that the other settings can be read; the answer has the variables' names.
"""
import json
import os
import re
import sys

root, settings_module, paths = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
given = json.loads(os.environ.pop("SUPERCTL_INIT_GIVEN", "[]"))
for name in given:
    os.environ[name] = "sqlite://:memory:" if name.endswith("DATABASE_URL") else "http://localhost/" if name.endswith(("_URL", "_URI", "DSN")) else "0"

optional, missing = [], []


class Recorder(type(os.environ)):
    """os.environ, and which names the settings look up in it."""

    def __getitem__(self, name):
        try:
            return super().__getitem__(name)
        except KeyError:
            if isinstance(name, str) and name not in missing:
                missing.append(name)
            raise

    def __contains__(self, name):
        found = super().__contains__(name)
        if not found and isinstance(name, str) and name not in missing:
            missing.append(name)
        return found


def say(kind, what):
    print("@superctl " + json.dumps([kind, what], default=str), flush=True)


def again(error):
    """Starts over, with a value for the variable that the error is about."""
    text = str(error)
    for name in reversed(missing):
        if name not in given and len(given) < 30 and re.search(r"\b" + re.escape(name) + r"\b", text):
            os.environ["SUPERCTL_INIT_GIVEN"] = json.dumps(given + [name])
            # -c leaves the program in no file, so it is passed on as it came
            os.execv(sys.executable, [sys.executable, "-B", "-c", PROGRAM] + sys.argv[1:])


with open("/proc/self/cmdline", "rb") as f:
    words = f.read().split(b"\0")
PROGRAM = os.fsdecode(words[words.index(b"-c") + 1])

os.environ["DJANGO_SETTINGS_MODULE"] = settings_module
os.environ.__class__ = Recorder
os.chdir(root)
sys.path.insert(0, root)
try:
    from django.conf import settings

    settings.INSTALLED_APPS
except BaseException as error:
    again(error)
    say("error", "%s: %s" % (type(error).__name__, str(error).splitlines()[0] if str(error) else ""))
    sys.exit(1)


has_key = True
try:
    settings.SECRET_KEY
except Exception as error:
    again(error)
    has_key = False
    settings.SECRET_KEY = "0"  # the other settings may look at it


def engine_file(database):
    name = str(database.get("NAME", ""))
    return name if "sqlite" in str(database.get("ENGINE", "")) and not name.startswith((":memory:", "file:")) else ""


def manifest():
    """The file in which the storage of static files has the names with hashes."""
    try:
        from django.contrib.staticfiles.storage import staticfiles_storage as storage

        storage.path("")  # fails unless it is a directory
        name = getattr(storage, "manifest_name", "")
        return storage.manifest_storage.path(name) if name else ""
    except BaseException:
        return "?"


proxy = settings.SECURE_PROXY_SSL_HEADER
say("settings", {
    "secret_key": has_key,
    "debug": bool(settings.DEBUG),
    "allowed_hosts": [str(h) for h in settings.ALLOWED_HOSTS],
    "ssl_redirect": bool(settings.SECURE_SSL_REDIRECT),
    "proxy_header": [str(p) for p in proxy] if proxy else [],
    "prepend_www": bool(settings.PREPEND_WWW),
    "static_url": str(settings.STATIC_URL or ""),
    "static_root": os.path.join(root, str(settings.STATIC_ROOT)) if settings.STATIC_ROOT else "",
    "manifest": manifest() if settings.STATIC_ROOT else "",
    "media_url": str(settings.MEDIA_URL or ""),
    "media_root": os.path.join(root, str(settings.MEDIA_ROOT)) if settings.MEDIA_ROOT else "",
    "wsgi": str(settings.WSGI_APPLICATION or ""),
    "asgi": str(getattr(settings, "ASGI_APPLICATION", None) or ""),
    "whitenoise": any("whitenoise" in str(m) for m in settings.MIDDLEWARE),
    "databases": [f for f in map(engine_file, settings.DATABASES.values()) if f],
    "needs": given,
    "reads": [n for n in missing if re.fullmatch(r"[A-Z][A-Z0-9_]*", n) and not n.startswith(("PYTHON", "DJANGO_SETTINGS", "DJANGO_RUN", "LC_", "LANG"))],
})

if paths:
    try:
        import django
        from django.urls import Resolver404, resolve

        django.setup()
        good = []
        for path in paths:
            try:
                resolve(path)
                good.append(path)
            except Resolver404:
                pass
        say("paths", good)
    except BaseException as error:
        say("unresolved", type(error).__name__)
