"""Change the code in small ways, and see whether the tests notice.

A seeded sample of the mutants of `sklc/ops`, `codes`, `schemes` and `lc`, as mutmut
makes them, each against the tests of its folder. What no test notices is printed with
its change: it is a truth that the tests do not tell, or a change that alters nothing.

    python benchmarks/mutation.py [--sample 300] [--folders ops lc] [--json FILE]

takes about half an hour for 300 mutants on two cores, and needs the extra `mutation`.
"""

import argparse
import ast
import difflib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

FOLDERS = ("ops", "codes", "schemes", "lc")
ROOT = Path(__file__).parents[1]
MOST_FAILING = 9  # tests of a folder, which are left out
PATIENCE = 3  # a mutant may take so many times as long as the tests of its folder


def mutated_copy(to: Path, folders: list[str]) -> dict[str, str]:
    """Copy the project with all mutants in it; return them, and how they differ."""
    from mutmut.mutation.file_mutation import mutate_file_contents

    os.chdir(to)  # mutmut reads pyproject.toml
    for name in "sklc", "tests":
        shutil.copytree(
            ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", to)
    shutil.copy(ROOT / "README.md", to)
    # mutmut's wrappers are no lines of a user's that a warning should point to
    exceptions = to / "sklc" / "exceptions.py"
    text = exceptions.read_text("utf-8")
    exceptions.write_text(text.replace('"sklearn")', '"sklearn", "mutmut")'), "utf-8")
    found: dict[str, str] = {}
    for folder in folders:
        for path in sorted((to / "sklc" / folder).glob("[!_]*.py")):
            code = path.read_text("utf-8")
            mutated = mutate_file_contents(str(path), code).code
            path.write_text(mutated, "utf-8")
            module = ".".join(path.relative_to(to).with_suffix("").parts)
            found |= differences(module, mutated)
    return found


def differences(module: str, code: str) -> dict[str, str]:
    """Return the mutants in the code of a module, and how they differ from it."""
    functions = {
        node.name: node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name
    }
    found = {}
    for name, node in functions.items():
        stem, _, number = name.rpartition("__mutmut_")
        if number == "orig":
            continue
        before, after = (
            ast.unparse(each.body).splitlines()
            if isinstance(each.body, ast.AST)
            else [line for part in each.body for line in ast.unparse(part).split("\n")]
            for each in (functions[f"{stem}__mutmut_orig"], node)
        )
        lines = difflib.unified_diff(before, after, lineterm="", n=0)
        changed = [line for line in lines if line[:2] not in ("--", "++", "@@")]
        found[f"{module}.{name}"] = "\n".join(changed)
    return found


class Failures:
    """Write down which tests fail."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note a test that has failed."""
        if report.failed:
            with self.path.open("a") as file:
                file.write(f"{report.nodeid}\n")


def run_tests(copy: Path, folder: str, mutant: str, patience: float) -> str:
    """Run the tests of a folder in a fork of this process; return what became of it.

    Those that fail without any mutant, since its wrappers are in the way (in the
    stacks of warnings, for example), are left out from then on.
    """
    import pytest

    failures = copy / f"{folder}.failures"
    child = os.fork()
    if not child:
        os.environ["MUTANT_UNDER_TEST"] = mutant
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        options = ["-q", "-m", "not slow", "-p", "no:cacheprovider"]
        plugins = []
        if mutant:
            options.append("-x")
            for test in failures.read_text().splitlines():
                options += ["--deselect", test]
        else:
            failures.touch()
            plugins.append(Failures(failures))
        code = pytest.main([f"tests/{folder}", *options], plugins=plugins)
        os._exit(int(code))
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return {0: "survived", 1: "killed"}.get(code, "killed by an error")
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "killed by its time limit"


def work(copy: Path, tasks: Any, results: Any, limits: dict[str, float]) -> None:
    """Test mutants until there are no more of them."""
    os.chdir(copy)
    sys.path[:0] = [str(copy)]
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != ROOT]
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    os.environ["MUTANT_UNDER_TEST"] = ""
    for library in "scipy.linalg", "sklearn.utils.estimator_checks", "skorch", "torch":
        import_module(library)  # once, for all forks
    for folder, mutant in iter(tasks.get, None):
        start = time.monotonic()
        outcome = run_tests(copy, folder, mutant, limits.get(folder, 1e9))
        results.put((folder, mutant, outcome, time.monotonic() - start))


def main() -> None:
    """Make mutants, test a sample of them, and print those that nothing noticed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folders", nargs="+", default=list(FOLDERS))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", help="where to save the outcomes")
    options = parser.parse_args()

    context = get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        mutants = mutated_copy(copy, options.folders)
        names = sorted(mutants)
        random.Random(options.seed).shuffle(names)
        sample = names[: options.sample]
        print(f"{len(sample)} of {len(mutants)} mutants, seed {options.seed}")

        tasks, results = context.Queue(), context.Queue()
        limits: dict[str, float] = context.Manager().dict()
        workers = [
            context.Process(target=work, args=(copy, tasks, results, limits))
            for _ in range(options.processes)
        ]
        for worker in workers:
            worker.start()
        for folder in options.folders:  # the tests must pass where nothing changed
            tasks.put((folder, ""))
        for _ in options.folders:
            folder, _, _, seconds = results.get()
            failing = (copy / f"{folder}.failures").read_text().splitlines()
            print(f"tests/{folder}: {seconds:.0f} s without a mutant, {failing} fail")
            if len(failing) > MOST_FAILING:
                sys.exit("Too many to go on.")
            limits[folder] = PATIENCE * seconds + 30
        for mutant in sample:
            tasks.put((mutant.split(".")[1], mutant))
        for _ in workers:
            tasks.put(None)
        outcomes = {}
        for number in range(len(sample)):
            folder, mutant, outcome, seconds = results.get()
            outcomes[mutant] = outcome
            if outcome == "survived" or number % 20 == 19:
                print(f"{number + 1} done", flush=True)
            if outcome == "survived":
                print(f"{number + 1}: {mutant} survived\n{mutants[mutant]}", flush=True)
        for worker in workers:
            worker.join()
    counts = Counter(outcomes.values())
    killed = len(sample) - counts["survived"]
    print(dict(counts))
    print(f"{killed} of {len(sample)} killed: {100 * killed / len(sample):.1f} %")
    if options.json:
        changes = {name: mutants[name] for name in sample}
        content = {"outcomes": outcomes, "changes": changes}
        Path(options.json).write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
