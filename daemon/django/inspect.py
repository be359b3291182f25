"""Compares the migrations that a release of a Django project knows with those that its databases have had.

superctl runs it with the release's own interpreter, in the release's directory:

    python -c PROGRAM MANAGE DATABASES [APP.NAME ...]

It runs the project's manage.py, which sets up whatever the project needs, up to the point where that would run a command. Each
line of the answer is MARK and a JSON list: what it is, and a text. Whatever else is on stdout is the project's. With names it
answers which of these migrations the release knows, and asks no database anything.

It changes nothing, and works with Django 4.2 and later.
"""

import io
import json
import os
import sys

MARK = "@superctl "


def say(kind, text=""):
    sys.stdout.flush()
    print("\n" + MARK + json.dumps([kind, str(text)]), flush=True)


def fail(text):
    say("error", " ".join(str(text).split()))
    sys.exit(1)


def full_name(key):
    return "%s.%s" % (key[0], key[1])


def knows(loader):
    """All migrations that the release has, and those that its squashed ones stand for."""
    known = set(loader.disk_migrations)
    for migration in loader.disk_migrations.values():
        known.update(tuple(key) for key in migration.replaces)
    return known


def stands_for(loader, names):
    """What the named migrations that the release knows stand for, when they are squashed ones."""
    for key, migration in loader.disk_migrations.items():
        if migration.replaces and full_name(key) in names:
            yield full_name(key), [full_name(tuple(k)) for k in migration.replaces]


def describe(settings):
    host, port = settings.get("HOST"), settings.get("PORT")
    where = " at %s%s" % (host, ":%s" % port if port else "") if host else ""
    return "%s %s%s" % (settings.get("ENGINE", "").rpartition(".")[2], settings.get("NAME"), where)


def look(alias, prefix):
    from django.core.management import call_command
    from django.db import connections
    from django.db.migrations.executor import MigrationExecutor

    if alias not in connections:
        fail("its settings have no database %r, but %s" % (alias, ", ".join(connections)))
    try:
        connection = connections[alias]
    except Exception as e:
        fail("the database %s cannot be used: %s" % (alias, e))
    try:
        connection.ensure_connection()
    except Exception as e:
        fail("the database %s (%s) cannot be reached: %s" % (alias, describe(connection.settings_dict), e))
    executor = MigrationExecutor(connection)
    known = knows(executor.loader)
    for key in sorted(executor.recorder.applied_migrations()):
        if tuple(key) not in known:
            say("unknown", full_name(key))
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    for migration, _ in missing:
        say("missing", "%s.%s%s" % (migration.app_label, migration.name, prefix))
    if missing:
        text = io.StringIO()
        call_command("migrate", plan=True, database=alias, interactive=False, no_color=True, stdout=text, stderr=text)
        for line in text.getvalue().splitlines():
            say("plan", line + (prefix if line == "Planned operations:" else ""))
    connection.close()


def inspect(databases, names):
    import django

    django.setup()
    from django.db.migrations.loader import MigrationLoader

    if names:
        loader = MigrationLoader(None)
        known = {full_name(key) for key in knows(loader)}
        for name in names:
            if name in known:
                say("known", name)
        for name, others in stands_for(loader, set(names)):
            say("stands_for", json.dumps([name, others]))
    else:
        for alias in databases:
            look(alias, "" if len(databases) == 1 else " (%s)" % alias)
    say("done")


def main():
    manage, databases, names = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]
    # As for a script: its directory comes first, and not the working directory.
    sys.path[0] = os.path.dirname(os.path.abspath(manage))
    try:
        from django.core import management
    except ImportError as e:
        fail("Django cannot be imported by %s: %s" % (sys.executable, e))

    asked = []

    def instead(*args, **kwargs):
        asked.append(True)
        try:
            inspect(databases, names)
        except SystemExit:
            raise
        except BaseException as e:
            import traceback

            traceback.print_exc()
            fail("%s: %s" % (type(e).__name__, e))
        sys.exit(0)

    management.execute_from_command_line = instead
    sys.argv = [manage, "migrate", "--plan"]
    import runpy

    try:
        runpy.run_path(manage, run_name="__main__")
    except SystemExit as e:
        if not asked:
            fail("%s ended before it ran a command: %s" % (manage, e.code))
        raise
    except BaseException as e:
        import traceback

        traceback.print_exc()
        fail("%s: %s: %s" % (manage, type(e).__name__, e))
    fail("%s has not called django.core.management.execute_from_command_line" % manage)


main()
