"""List what is installed: one JSON object on standard output.

Runs isolated (python -I) in interpreters from 3.8 on, with nothing installed.
"""

import hashlib
import json
import os
import platform
import re
import sys
import sysconfig
from importlib import metadata


def source(dist):
    """Where a distribution came from, as its installer noted."""
    text = dist.read_text("direct_url.json")
    if text:
        noted = json.loads(text)
        if noted.get("dir_info", {}).get("editable"):
            return "editable " + noted["url"]
        vcs = noted.get("vcs_info")
        return noted["url"] + ("@" + vcs["commit_id"] if vcs else "")
    installer = (dist.read_text("INSTALLER") or "").strip()
    return installer or "system"


def digest(dist):
    """A hash over the hashes of all installed files, else over what describes it."""
    record = dist.read_text("RECORD")
    if record:
        # What the installer and the interpreter add differs from machine to machine.
        kept = [line for line in record.splitlines() if not re.search(r"\.pyc,|^\.\./.*bin/|/(RECORD|INSTALLER|REQUESTED|direct_url\.json),", line)]
        record = "\n".join(sorted(kept))
    text = record or dist.read_text("METADATA") or dist.read_text("PKG-INFO") or ""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def main():
    found = {}
    for dist in metadata.distributions():
        name = dist.metadata["Name"]
        if not name:
            continue  # what a broken installation left
        name = re.sub(r"[-_.]+", "-", name).lower()
        if name not in found:  # the first on the path is the one that is imported
            found[name] = {"name": name, "version": dist.version, "hash": digest(dist), "source": source(dist)}
    json.dump(
        {
            "python": platform.python_version(),
            "implementation": sys.implementation.name,
            "platform": sysconfig.get_platform(),
            "packages": [found[name] for name in sorted(found)],
        },
        sys.stdout,
    )


main()
