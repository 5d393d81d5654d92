"""Run BusyBox's own test suites on our BusyBox and on a native one of the same configuration.

    scripts/busybox-testsuite [--json] [--only PATTERN]… [--side wasm|native]…

Both suites of the source package: `shell/hush_test` (a script and what it must print) and
`testsuite` (scripts that print PASS or FAIL for each case, and old ones that just succeed). Each
side runs in one container or one chroot with the same tree, BusyBox being every program in it, the
shell included. The suites are divided into units, one directory of hush tests or the tests of one
applet, of which as many run at once as there are processors. Each unit has a copy of what it writes
to; each hush test and each applet has a limit of time.

The exit status is 0 when wasm meets the bars, 1 when it does not, 2 when nothing could be run.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.busybox_native import NativeBusyBox, in_root, make_root, native_busybox

if TYPE_CHECKING:
    from collections.abc import Sequence

IMAGE = "balenaos/busybox"
DEFAULT_COMMAND = Path(sys.executable).with_name("balenawasm")
SIDES = ("native", "wasm")
HUSH_BAR = 330
APPLET_BAR = 0.97
VARIABLES = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "ECHO": "echo",
    "JOBS": str(os.cpu_count() or 1),
}
_CASE = re.compile(r"^(PASS|FAIL|SKIPPED|UNTESTED): (.*)$", re.MULTILINE)

RUN_ALL = """\
#!/bin/sh
mkdir -p /out
cd /suite || exit
xargs -n 1 -P "$JOBS" sh /suite/run-unit </suite/units
"""

RUN_UNIT = """\
#!/bin/sh
# run-unit hush/DIRECTORY, new/APPLET or old/APPLET
name=${1#*/}
export bindir=/suite tsdir=/suite/testsuite VERBOSE=1
case $1 in
hush/*)
	cd "/suite/hush/$name" || exit
	export THIS_SH=/suite/hush/hush
	PATH=/suite/hush:$PATH
	. /suite/variables
	for test in *.tests; do
		test -x "$test" && test -f "${test%.tests}.right" || continue
		timeout "$SECONDS_HUSH" "$THIS_SH" "./$test" >"/out/hush,$name,$test" 2>&1 </dev/null
		sed -i -e "/: invalid option /s:'::g" "/out/hush,$name,$test"
	done
	;;
new/*)
	mkdir -p "/suite/work/$name"
	cd "/suite/work/$name" || exit
	ln -s /suite/testsuite/* .
	PATH=/suite/testsuite:/suite:$PATH
	. /suite/options
	timeout "$SECONDS_APPLET" "./$name.tests" >"/out/new,$name" 2>&1 </dev/null
	;;
old/*)
	export d=/suite/testsuite
	for test in /suite/testsuite/"$name"/*; do
		mkdir -p "/suite/work/old-$name"
		cd "/suite/work/old-$name" || exit
		verdict=FAIL
		timeout 60 sh -x -e "$test" >"/suite/work/$name.log" 2>&1 </dev/null && verdict=PASS
		{ cat "/suite/work/$name.log"; echo "$verdict: ${test##*/}"; } >>"/out/old,$name"
		cd /
		rm -rf "/suite/work/old-$name"
	done
	;;
