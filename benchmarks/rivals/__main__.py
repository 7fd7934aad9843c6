r"""LC without tuning, against what else one would do.

    python -m benchmarks.rivals run --methods direct gmp ste parq pat
    python -m benchmarks.rivals run --methods lc --again lc
    python -m benchmarks.rivals tables --write docs/rivals.md

Run it from the root of the repository, with the extra ``rivals`` installed. It goes on
where it stopped, and several may run side by side on slices: ``--net``, ``--scheme``,
``--epochs``, ``--loss``, ``--seeds``, ``--methods``. Every record has the error on the
samples held out, the loss trained on (over all training samples), and the time, beside
that of an epoch of plain training, measured before and after each run.

The folders of MNIST's IDX files and of CIFAR-10's binary ones are those that the
environment variables SKLC_MNIST and SKLC_CIFAR10 name; openml.org otherwise. References
are trained once, and kept in the folder ``--cache``.
"""

import argparse
from functools import partial
from pathlib import Path

import torch

from benchmarks.rivals import records, tables
from benchmarks.rivals.cells import cells
from benchmarks.rivals.runner import LOSSES, METHODS, Bench, version
from benchmarks.rivals.tasks import task

RESULTS = Path(__file__).with_name("results.json")


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    every = list(cells())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rivals", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure what is missing")

    def choice(name: str, values: list, kind: type = str) -> None:
        values = list(dict.fromkeys(values))
        run.add_argument(name, nargs="+", type=kind, choices=values, default=values)

    choice("--net", [cell.net for cell in every])
    choice("--scheme", [cell.scheme for cell in every])
    choice("--epochs", [cell.epochs for cell in every], int)
    choice("--loss", list(LOSSES))
    choice("--methods", list(METHODS))
    run.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    run.add_argument(
        "--again",
        nargs="+",
        default=[],
        choices=list(METHODS),
        help="methods of which records of other versions of sklc are replaced",
    )
    run.add_argument("--threads", type=int, default=1)
    run.add_argument("--cache", type=Path, default=Path(".rivals"))
    show = commands.add_parser("tables", help="make tables of what there is")
    show.add_argument("--write", type=Path, help="the page whose tables are renewed")
    return parser.parse_args()


def run(options: argparse.Namespace) -> None:
    """Measure what is missing of a slice."""
    torch.set_num_threads(options.threads)
    bench = Bench(options.results, partial(task, cache_folder=options.cache), version())
    for loss in options.loss:
        for cell in cells():
            if (
                cell.net not in options.net
                or cell.scheme not in options.scheme
                or cell.epochs not in options.epochs
            ):
                continue
            for missing in bench.todo(
                cell, loss, options.methods, options.seeds, options.again
            ):
                print(tables.line(bench.run(cell, loss, *missing)), flush=True)


def main() -> None:
    """Run, or print tables."""
    options = parsed()
    if options.command == "run":
        run(options)
        return
    found = tables.markdown(records.read(options.results))
    if options.write is None:
        print(found)
    else:
        tables.renew(options.write, found)


if __name__ == "__main__":
    main()
