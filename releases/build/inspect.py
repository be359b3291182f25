"""Says what an interpreter is, and what a lock asks of it, in pip's own reading. Usage: inspect.py PIP ANSWER QUESTION

QUESTION and ANSWER are files of JSON. pip's internals are safe to use here, because PIP is the directory of the one version of pip
that superctl pins.
"""

import json
import os
import platform
import sys
import sysconfig

sys.path.insert(0, sys.argv[1])

from pip._vendor.packaging import tags  # noqa: E402
from pip._vendor.packaging.specifiers import SpecifierSet  # noqa: E402


class UnknownError(Exception):
    """Something is asked for that the lock does not have."""


def libc():
    name, version = platform.libc_ver()
    if name:
        return f"{name} {version}"
    for tag in tags.sys_tags():
        if tag.platform.startswith("musllinux_"):
            return "musl " + ".".join(tag.platform.split("_")[1:3])
    return ""


def scheme():
    name = "venv" if "venv" in sysconfig.get_scheme_names() else "posix_prefix"
    base = dict.fromkeys(("base", "platbase", "installed_base", "installed_platbase"), "")
    paths = {key: path.lstrip("/") for key, path in sysconfig.get_paths(name, base).items()}
    headers = "include/site/python%d.%d" % sys.version_info[:2]  # pip's, sysconfig has none
    return {"purelib": paths["purelib"], "platlib": paths["platlib"], "scripts": paths["scripts"], "headers": headers}


def facts():
    return {
        "implementation": sys.implementation.name,
        "version": platform.python_version(),
        "abi": next(iter(tags.sys_tags())).abi,
        "platform": sysconfig.get_platform(),
        "libc": libc(),
        "build": sys.version,
        "tags": [str(tag) for tag in tags.sys_tags()],
        "scheme": scheme(),
    }


def requirements(path):
    from pip._internal.network.session import PipSession
    from pip._internal.req.constructors import install_req_from_parsed_requirement
    from pip._internal.req.req_file import parse_requirements

    for parsed in parse_requirements(path, session=PipSession()):
        if parsed.constraint:
            continue
        req = install_req_from_parsed_requirement(parsed)
        link = req.link
        hashes = (parsed.options or {}).get("hashes") or {}
        yield {
            "line": parsed.requirement,
            "hashes": sorted(f"{name}:{value}" for name, values in hashes.items() for value in values),
            "hashed": req.has_hash_options or bool(link and link.hash),
            "where": (parsed.comes_from or "").removeprefix("-r "),
            "path": link.file_path if link and link.is_existing_dir() else "",
            "applies": req.match_markers(),
        }


def with_hashes(line, files):
    known = ("sha256", "sha384", "sha512")
    found = {f"{name}:{value}" for one in files for name, value in one.hashes.items() if name in known}
    return line + "".join(f" --hash={one}" for one in sorted(found))


def pylock(path, extras, groups):
    """The packages of a pylock.toml that are for this interpreter, as lines of a requirements file."""
    from pip._internal.utils.compat import tomllib
    from pip._vendor.packaging.pylock import Pylock

    base = os.path.dirname(os.path.abspath(path))

    def located(one):
        return (one.url or "file://" + os.path.join(base, one.path)) + at(one.subdirectory)

    def at(directory):
        return f"#subdirectory={directory}" if directory else ""

    with open(path, "rb") as f:
        lock = Pylock.from_dict(tomllib.load(f))
    for what, wanted, known in (("extra", extras, lock.extras), ("group", groups, lock.dependency_groups)):
        for name in set(wanted) - set(known or []):
            raise UnknownError(f"it has no {what} {name}")
    chosen = {*(lock.default_groups or []), *groups}
    for package, _ in lock.select(extras=extras, dependency_groups=chosen):
        if package.directory:
            yield os.path.normpath(os.path.join(base, package.directory.path, package.directory.subdirectory or ""))
        elif package.vcs:
            vcs = package.vcs
            where = vcs.url or "file://" + os.path.join(base, vcs.path)
            yield f"{package.name} @ {vcs.type}+{where}@{vcs.commit_id}{at(vcs.subdirectory)}"
        elif package.archive:
            yield with_hashes(f"{package.name} @ {located(package.archive)}", [package.archive])
        else:
            files = [*(package.wheels or []), *([package.sdist] if package.sdist else [])]
            yield with_hashes(f"{package.name}=={package.version}", files)


def answer(question):
    said = {"facts": facts()}
    if question.get("requires"):
        said["fits"] = SpecifierSet(question["requires"]).contains(platform.python_version(), prereleases=True)
    if question.get("pylock"):
        with open(question["requirements"], "w", encoding="utf-8") as f:
            f.writelines(line + "\n" for line in pylock(question["pylock"], question.get("extras", []), question.get("groups", [])))
    if question.get("requirements"):
        said["requirements"] = list(requirements(question["requirements"]))
    return said


def main():
    with open(sys.argv[3], encoding="utf-8") as f:
        question = json.load(f)
    try:
        said = answer(question)
    except Exception as e:
        if not isinstance(e, UnknownError) and not type(e).__module__.startswith(("pip.", "tomllib")):
            raise
        said = {"error": " ".join(str(e).split())}
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        json.dump(said, f)


main()