esac
"""


class SuiteError(Exception):
    """The suites cannot be run."""


@dataclass
class Outcome:
    """What one side printed, by unit and test, and how each case went."""

    hush: dict[str, bool] = field(default_factory=dict)
    applets: dict[str, str] = field(default_factory=dict)
    output: dict[str, str] = field(default_factory=dict)

    @property
    def hush_passed(self) -> int:
        return sum(self.hush.values())

    @property
    def applets_passed(self) -> int:
        return sum(verdict == "PASS" for verdict in self.applets.values())


def units_of(source: Path, only: Sequence[str]) -> list[str]:
    """Every unit of the suites, the long ones first, that one of the patterns means."""
    hush = sorted(path.name for path in (source / "shell" / "hush_test").glob("hush-*"))
    suite = source / "testsuite"
    config = (source / ".config").read_text()
    built = {link.rpartition("/")[2] for link in (source / "busybox.links").read_text().split()}
    new = sorted(path.stem for path in suite.glob("*.tests") if path.stem in {*built, "busybox"})
    old = sorted(path.name for path in suite.iterdir() if path.is_dir())
    old = [name for name in old if f"\nCONFIG_{name.upper()}=y\n" in config]
    # Natively these two would change the host.
    new = [name for name in new if name not in ("mount", "mdev")]
    units = [
        *(f"hush/{name}" for name in reversed(hush)),
        *(f"new/{name}" for name in new),
        *(f"old/{name}" for name in old),
    ]
    return [it for it in units if not only or any(fnmatch.fnmatch(it, text) for text in only)]


def prepare(source: Path, folder: Path, units: Sequence[str]) -> None:
    """Lay out /suite."""
    shutil.copytree(source / "testsuite", folder / "testsuite", symlinks=True)
    shutil.copytree(source / "shell" / "hush_test", folder / "hush", symlinks=True)
    shutil.copy(source / ".config", folder / ".config")
    for link in (folder / "hush" / "hush", folder / "busybox"):
        link.unlink(missing_ok=True)
        link.symlink_to("/bin/busybox")
    (folder / "work").mkdir()
    _remove_tests_without_feature(folder)
    (folder / "units").write_text("".join(f"{unit}\n" for unit in units))
    (folder / "run-all").write_text(RUN_ALL)
    (folder / "run-unit").write_text(RUN_UNIT)
    texts = [path.read_text(errors="replace") for path in folder.glob("hush/hush-*/*.tests")]
    used = {name for text in texts for name in re.findall(r"CONFIG_\w+", text)}
    lines = (folder / ".config").read_text().splitlines()
    variables = [f"export {line}\n" for line in lines if line.partition("=")[0] in used]
    (folder / "variables").write_text("".join(variables))
    options = [m[1] for line in lines if (m := re.match(r"CONFIG_(\w+)=", line))]
    (folder / "options").write_text(f"export OPTIONFLAGS=:{':'.join(options)}:\n")


def _remove_tests_without_feature(folder: Path) -> None:
    """Old tests may name an option that they need."""
    config = (folder / ".config").read_text()
    for test in folder.glob("testsuite/*/*"):
        if test.is_file():
            needed = re.search(r"^# FEATURE: (.*)$", test.read_text(errors="replace"), re.MULTILINE)
            if needed and any(f"# {it} is not set" in config for it in needed[1].split()):
                test.unlink()


def run_native(
    busybox: NativeBusyBox, suite: Path, scratch: Path, variables: dict[str, str]
) -> Path:
    """Run in a chroot; returns the folder with what was printed."""
    root = scratch / "root"
    make_root(busybox, root)
    shutil.copytree(suite, root / "suite", symlinks=True)
    done = in_root(root, ["/bin/sh", "/suite/run-all"], variables, 3600)
    sys.stderr.write(done.stdout.decode(errors="replace"))
    return root / "out"


def run_wasm(
    command: Path, home: Path, image: str, suite: Path, out: Path, variables: dict[str, str]
) -> None:
    """Run in one container of our image; what was printed goes to `out`."""
    options = [word for name, text in variables.items() for word in ("-e", f"{name}={text}")]
    mounts = ["--tmpfs", f"/suite:from={suite}", "-v", f"{out}:/out"]
    done = subprocess.run(
        [command, "run", *options, *mounts, image, "sh", "/suite/run-all"],
        env={**os.environ, "BALENAWASM_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=3600,
    )
    sys.stderr.write(done.stdout + done.stderr)


def read_outcome(source: Path, out: Path, units: Sequence[str]) -> Outcome:
    """Compare what was printed with what must be."""
    outcome = Outcome()
    for unit in units:
        kind, _, name = unit.partition("/")
        if kind == "hush":
            for right in sorted((source / "shell" / "hush_test" / name).glob("*.right")):
                test = right.with_suffix(".tests")
                if not test.exists() or not os.access(test, os.X_OK):
                    continue
                printed = out / f"hush,{name},{test.name}"
                actual = printed.read_bytes() if printed.exists() else b"(not run)"
                key = f"{name}/{test.stem}"
                outcome.hush[key] = actual == right.read_bytes()
                outcome.output[key] = actual.decode(errors="replace")
            continue
        printed = out / f"{kind},{name}"
        text = printed.read_text(errors="replace") if printed.exists() else ""
        outcome.output[f"{kind}/{name}"] = text
        seen: dict[str, int] = {}
        for verdict, case in _CASE.findall(text):
            seen[case] = seen.get(case, 0) + 1
            number = f" ({seen[case]})" if seen[case] > 1 else ""
            outcome.applets[f"{name}: {case}{number}"] = verdict
    return outcome


def differences(outcomes: dict[str, Outcome]) -> dict[str, tuple[str, str]]:
    """Every test that the sides disagree about: its name, and (native, wasm)."""
    native, wasm = outcomes["native"], outcomes["wasm"]
    found = {}
    words = {True: "PASS", False: "FAIL"}
    for name in native.hush:
        pair = (words[native.hush[name]], words[wasm.hush.get(name, False)])
        if pair[0] != pair[1]:
            found[name] = pair
    for name in {**native.applets, **wasm.applets}:
        pair = (native.applets.get(name, "-"), wasm.applets.get(name, "-"))
        if pair[0] != pair[1]:
            found[name] = pair
    return found


def as_table(outcomes: dict[str, Outcome]) -> str:
    """The counts and the differences, in Markdown."""
    lines = ["| suite | native | wasm | of |", "|---|---|---|---|"]
    sides = [outcomes.get(side, Outcome()) for side in SIDES]
    hush_total = max(len(side.hush) for side in sides)
    ran = [sum(v in ("PASS", "FAIL") for v in side.applets.values()) for side in sides]
    lines.append(f"| hush | {sides[0].hush_passed} | {sides[1].hush_passed} | {hush_total} |")
    counts = [side.applets_passed for side in sides]
    lines.append(f"| applets | {counts[0]} | {counts[1]} | {max(ran)} |")
    if len(outcomes) > 1:
        lines += ["", "| test | native | wasm |", "|---|---|---|"]
        lines += [f"| {name} | {a} | {b} |" for name, (a, b) in differences(outcomes).items()]
        both = [
            name for name, good in sides[0].hush.items() if not good and not sides[1].hush[name]
        ]
        both += [
            name
            for name, verdict in sides[0].applets.items()
            if verdict == "FAIL" and sides[1].applets.get(name) == "FAIL"
        ]
        lines += ["", f"Both fail: {', '.join(both)}."]
    return "\n".join(lines)


def meets_bars(outcomes: dict[str, Outcome]) -> bool:
    """Whether wasm passes enough."""
    native, wasm = outcomes["native"], outcomes["wasm"]
    enough = APPLET_BAR * native.applets_passed
    return wasm.hush_passed >= HUSH_BAR and wasm.applets_passed >= enough


def run(
    sides: Sequence[str],
    only: Sequence[str],
    command: Path,
    home: Path,
    keep: Path | None = None,
    seconds: int = 120,
    image: str = IMAGE,
) -> dict[str, Outcome]:
    """Run the suites; `keep` gets what was printed."""
    busybox = native_busybox()
    units = units_of(busybox.source, only)
    if not units:
        raise SuiteError("there is no such unit")
    variables = {
        **VARIABLES,
        "SECONDS_HUSH": str(seconds),
        "SECONDS_APPLET": str(3 * seconds),
    }
    outcomes = {}
    with tempfile.TemporaryDirectory(prefix="busybox-testsuite-") as name:
        scratch = Path(name)
        suite = scratch / "suite"
        suite.mkdir()
        prepare(busybox.source, suite, units)
        for side in sides:
            if side == "native":
                out = run_native(busybox, suite, scratch, variables)
            else:
                out = scratch / "out"
                out.mkdir()
                run_wasm(command, home, image, suite, out, variables)
            outcomes[side] = read_outcome(busybox.source, out, units)
            if keep is not None:
                shutil.copytree(out, keep / side, dirs_exist_ok=True)
    return outcomes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="busybox-testsuite",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--only", action="append", default=[], help="units, such as hush/hush-misc")
    parser.add_argument("--side", action="append", choices=SIDES, help="default: both")
    parser.add_argument("--keep", type=Path, help="a folder for what the tests print")
    parser.add_argument("--seconds", type=int, default=120, help="limit for one hush test")
    parser.add_argument("--image", default=IMAGE, help="the image to test")
    parser.add_argument("--command", type=Path, default=DEFAULT_COMMAND)
    parser.add_argument("--home", type=Path, help="its state directory; default: the usual one")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line names; returns the exit status."""
    options = _parser().parse_args(arguments)
    home = options.home or Path(
        os.environ.get("BALENAWASM_HOME") or Path.home() / ".local/share/balenawasm"
    )
    sides = tuple(dict.fromkeys(options.side or SIDES))
    try:
        outcomes = run(
            sides, options.only, options.command, home, options.keep, options.seconds, options.image
        )
    except (SuiteError, OSError) as error:
        sys.stderr.write(f"busybox-testsuite: {error}\n")
        return 2
    if options.json:
        document = {
            side: {"hush": outcome.hush, "applets": outcome.applets}
            for side, outcome in outcomes.items()
        }
        print(json.dumps(document, indent=2))
    else:
        print(as_table(outcomes))
    return 0 if len(outcomes) < len(SIDES) or options.only or meets_bars(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
