import os

from django.core.wsgi import get_wsgi_application

from shop import release

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
release.boot()
application = get_wsgi_application()
