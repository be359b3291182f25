import hashlib
import os
import time
from pathlib import Path

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.handlers.asgi import ASGIRequest
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from shop import release

CHUNK = bytes(range(256)) * 256
STREAM_CHUNKS = 32  # of 64 KiB: 2 MiB


@require_GET
def index(request):
    return JsonResponse({"release": release.NAME, "generation": release.GENERATION, "pid": os.getpid()})


@require_GET
def healthz(request):
    return HttpResponse("ok\n", content_type="text/plain")


@require_GET
def slow(request):
    seconds = float(request.GET.get("s", "1"))
    time.sleep(seconds)
    while "until" in request.GET and not os.path.exists(request.GET["until"]):
        time.sleep(0.02)
    return JsonResponse({"release": release.NAME, "slept": seconds})


@require_POST
def echo(request):
    body = request.body
    return JsonResponse({"length": len(body), "sha256": hashlib.sha256(body).hexdigest()})


@require_GET
def stream(request):
    def chunks():
        for _ in range(STREAM_CHUNKS):
            yield CHUNK

    async def async_chunks():
        for chunk in chunks():
            yield chunk

    asynchronous = isinstance(request, ASGIRequest)
    response = StreamingHttpResponse(
        async_chunks() if asynchronous else chunks(), content_type="application/octet-stream"
    )
    response["X-Length"] = str(STREAM_CHUNKS * len(CHUNK))
    return response


@require_http_methods(["GET", "POST"])
def media(request, name):
    if request.method == "POST":
        return JsonResponse({"name": default_storage.save(name, ContentFile(request.body))})
    return FileResponse(default_storage.open(name))


@require_GET
def secrets(request, name):
    """For tests only: return Django's secret key, and a credential of the unit as it is now."""
    credential = Path(os.environ["CREDENTIALS_DIRECTORY"], name).read_text()
    return HttpResponse(f"{settings.SECRET_KEY} and {credential}", content_type="text/plain")
