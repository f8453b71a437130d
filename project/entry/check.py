"""Look at an entry point without running it: one JSON object on standard output.

Arguments: the file, and the name of a function or nothing. Runs isolated in the
project's interpreter, from 3.6 on, with nothing installed.
"""

import ast
import importlib.util
import json
import os
import sys


def cells(path):
    """The code cells of a notebook, with what only a kernel can run left out."""
    with open(path, encoding="utf-8") as f:
        notebook = json.load(f)
    for number, cell in enumerate(notebook["cells"], 1):
        if cell.get("cell_type") != "code":
            continue
        source = cell.get("source", "")
        lines = (source if isinstance(source, str) else "".join(source)).splitlines()
        if lines and lines[0].startswith("%%"):
            continue
        kept = ["pass" if line.lstrip()[:1] in ("!", "%", "?") else line for line in lines]
        yield number, "\n".join(kept), "parameters" in cell.get("metadata", {}).get("tags", [])


def missing(tree, where):
    """Modules that the code imports at its top and that are not to be had."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        else:
            continue
        for name in names:
            root = name.split(".")[0]
            try:
                found = root in sys.modules or importlib.util.find_spec(root) is not None
            except Exception:
                found = True  # an import hook that has its own mind
            if not found:
                yield dict(where, line=node.lineno, module=root)


def signature(function):
    spec = function.args
    named = [a.arg for a in getattr(spec, "posonlyargs", []) + spec.args]
    required = named[: len(named) - len(spec.defaults)]
    required += [a.arg for a, default in zip(spec.kwonlyargs, spec.kw_defaults) if default is None]
    return {
        "accepts": named + [a.arg for a in spec.kwonlyargs],
        "required": required,
        "any": spec.kwarg is not None,
        "line": function.lineno,
    }


def main():
    path, function = sys.argv[1], sys.argv[2]
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    answer = {"missing": [], "functions": {}, "parameters": None}
    where = {}
    try:
        if path.endswith(".ipynb"):
            for number, source, tagged in cells(path):
                where = {"cell": number}
                tree = ast.parse(source)
                answer["missing"] += missing(tree, where)
                if tagged:
                    answer["parameters"] = [
                        target.id
                        for node in tree.body
                        if isinstance(node, (ast.Assign, ast.AnnAssign))
                        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
                        if isinstance(target, ast.Name)
                    ]
        else:
            with open(path, "rb") as f:
                tree = ast.parse(f.read())
            answer["missing"] += missing(tree, where)
            if function:
                answer["functions"] = {
                    node.name: signature(node) for node in tree.body if isinstance(node, ast.FunctionDef)
                }
    except SyntaxError as e:
        answer["syntax"] = dict(where, line=e.lineno or 0, column=e.offset or 0, message="this is not valid Python: " + e.msg)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        answer["syntax"] = dict(where, line=0, column=0, message="this is no notebook: %s" % e)
    json.dump(answer, sys.stdout)


main()
