"""A small Flask site."""

import os

from flask import Flask

app = Flask(__name__)


@app.get("/")
def index():
    return os.environ.get("SUPERCTL_RELEASE", "") + "\n"


@app.get("/healthz/")
def healthz():
    return "ok\n"
