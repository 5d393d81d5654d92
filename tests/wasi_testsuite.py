"""Run a folder of the public wasi-testsuite's preview 1 modules through `balenawasm run`.

    scripts/wasi-testsuite FOLDER [--placement host|tmpfs|overlay]… [--json]

FOLDER has the layout of the suite's branch with prebuilt modules: each directory with `*.wasm`
files is a suite; beside a module there may be a manifest of the same name, `.json`: `args`, `env`,
`root` (a directory that the guest sees as `/`), `exit_code`, `stdout`, `stderr`, or the newer
`operations`. `manifest.json` names the suite and its version of WASI; other versions than preview 1
are left out.

Each module runs once in each placement of its root: `host`, a directory of the host (`-v DIR:/`);
`tmpfs`, in memory (`--tmpfs /:from=DIR`); `overlay`, an image whose layer holds the root and the
modules. It always gets a fresh copy. The environment is exactly the manifest's.

The exit status is 0 when all passed, 1 when some failed, 2 when there was nothing to run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PREVIEW_1 = "wasm32-wasip1"
PLACEMENTS = ("host", "tmpfs", "overlay")
MODULES_IN_IMAGE = "/usr/lib/wasi-testsuite"
DEFAULT_COMMAND = Path(sys.executable).with_name("balenawasm")
SHOWN_OUTPUT = 400


@dataclass(frozen=True)
class Module:
    """One test: what it is given, and what it must do."""

    path: Path
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    root: Path | None = None
    exit_code: int = 0
    stdout: str | None = None
    stderr: str | None = None

    @property
    def name(self) -> str:
        return self.path.stem


@dataclass(frozen=True)
class Suite:
    """One directory of modules."""

    name: str
    directory: Path
    modules: tuple[Module, ...]


@dataclass
class Result:
    """How a suite went in one placement; `failures` maps a module to the reason."""

    suite: str
    placement: str
    total: int
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> int:
        return self.total - len(self.failures)


class SuiteError(Exception):
    """The folder cannot be read as a test suite, or its image cannot be built."""


def read_suites(folder: Path) -> list[Suite]:
    """Every suite of preview 1 below `folder`."""
    directories = sorted({path.parent for path in folder.rglob("*.wasm")})
    suites = []
    for directory in directories:
        manifest = _json(directory / "manifest.json")
        version = manifest.get("version", directory.name)
        if version.startswith("wasm32-") and version != PREVIEW_1:
            continue
        modules = tuple(read_module(path) for path in sorted(directory.glob("*.wasm")))
        name = manifest.get("name") or str(directory.relative_to(folder))
        suites.append(Suite(name, directory, modules))
    return suites


def read_module(path: Path) -> Module:
    """A module with its manifest, in the older or the newer form."""
    manifest = _json(path.with_suffix(".json"))
    fields: dict[str, Any] = {}
    if "operations" in manifest:
        for operation in manifest["operations"]:
            kind = operation.get("type")
            if kind == "read":
                fields[operation.get("id", "stdout")] = operation.get("payload", "")
            elif kind in ("run", "wait"):
                fields.update(operation)
            else:
                raise SuiteError(f"{path}: the operation {kind!r} is not one of preview 1's")
    else:
        fields = manifest
    root = fields.get("root")
    if root is not None and not (path.parent / root).is_dir():
        raise SuiteError(f"{path}: its root {root} is no directory")
    return Module(
        path=path,
        args=tuple(fields.get("args", ())),
        env=tuple(fields.get("env", {}).items()),
        root=path.parent / root if root is not None else None,
        exit_code=fields.get("exit_code", 0),
        stdout=fields.get("stdout"),
        stderr=fields.get("stderr"),
    )


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SuiteError(f"{path}: {error}") from error
    if not isinstance(value, dict):
        raise SuiteError(f"{path}: not a JSON object")
    return value


class Runner:
    """Runs modules with one command and one state directory; `scratch` is its own."""

    def __init__(self, command: Path, home: Path, scratch: Path, timeout: float) -> None:
        self._command = command
        self._environment = {**os.environ, "BALENAWASM_HOME": str(home)}
        self._scratch = scratch
        self._timeout = timeout
        self._images: dict[tuple[Path, Path | None], str] = {}

    def build_images(self, suite: Suite) -> None:
        """Build what `overlay` needs: an image for each root, the modules in it. SuiteError."""
        for root in {module.root for module in suite.modules}:
            number = len(self._images)
            context = self._scratch / f"context-{number}"
            shutil.copytree(root, context / "root") if root else (context / "root").mkdir(
                parents=True
            )
            (context / "modules").mkdir()
            for module in suite.modules:
                if module.root == root:
                    shutil.copy(module.path, context / "modules")
            (context / "Balenafile").write_text(
                f"FROM scratch\nCOPY root /\nCOPY modules {MODULES_IN_IMAGE}\n", encoding="utf-8"
            )
            name = f"wasi-testsuite-{number}"
            done = self._call("build", "-t", name, str(context))
            if done.returncode:
                raise SuiteError(f"the image of {suite.name} cannot be built: {done.stderr}")
            self._images[suite.directory, root] = name

    def run(self, suite: Suite, module: Module, placement: str) -> str | None:
        """Run one module; why it failed, or None."""
        with tempfile.TemporaryDirectory(dir=self._scratch) as name:
            options = [word for pair in module.env for word in ("-e", "=".join(pair))]
            program = [str(module.path)]
            if placement == "overlay":
                image = self._images[suite.directory, module.root]
                entry = f"{MODULES_IN_IMAGE}/{module.path.name}"
                program = ["--unsetenv-all", "--entrypoint", entry, image]
            elif module.root is not None and placement == "tmpfs":
                options += ["--tmpfs", f"/:from={module.root}"]
            elif module.root is not None:
                root = Path(name) / "root"
                shutil.copytree(module.root, root, symlinks=True)
                options += ["-v", f"{root}:/"]
            try:
                done = self._call("run", *options, *program, *module.args)
            except subprocess.TimeoutExpired:
                return f"it did not end within {self._timeout:.0f} s"
        return _difference(module, done)

    def _call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self._command), *words],
            env=self._environment,
            cwd=self._scratch,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=self._timeout,
            check=False,
        )


def _difference(module: Module, done: subprocess.CompletedProcess[str]) -> str | None:
    if done.returncode != module.exit_code:
        said = (done.stderr or done.stdout).strip()[-SHOWN_OUTPUT:]
        return f"exit status {done.returncode}, not {module.exit_code}: {said}"
    for stream, wanted, got in (
        ("stdout", module.stdout, done.stdout),
        ("stderr", module.stderr, done.stderr),
    ):
        if wanted is not None and got != wanted:
            return f"{stream} is {got[:SHOWN_OUTPUT]!r}, not {wanted[:SHOWN_OUTPUT]!r}"
    return None


def run_suites(
    suites: Iterable[Suite], runner: Runner, placements: Sequence[str], jobs: int
) -> list[Result]:
    """Run everything; progress goes to standard error."""
    results = []
    with ThreadPoolExecutor(jobs) as pool:
        for suite in suites:
            if "overlay" in placements:
                runner.build_images(suite)
            for placement in placements:
                result = Result(suite.name, placement, len(suite.modules))
                runs = pool.map(
                    lambda module, suite=suite, placement=placement: runner.run(
                        suite, module, placement
                    ),
                    suite.modules,
                )
                for done, (module, reason) in enumerate(zip(suite.modules, runs, strict=True), 1):
                    if reason is not None:
                        result.failures[module.name] = reason
                        _tell(f"FAILED {placement:8} {suite.name}: {module.name}: {reason}\n")
                    if sys.stderr.isatty():
                        _tell(f"\r{placement:8} {suite.name}: {done}/{result.total}\033[K\r")
                results.append(result)
    return results


def _tell(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _as_json(results: Sequence[Result]) -> str:
    document = {
        "passed": sum(result.passed for result in results),
        "total": sum(result.total for result in results),
        "suites": [
            {
                "suite": result.suite,
                "placement": result.placement,
                "passed": result.passed,
                "total": result.total,
                "failures": result.failures,
            }
            for result in results
        ],
    }
    return json.dumps(document, indent=2)


def _as_table(results: Sequence[Result], placements: Sequence[str]) -> str:
    width = max(len(result.suite) for result in results)
    lines = [f"{'':{width}}" + "".join(f"{placement:>10}" for placement in placements)]
    by_suite: dict[str, list[Result]] = {}
    for result in results:
        by_suite.setdefault(result.suite, []).append(result)
    for suite, row in by_suite.items():
        cells = "".join(f"{f'{result.passed}/{result.total}':>10}" for result in row)
        lines.append(f"{suite:{width}}{cells}")
    sums = [
        (
            sum(r.passed for r in results if r.placement == placement),
            sum(r.total for r in results if r.placement == placement),
        )
        for placement in placements
    ]
    lines.append(f"{'passed':{width}}" + "".join(f"{f'{a}/{b}':>10}" for a, b in sums))
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wasi-testsuite",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--placement", action="append", choices=PLACEMENTS, help="where the root is; default: all"
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="modules at once")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for one module")
    parser.add_argument(
        "--command", type=Path, default=DEFAULT_COMMAND, help="the balenawasm command to test"
    )
    parser.add_argument(
        "--without-accelerator", action="store_true", help="test the Python path alone"
    )
    parser.add_argument("--home", type=Path, help="its state directory; default: a temporary one")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line names; returns the exit status."""
    options = _parser().parse_args(arguments)
    placements = tuple(dict.fromkeys(options.placement or PLACEMENTS))
    with tempfile.TemporaryDirectory(prefix="wasi-testsuite-") as name:
        scratch = Path(name)
        home = (options.home or scratch / "home").absolute()
        home.mkdir(parents=True, exist_ok=True)
        if options.without_accelerator:
            (home / "without-accelerator").touch()
        try:
            suites = read_suites(options.folder.resolve())
            if not suites:
                raise SuiteError(f"there are no preview 1 modules in {options.folder}")
            runner = Runner(options.command.absolute(), home, scratch, options.timeout)
            results = run_suites(suites, runner, placements, max(1, options.jobs))
        except (SuiteError, OSError) as error:
            _tell(f"wasi-testsuite: {error}\n")
            return 2
    print(_as_json(results) if options.json else _as_table(results, placements))
    return 0 if all(not result.failures for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
