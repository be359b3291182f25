# The projects of the tutorials, as their owners deployed them before they knew superctl. It runs once,
# in the root file system that the tutorials' servers are booted from. Its packages:
# apt: nginx python3-venv git openssl curl supervisor uwsgi-core uwsgi-plugin-python3 redis-server
set -eu
export PIP_DISABLE_PIP_VERSION_CHECK=1
umask 022

# commit makes a repository of the current directory.
commit() {
	git init --quiet --initial-branch=main
	git add .
	git -c user.name=Me -c user.email=me@example.com commit --quiet -m "$1"
}

# A user of its own for each, whose home is the app's directory.
for app in orders prices notes blog shop; do
	useradd --system --home-dir /srv/$app --no-create-home --shell /bin/bash $app
	install -d -o $app -g $app -m 755 /srv/$app
done
export -f commit

# orders: Flask, in a git checkout with its virtualenv inside.
runuser -u orders -- bash -euc '
cd /srv/orders
python3 -m venv venv
venv/bin/pip install --quiet flask gunicorn
venv/bin/pip freeze >requirements.txt
printf "venv\n.env\n" >.gitignore
cat >orders.py <<"PYTHON"
import os

from flask import Flask

app = Flask(__name__)
app.secret_key = os.environ["SECRET_KEY"]


@app.route("/")
def index():
    return "orders, version 1\n"


@app.route("/healthz")
def healthz():
    return "ok\n"
PYTHON
commit Orders
echo "SECRET_KEY=$(openssl rand -hex 32)" >.env
chmod 600 .env'

# prices: FastAPI, in a git checkout with its virtualenv inside.
runuser -u prices -- bash -euc '
cd /srv/prices
python3 -m venv venv
venv/bin/pip install --quiet fastapi uvicorn
venv/bin/pip freeze >requirements.txt
printf "venv\n" >.gitignore
cat >main.py <<"PYTHON"
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def index():
    return {"version": 1}


@app.get("/health")
def health():
    return {"status": "ok"}
PYTHON
commit Prices'

# notes: Flask and a worker, run by honcho from a Procfile.
runuser -u notes -- bash -euc '
cd /srv/notes
python3 -m venv venv
venv/bin/pip install --quiet flask gunicorn honcho
venv/bin/pip freeze >requirements.txt
printf "venv\n.env\n" >.gitignore
cat >notes.py <<"PYTHON"
import os

from flask import Flask

app = Flask(__name__)
app.secret_key = os.environ["SECRET_KEY"]


@app.route("/")
def index():
    return "notes, version 1\n"


@app.route("/healthz")
def healthz():
    return "ok\n"
PYTHON
cat >worker.py <<"PYTHON"
import signal

print("waiting for work", flush=True)
signal.sigwait([signal.SIGTERM])
PYTHON
cat >Procfile <<"END"
web: gunicorn --workers 2 --bind 127.0.0.1:$PORT notes:app
worker: python worker.py
END
commit Notes
echo "PORT=8000" >.env
echo "SECRET_KEY=$(openssl rand -hex 32)" >>.env
chmod 600 .env'

# board: Flask, deployed by Kamal. The server has no checkout of it.
mkdir /srv/git
bash -euc '
cd /srv/git
mkdir board && cd board
printf "flask==%s\ngunicorn==%s\n" $(/srv/orders/venv/bin/pip freeze | sed -n "s/^Flask==//p; s/^gunicorn==//p") >requirements.txt
mkdir config
cat >board.py <<"PYTHON"
import os

from flask import Flask

app = Flask(__name__)
app.secret_key = os.environ["SECRET_KEY"]


@app.route("/")
def index():
    return "board, version 1\n"


@app.route("/up")
def up():
    return "ok\n"
PYTHON
cat >Dockerfile <<"END"
FROM python:3.13-slim
WORKDIR /app
COPY requirements.txt .
RUN pip install -r requirements.txt
COPY . .
CMD ["gunicorn", "--workers", "2", "--threads", "2", "--bind", "0.0.0.0:8000", "board:app"]
END
cat >config/deploy.yml <<"END"
service: board
image: example/board

servers:
  web:
    - 192.0.2.10

proxy:
  host: board.example.com
  app_port: 8000
  healthcheck:
    path: /up

registry:
  username: example
  password:
    - KAMAL_REGISTRY_PASSWORD

env:
  clear:
    BOARD_COLOUR: blue
  secret:
    - SECRET_KEY
END
commit Board'

# blog: Wagtail, deployed by Capistrano: releases, current, and what the releases share.
runuser -u blog -- bash -euc '
cd /srv/blog
mkdir -p releases shared/media shared/db
python3 -m venv releases/20261101120000/venv
cd releases/20261101120000
venv/bin/pip install --quiet wagtail gunicorn
venv/bin/wagtail start blog . >/dev/null
cat >>blog/settings/production.py <<"PYTHON"

import os

SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = ["blog.example.com"]
DATABASES["default"]["NAME"] = BASE_DIR / "db" / "db.sqlite3"
PYTHON
sed -i s/settings.dev/settings.production/ blog/wsgi.py
ln -s /srv/blog/shared/media media
ln -s /srv/blog/shared/db db
export SECRET_KEY=unused DJANGO_SETTINGS_MODULE=blog.settings.production
venv/bin/python manage.py migrate --noinput --verbosity 0
venv/bin/python manage.py collectstatic --noinput --verbosity 0
ln -s releases/20261101120000 /srv/blog/current
echo "SECRET_KEY=$(openssl rand -hex 32)" >/srv/blog/shared/env
chmod 600 /srv/blog/shared/env'

# shop: django-oscar with a Celery worker; a script of its own makes dated releases.
runuser -u shop -- bash -euc '
cd /srv/shop
mkdir -p data media
python3 -m venv releases/2026-11-01/venv
cd releases/2026-11-01
venv/bin/pip install --quiet django-oscar "setuptools<80" gunicorn "celery[redis]"
venv/bin/django-admin startproject shop .
cat >>shop/settings.py <<"PYTHON"

import os

from oscar.defaults import *

DEBUG = False
SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = ["shop.example.com"]
INSTALLED_APPS += """django.contrib.sites django.contrib.flatpages oscar.config.Shop
    oscar.apps.analytics.apps.AnalyticsConfig oscar.apps.checkout.apps.CheckoutConfig
    oscar.apps.address.apps.AddressConfig oscar.apps.shipping.apps.ShippingConfig
    oscar.apps.catalogue.apps.CatalogueConfig oscar.apps.catalogue.reviews.apps.CatalogueReviewsConfig
    oscar.apps.communication.apps.CommunicationConfig oscar.apps.partner.apps.PartnerConfig
    oscar.apps.basket.apps.BasketConfig oscar.apps.payment.apps.PaymentConfig oscar.apps.offer.apps.OfferConfig
    oscar.apps.order.apps.OrderConfig oscar.apps.customer.apps.CustomerConfig oscar.apps.search.apps.SearchConfig
    oscar.apps.voucher.apps.VoucherConfig oscar.apps.wishlists.apps.WishlistsConfig
    oscar.apps.dashboard.apps.DashboardConfig oscar.apps.dashboard.reports.apps.ReportsDashboardConfig
    oscar.apps.dashboard.users.apps.UsersDashboardConfig oscar.apps.dashboard.orders.apps.OrdersDashboardConfig
    oscar.apps.dashboard.catalogue.apps.CatalogueDashboardConfig
    oscar.apps.dashboard.offers.apps.OffersDashboardConfig
    oscar.apps.dashboard.partners.apps.PartnersDashboardConfig
    oscar.apps.dashboard.pages.apps.PagesDashboardConfig
    oscar.apps.dashboard.ranges.apps.RangesDashboardConfig
    oscar.apps.dashboard.reviews.apps.ReviewsDashboardConfig
    oscar.apps.dashboard.vouchers.apps.VouchersDashboardConfig
    oscar.apps.dashboard.communications.apps.CommunicationsDashboardConfig
    oscar.apps.dashboard.shipping.apps.ShippingDashboardConfig
    widget_tweaks haystack treebeard django_tables2""".split()
SITE_ID = 1
MIDDLEWARE += ["oscar.apps.basket.middleware.BasketMiddleware",
    "django.contrib.flatpages.middleware.FlatpageFallbackMiddleware"]
TEMPLATES[0]["OPTIONS"]["context_processors"] += ["oscar.apps.search.context_processors.search_form",
    "oscar.apps.checkout.context_processors.checkout", "oscar.core.context_processors.metadata",
    "oscar.apps.communication.notifications.context_processors.notifications"]
AUTHENTICATION_BACKENDS = ["oscar.apps.customer.auth_backends.EmailBackend", "django.contrib.auth.backends.ModelBackend"]
HAYSTACK_CONNECTIONS = {"default": {"ENGINE": "haystack.backends.simple_backend.SimpleEngine"}}
DATABASES["default"]["ATOMIC_REQUESTS"] = True
DATABASES["default"]["NAME"] = "/srv/shop/data/db.sqlite3"
STATIC_ROOT = BASE_DIR / "static"
MEDIA_ROOT = "/srv/shop/media"
MEDIA_URL = "media/"
CELERY_BROKER_URL = "redis://127.0.0.1:6379/0"
PYTHON
cat >shop/urls.py <<"PYTHON"
from django.apps import apps
from django.urls import include, path

urlpatterns = [
    path("i18n/", include("django.conf.urls.i18n")),
    path("", include(apps.get_app_config("oscar").urls[0])),
]
PYTHON
cat >shop/celery.py <<"PYTHON"
import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
PYTHON
echo "from .celery import app as celery_app" >shop/__init__.py
export SECRET_KEY=unused
venv/bin/python manage.py migrate --noinput --verbosity 0
venv/bin/python manage.py collectstatic --noinput --verbosity 0
ln -s releases/2026-11-01 /srv/shop/current
echo "SECRET_KEY=$(openssl rand -hex 32)" >/srv/shop/env
chmod 600 /srv/shop/env'
