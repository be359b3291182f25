import os
from pathlib import Path

SECRET_KEY = os.environ.get("SECRET_KEY", "only for tests")
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
USE_TZ = True
MEDIA_ROOT = Path(__file__).parent.with_name("media")
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
if Path(__file__).parent.with_name("catalogue").exists():
    INSTALLED_APPS.append("catalogue")


def database(text):
    """Parse sqlite:PATH, or postgresql:DIRECTORY with the directory of the server's socket."""
    kind, _, where = text.partition(":")
    if kind == "postgresql":
        return {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "shop", "HOST": where}
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": where}


DATABASES = {"default": database(os.environ.get("SHOP_DATABASE", "sqlite::memory:"))}
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 << 20
MIDDLEWARE = [
    "shop.release.Signature",
    "django.middleware.common.CommonMiddleware",
    "shop.release.Misbehaving",
]
# By default Django logs no error to stderr in production.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "loggers": {"django.request": {"handlers": ["stderr"], "level": "ERROR", "propagate": False}},
}
