"""Compares the migrations of a Django release with those applied to its databases.

superctl runs it with the release's own interpreter, in the release's directory:

    python -c PROGRAM MANAGE DATABASES [APP.NAME ...]

It runs the project's manage.py, which sets up the project, up to the point where that would run a
command. Each line of the answer is MARK and a JSON list of a kind and a text. All other lines on
stdout come from the project. With names it answers which of these migrations the release knows, and
asks no database.

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
    """Returns all migrations of the release, and those that its squashed migrations replace."""
    known = set(loader.disk_migrations)
    for migration in loader.disk_migrations.values():
        known.update(tuple(key) for key in migration.replaces)
    return known


def stands_for(loader, names):
    """Yields the squashed migrations among the named ones, with the migrations that they replace."""
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
        fail("no database %r in the settings: they have %s" % (alias, ", ".join(connections)))
    try:
        connection = connections[alias]
    except Exception as e:
        fail("open the database %s: %s" % (alias, e))
    try:
        connection.ensure_connection()
    except Exception as e:
        fail("connect to the database %s (%s): %s" % (alias, describe(connection.settings_dict), e))
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
    # Like Python for a script: its directory comes first, not the working directory.
    sys.path[0] = os.path.dirname(os.path.abspath(manage))
    try:
        from django.core import management
    except ImportError as e:
        fail("import Django with %s: %s" % (sys.executable, e))

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
            fail("%s exited before it ran a command: %s" % (manage, e.code))
        raise
    except BaseException as e:
        import traceback

        traceback.print_exc()
        fail("%s: %s: %s" % (manage, type(e).__name__, e))
    fail("%s did not call django.core.management.execute_from_command_line" % manage)


main()
