import json, os, platform, sys, sysconfig

version = "%d%d" % sys.version_info[:2]
if sys.implementation.name == "cpython":
    abi = "cp" + version + ("t" if sysconfig.get_config_var("Py_GIL_DISABLED") else "") + ("d" if sysconfig.get_config_var("Py_DEBUG") else "")
else:
    abi = (sysconfig.get_config_var("SOABI") or "").replace("-", "_")

libc = " ".join(platform.libc_ver()).strip()
if not libc and "musl" in (sysconfig.get_config_var("SOABI") or ""):
    loaded = [line.split()[-1] for line in open("/proc/self/maps") if "/ld-musl-" in line or "/libc.musl-" in line]
    said = os.popen("'%s' 2>&1" % loaded[0]).read() if loaded else ""
    libc = "musl " + said.partition("Version ")[2].split("\n")[0]

scheme = "venv" if "venv" in sysconfig.get_scheme_names() else "posix_prefix"
base = dict.fromkeys(("base", "platbase", "installed_base", "installed_platbase"), "")
paths = {name: path.lstrip("/") for name, path in sysconfig.get_paths(scheme, base).items()}

path = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
named = os.path.join(os.path.dirname(path), "python%d.%d" % sys.version_info[:2])
if os.path.exists(named) and os.path.samefile(named, path):
    path = named

print("superctl: " + json.dumps({
    "implementation": sys.implementation.name, "version": platform.python_version(), "abi": abi,
    "platform": sysconfig.get_platform(), "libc": libc, "path": path,
    "scheme": {"purelib": paths["purelib"], "platlib": paths["platlib"], "scripts": paths["scripts"],
               "headers": "include/site/python%d.%d" % sys.version_info[:2]},
}))
