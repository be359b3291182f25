from django.urls import path

from shop import views

urlpatterns = [
    path("", views.index),
    path("healthz/", views.healthz),
    path("slow", views.slow),
    path("echo", views.echo),
    path("stream", views.stream),
    path("media/<name>", views.media),
    path("secrets/<name>", views.secrets),
]
