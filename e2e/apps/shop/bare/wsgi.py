import time

from bare import answer, pauses


def application(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    for pause in pauses(environ["PATH_INFO"], environ.get("QUERY_STRING", "")):
        time.sleep(pause)
    status, headers, chunks = answer(environ["PATH_INFO"], body)
    start_response("%d %s" % (status, "OK" if status == 200 else "Not Found"), headers)
    return iter(chunks)
