"""What NVIDIA's tensorrt package has, read from its own wheel; and what our code uses of it.

The wheel of the bindings alone is on the ordinary index, but importing it takes NVIDIA's libraries,
which are not. It calls nothing of them while it is imported: libraries with the right names and
nothing in them will do, and then every class shows its methods and their signatures.

``tests/tensorrt_names.json`` has what all supported versions have in common, of the classes that
our code uses. ``python tests/tensorrt_names.py`` writes it anew.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NAMES = Path(__file__).with_suffix(".json")
USERS = [
    ROOT / path
    for path in (
        "export/tensorrt.py",
        "export/tensorrt_progress.py",
        "export/tensorrt_timings.py",
        "models/runtimes/tensorrt.py",
        "models/runtimes/tensorrt_package.py",
    )
]
# the oldest and the newest that we support, as pip names them
WHEELS = ("tensorrt-cu12-bindings==10.8.0.43", "tensorrt-cu13-bindings>=11,<12")
CLASSES = (
    "Builder",
    "BuilderFlag",
    "DataType",
    "ExecutionContextAllocationStrategy",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILogger",
    "ILogger.Severity",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IProgressMonitor",
    "ITimingCache",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "ParserError",
    "Runtime",
)

_LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
_ENTRIES = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
_READER = """
import functools, json, sys
import tensorrt_bindings as trt
found = {}
for path in json.loads(sys.argv[1]):
    kind = functools.reduce(getattr, path.split("."), trt)
    public = [n for n in dir(kind) if n == "__init__" or not n.startswith("_")]
    members = {name: getattr(kind, name) for name in public}
    plain = [n for n, m in members.items() if not callable(m) and not isinstance(m, property)]
    found[path] = {
        "docs": {n: m.__doc__ or "" for n, m in members.items() if callable(m)},
        "properties": [n for n, m in members.items() if isinstance(m, property)],
        "values": plain,
    }
