"""The command of docs/queues.md, word for word."""

from django_tasks_db.management.commands import db_worker

# Otherwise TERM ends a worker that has claimed a task and not begun it, and the task stays RUNNING.
db_worker.Worker.running_task = property(lambda self: True, lambda self, value: None)


class Command(db_worker.Command):
    pass
