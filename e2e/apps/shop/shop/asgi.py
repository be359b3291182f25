import os

from django.core.asgi import get_asgi_application

from shop import release

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
release.boot()
application = get_asgi_application()
