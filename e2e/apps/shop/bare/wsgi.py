import time

from bare import answer


def application(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    status, headers, chunks, wait = answer(environ["PATH_INFO"], body)
    time.sleep(wait)
    start_response("%d %s" % (status, "OK" if status == 200 else "Not Found"), headers)
    return iter(chunks)