print(json.dumps({"version": trt.__version__, "names": dir(trt), "classes": found}))
"""

Classes = dict[str, dict[str, Any]]


class Unavailable(Exception):
    """Why the wheels cannot be read here."""


def wheel(requirement: str, folder: Path, holds: str = "tensorrt_bindings/*.so") -> Path:
    """A wheel, unpacked; fetched if it is not there, which ``holds`` tells."""
    place = folder / re.sub(r"\W+", "-", requirement)
    if not any(place.glob(holds)):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        command += ["--dest", str(place), requirement]
        fetched = subprocess.run(command, capture_output=True, text=True)
        if fetched.returncode:
            raise Unavailable(f"{requirement} cannot be fetched: {fetched.stderr.strip()[-200:]}")
        with zipfile.ZipFile(next(place.glob("*.whl"))) as archive:
            archive.extractall(place)
    return place


def read(place: Path) -> tuple[str, list[str], Classes]:
    """Version, public names and CLASSES of an unpacked wheel."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        raise Unavailable("reading the wheel takes Linux and a C compiler")
    (info,) = place.glob("*.dist-info")
    major = info.name.partition("-")[2].partition(".")[0]
    empty = place / "empty"
    empty.mkdir(exist_ok=True)
    (empty / "empty.c").write_text(
        "".join(f"void *{name}() {{ return 0; }}\n" for name in _ENTRIES)
    )
    for name in _LIBRARIES:
        file = f"lib{name}.so.{major}"
        command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{file}", "-o", str(empty / file)]
        subprocess.run([*command, str(empty / "empty.c")], check=True)
    shown = subprocess.run(
        [sys.executable, "-c", _READER, json.dumps(CLASSES)],
        env={**os.environ, "LD_LIBRARY_PATH": str(empty), "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
    )
    if shown.returncode:
        raise Unavailable(f"{info.name} cannot be imported here: {shown.stderr.strip()[-300:]}")
    told = json.loads(shown.stdout)
    classes = {name: _class(members) for name, members in told["classes"].items()}
    return told["version"], told["names"], classes


def _class(members: dict[str, Any]) -> dict[str, Any]:
    methods = {name: _overloads(name, doc) for name, doc in sorted(members["docs"].items())}
    return {
        "methods": {name: found for name, found in methods.items() if found},
        "properties": sorted(members["properties"]),
        "values": sorted(members["values"]),
    }


def _overloads(name: str, doc: str) -> list[dict[str, Any]]:
    found = []
    for line in doc.splitlines():
        match = re.match(rf"^(?:\d+\. )?{name}\((.*)\) -> (.*)$", line)
        if match and not match[1].startswith("*args"):
            found.append({"takes": _parameters(match[1]), "gives": _plain(match[2])})
    return found


def _parameters(text: str) -> list[str]:
    """Names without ``self``, an ``=`` behind those that may be left out."""
    flat = text
    while (inner := re.sub(r"<[^<>]*>|\[[^\[\]]*\]|\([^()]*\)", "", flat)) != flat:
        flat = inner
    names = [
        part.partition(":")[0].strip() + ("=" if "=" in part else "") for part in flat.split(",")
    ]
    return [name for name in names if name and name != "self"]


def _plain(kind: str) -> str:
    kind = kind.replace("nvonnxparser::IParserError", "ParserError")
    return kind.replace("tensorrt_bindings.tensorrt.", "")


def common(some: Classes, others: Classes) -> Classes:
    """What two versions both have."""
    both: Classes = {}
    for name, own in some.items():
        theirs = others[name]
        methods = {
            method: [each for each in overloads if each in theirs["methods"].get(method, [])]
            for method, overloads in own["methods"].items()
        }
        both[name] = {
            "methods": {method: found for method, found in methods.items() if found},
            "properties": [n for n in own["properties"] if n in theirs["properties"]],
            "values": [n for n in own["values"] if n in theirs["values"]],
        }
    return both


def known() -> Classes:
    """The classes of ``tensorrt_names.json``."""
    classes: Classes = json.loads(NAMES.read_text(encoding="utf-8"))
    return classes


def exists(name: str, modules: list[str], classes: Classes) -> bool:
    """Whether there is such a class, member or function."""
    kind, _, member = name.rpartition(".")
    if kind in classes:
        members = classes[kind]
        return any(member in members[part] for part in members) or name in classes
    return name in classes or name in modules


def used(path: Path, classes: Classes) -> set[str]:
    """Names that a file uses, as ``IBuilderConfig.clear_flag`` or ``nptype``."""
    finder = _Finder(classes)
    finder.visit(ast.parse(path.read_text(encoding="utf-8")))
    return finder.found


class _Finder(ast.NodeVisitor):
    """Follows objects whose class is known from how they are made or annotated."""

    def __init__(self, classes: Classes) -> None:
        self.classes = classes
        self.kinds: dict[str, str] = {}  # class of a variable, as ast.unparse writes it
        self.found: set[str] = set()

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.module != "tensorrt", "use trt.NAME, which this can see"

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        before = dict(self.kinds)
        for argument in node.args.args:
            if argument.annotation is not None:
                self._learn(argument.arg, self._annotated(argument.annotation))
        self.generic_visit(node)
        self.kinds = before | {name: k for name, k in self.kinds.items() if "self." in name}

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        self._learn(ast.unparse(node.targets[0]), self._kind(node.value))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.generic_visit(node)
        kind = node.value and self._kind(node.value)
        self._learn(ast.unparse(node.target), self._annotated(node.annotation) or kind)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        name = ast.unparse(node)
        if name.startswith("trt."):
            self.found.add(name.removeprefix("trt."))
        elif (kind := self._kind(node.value)) is not None:
            self.found.add(f"{kind}.{node.attr}")

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in map(ast.unparse, node.bases):
            if base.startswith("trt."):
                kind = base.removeprefix("trt.")
                own = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
                self.found |= {f"{kind}.{name}" for name in own & self._abstract(kind)}
        self.generic_visit(node)

    def _abstract(self, kind: str) -> set[str]:
        return set(self.classes[kind]["methods"])

    def _learn(self, name: str, kind: str | None) -> None:
        self.kinds.pop(name, None)
        if kind is not None:
            self.kinds[name] = kind

    def _annotated(self, node: ast.expr) -> str | None:
        name = ast.unparse(node).removeprefix("trt.")
        return name if name in self.classes else None

    def _kind(self, node: ast.expr) -> str | None:
        if not isinstance(node, ast.Call):
            return self.kinds.get(ast.unparse(node))
        made = ast.unparse(node.func).removeprefix("trt.")
        if made in self.classes:
            return made
        if isinstance(node.func, ast.Attribute) and (kind := self._kind(node.func.value)):
            overloads = self.classes[kind]["methods"].get(node.func.attr, [])
            gives = {each["gives"] for each in overloads}
            return next((name for name in gives if name in self.classes), None)
        return None


if __name__ == "__main__":
    cache = ROOT / ".pytest_cache" / "tensorrt"
    oldest, newest = (read(wheel(each, cache))[2] for each in WHEELS)
    text = json.dumps(common(oldest, newest), indent=1, sort_keys=True)
    NAMES.write_text(re.sub(r"\n {3,}", " ", text) + "\n", encoding="utf-8")
