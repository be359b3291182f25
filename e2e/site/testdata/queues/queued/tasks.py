"""The task of Django's own tasks: it can be made only when Django knows its settings."""

from django_tasks import task

from queues import work


@task()
def queued(name, seconds):
    work(name, seconds)
