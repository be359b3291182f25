"""Tasks for the queue that $QUEUE names, next to a site.

Each event is a line in the file $SHOP_JOURNAL: EVENT RELEASE PID TASK. main sends a task for each line
NAME SECONDS of its standard input; a task of -1 s waits for the file $SHOP_JOURNAL.go-on1, one of -2 s
for .go-on2, and so on.
"""

import asyncio
import os
import sys
import time

KIND = os.environ["QUEUE"]
REDIS = os.environ.get("QUEUE_REDIS", "")  # the path of its socket
AGAIN = int(os.environ.get("QUEUE_AGAIN", 120))  # after so many seconds a queue runs again what its worker has lost
POSTGRES = os.environ.get("QUEUE_POSTGRES", "")  # the directory of its socket


def note(event, name):
    line = f"{event} {os.path.basename(os.path.dirname(os.path.realpath(__file__)))} {os.getpid()} {name}\n"
    # An append of less than a page is atomic.
    fd = os.open(os.environ["SHOP_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(fd, line.encode())
    os.close(fd)


if "SUPERCTL_GENERATION" in os.environ:
    note("start", "-")  # of a worker


def pauses(seconds):
    """Yield how long to wait, again and again."""
    yield max(seconds, 0)
    while seconds < 0 and not os.path.exists(f"{os.environ['SHOP_JOURNAL']}.go-on{-int(seconds)}"):
        yield 0.05


def work(name, seconds):
    note("begin", name)
    for pause in pauses(seconds):
        time.sleep(pause)
    note("end", name)


if KIND == "rq":
    from redis import Redis
    from rq import Queue

    queue = Queue(connection=Redis(unix_socket_path=REDIS))

    def send(name, seconds):
        queue.enqueue("queues.work", name, seconds)

elif KIND == "dramatiq":
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    dramatiq.set_broker(RedisBroker(url="unix://" + REDIS, heartbeat_timeout=1000 * AGAIN, maintenance_chance=500_000))
    send = dramatiq.actor(work).send

elif KIND == "huey":
    from huey import RedisHuey

    huey = RedisHuey(url="unix://" + REDIS)
    send = huey.task()(work)

elif KIND == "arq":
    from arq import create_pool
    from arq.connections import RedisSettings

    async def later(ctx, name, seconds):
        note("begin", name)
        for pause in pauses(seconds):
            await asyncio.sleep(pause)
        note("end", name)

    class Worker:
        functions = [later]
        redis_settings = RedisSettings(unix_socket_path=REDIS)
        poll_delay = 0.05
        max_jobs = 2
        job_completion_wait = 60
        job_timeout = AGAIN

    loop = asyncio.new_event_loop()
    pool = None

    def send(name, seconds):
        global pool
        pool = pool or loop.run_until_complete(create_pool(Worker.redis_settings))
        loop.run_until_complete(pool.enqueue_job("later", name, seconds))

elif KIND == "procrastinate":
    from procrastinate import App, PsycopgConnector

    app = App(connector=PsycopgConnector(conninfo=f"host={POSTGRES} user=shop dbname=postgres"))
    task = app.task(name="work")(work)

    def send(name, seconds):
        app.open()  # once: the second time does nothing
        task.defer(name=name, seconds=seconds)

else:  # those of Django
    SECRET_KEY = "only for tests"
    USE_TZ = True
    INSTALLED_APPS = {"django-tasks": ["django_tasks", "django_tasks_db", "queued"], "django-q2": ["django_q"]}[KIND]
    DATABASES = {
        "default": {"ENGINE": "django.db.backends.postgresql", "HOST": POSTGRES, "USER": "shop", "NAME": "postgres"},
    }
    TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
    Q_CLUSTER = {"name": "shop", "orm": "default", "workers": 2, "poll": 0.05, "timeout": AGAIN - 1, "retry": AGAIN}

    def send(name, seconds):
        if KIND == "django-q2":
            from django_q.tasks import async_task

            async_task("queues.work", name, seconds)
        else:
            from queued.tasks import queued

            queued.enqueue(name, seconds)


def main():
    if "DATABASES" in globals():
        import django

        django.setup()
    for line in sys.stdin:
        name, seconds = line.split()
        send(name, float(seconds))
        note("sent", name)
