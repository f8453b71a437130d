"""Tell Studio about this interpreter: one JSON object on standard output.

Runs isolated (python -I) in interpreters from 3.6 on, with nothing installed.
Arguments: requirements files to check.
"""

import json
import os
import re
import sys
import sysconfig

try:
    from importlib import metadata
except ImportError:  # before 3.8
    metadata = None


def packaging_module():
    for name in ("packaging", "pip._vendor.packaging", "setuptools._vendor.packaging"):
        try:
            __import__(name + ".requirements")
            return sys.modules[name]
        except Exception:
            continue
    return None


def release(version):
    return [int(part) for part in re.findall(r"\d+", version.split("+")[0])]


def holds(version, operator, wanted):
    """Compare release numbers: enough where no packaging library is installed."""
    have, want = release(version), release(wanted)
    star = wanted.endswith(".*")
    if star or operator == "~=":
        prefix = want if star else want[:-1]
        if operator == "~=" and have < want:
            return False
        same = have[: len(prefix)] == prefix
        return not same if operator == "!=" else same
    size = max(len(have), len(want))
    have += [0] * (size - len(have))
    want += [0] * (size - len(want))
    return {
        "==": have == want,
        "===": have == want,
        "!=": have != want,
        ">=": have >= want,
        "<=": have <= want,
        ">": have > want,
        "<": have < want,
    }[operator]


def installed(name):
    if metadata is not None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None
    try:
        import pkg_resources

        return pkg_resources.get_distribution(name).version
    except Exception:
        return None


def declared(path):
    """The dependencies that a pyproject.toml declares."""
    try:
        import tomllib
    except ImportError:  # before 3.11
        from pip._vendor import tomli as tomllib
    with open(path, "rb") as f:
        project = tomllib.load(f).get("project", {})
    if "dependencies" in project.get("dynamic", []):
        sys.exit(path + " computes its dependencies when it is built; list them in requirements.txt")
    return project.get("dependencies", [])


def lines(path, seen):
    """The requirements of a file and of those it includes, one text each."""
    path = os.path.abspath(path)
    if path in seen:
        return
    seen.add(path)
    if path.endswith(".toml"):
        yield from declared(path)
        return
    with open(path, encoding="utf-8") as f:
        text = f.read().replace("\\\n", " ")
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        include = re.match(r"(?:-r|--requirement)[\s=]*(\S.*)$", line)
        if include:
            yield from lines(os.path.join(os.path.dirname(path), include.group(1)), seen)
        elif line.startswith(("-e", "--editable")):
            yield line
        elif line and not line.startswith("-"):
            yield re.sub(r"\s--\w.*$", "", line)  # per-requirement options such as --hash


def lacking(text, packaging):
    """Why the requirement is not met; None when it is."""
    if packaging is not None:
        try:
            req = packaging.requirements.Requirement(text)
        except Exception:
            return text + " (only pip can tell)"
        if req.marker is not None and not req.marker.evaluate({"extra": ""}):
            return None
        have = installed(req.name)
        if have is None:
            return text + " (not installed)"
        if not req.specifier.contains(have, prereleases=True):
            return text + " (" + have + " is installed)"
        return None
    match = re.match(r"([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*\(?([^;@)]*)\)?$", text)
    if match is None:
        return text + " (only pip can tell)"
    have = installed(match.group(1))
    if have is None:
        return text + " (not installed)"
    for spec in filter(None, (s.strip() for s in match.group(2).split(","))):
        part = re.match(r"(===|==|!=|>=|<=|~=|>|<)\s*([\w.*+!-]+)$", spec)
        if part is None:
            return text + " (only pip can tell)"
        if not holds(have, part.group(1), part.group(2)):
            return text + " (" + have + " is installed)"
    return None


def libraries():
    """Files mapped into this process: where its shared libraries really lie."""
    for module in ("ssl", "sqlite3", "ctypes", "zlib", "lzma"):
        try:
            __import__(module)
        except Exception:
            pass  # an interpreter built without it still works
    found = set()
    with open("/proc/self/maps") as maps:
        for line in maps:
            path = line.split(maxsplit=5)[-1].strip()
            if path.startswith("/") and ".so" in os.path.basename(path):
                found.add(path)
    return sorted(found)


def main():
    packaging = packaging_module()
    missing = []
    wanted = []
    seen = set()
    for path in sys.argv[1:]:
        for text in lines(path, seen):
            wanted.append(text)
            why = lacking(text, packaging)
            if why is not None:
                missing.append(why)
    paths = sysconfig.get_paths()
    json.dump(
        {
            "version": ".".join(str(n) for n in sys.version_info[:3]),
            "executable": sys.executable,
            "prefix": sys.prefix,
            "basePrefix": sys.base_prefix,
            "execPrefix": sys.base_exec_prefix,
            "stdlib": [paths["stdlib"], paths["platstdlib"]],
            "path": [p for p in sys.path if os.path.isdir(p)],
            "libraries": libraries(),
            "missing": missing,
            "wanted": wanted,
            "pip": any(os.path.isdir(os.path.join(p, "pip")) for p in sys.path),
            "conda": os.path.isdir(os.path.join(sys.base_prefix, "conda-meta")),
        },
        sys.stdout,
    )


main()
