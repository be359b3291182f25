"""A shop that answers 500 to half of its users in a release with a file "bad"."""

import os
import random
import time
import traceback

BAD = os.path.exists("bad")
HEADERS = [
    ("X-Generation", os.environ["SUPERCTL_GENERATION"]),
    ("X-Release", os.environ["SUPERCTL_RELEASE"]),
    ("Content-Length", "0"),
]


def price(item):
    raise ValueError("no price for <b>%s</b>" % item)


def wsgi(environ, start_response):
    status = "200 OK"
    if environ["PATH_INFO"] != "/healthz/":
        time.sleep(random.expovariate(200))
        if BAD and random.random() < 0.5:
            try:
                price("a teapot")
            except ValueError:
                traceback.print_exc()
                status = "500 Internal Server Error"
    start_response(status, HEADERS)
    return []
