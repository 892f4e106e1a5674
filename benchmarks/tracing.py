"""How many of the rows that a wrong prediction is traced to are poisons.

    python -m benchmarks.tracing --scenario bullseye-polytope feature-collision-5
    python -m benchmarks.tracing --scenario digits-badnets digits-wrong-labels
    python -m benchmarks.tracing --memory 1000000
    python -m benchmarks.tracing --render docs/tracing.md --out results.jsonl

A victim is trained with some of its states remembered. What the attack made it get
wrong is traced to the training rows that bear the label it got, in several ways; where
the attack did not work there is nothing to trace. One line of ``--out`` is one way on
one trial; a trial that is there is not run again. Scenarios are those of
`benchmarks.table`, and three on scikit-learn's digits.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import TensorDataset
from tqdm import tqdm

from benchmarks.problem import Trials
from benchmarks.records import Record, append_record, group_by, read_records
from benchmarks.render import fill
from benchmarks.table import add_common_arguments, make_problem
from epic_sklearn import EPICClassifier, RememberStates, TorchClassifier, trace
from epic_sklearn.attacks import BadNets, PatchTrigger, SleeperAgent
from epic_sklearn.gradients.modules import forward
from epic_sklearn.rules import IsolatedMedoids

FIRST = (10, 30, 100)
MOST_EXAMPLES = 20
DIGITS = {
    "digits-badnets": "digits: BadNets, 20 poisons in 1,000, patch 3 x 3",
    "digits-sleeper-agent": "digits: Sleeper Agent, 40 poisons in 1,000, patch 3 x 3",
    "digits-wrong-labels": "digits: 100 of 1,000 labels flipped, no attack",
}
# "default": EPICClassifier as it is, with rounds of its own.
DEFENCES: dict[str, dict[str, Any]] = {
    "none": {},
    "EPIC": {"rule": IsolatedMedoids(), "gradients": "logit"},
    "default": {},
}
SHOWN = {"none": "no defence", "default": "after `EPICClassifier()`"}
EPOCHS_BETWEEN = {"home-gradient-matching": 2}


@dataclass(frozen=True, eq=False)
class Case:
    """A trained model, what it got wrong, and which rows are to blame."""

    model: TorchClassifier
    X: np.ndarray
    y: np.ndarray
    is_bad: np.ndarray
    examples: np.ndarray
    got: np.ndarray

    def states(self) -> list[dict[str, Any]]:
        """Give what the net remembers."""
        return self.model.net_.remembered_


def by_trace(case: Case, score: str, only_last: bool = False) -> np.ndarray:
    model: Any = case.model.module_ if only_last else case.model
    X, y = case.X, np.searchsorted(case.model.classes_, case.y)
    got = np.searchsorted(case.model.classes_, case.got)
    return trace(model, X, y, case.examples, got, score=score).indices


def by_captum(case: Case) -> np.ndarray:
    """TracInCPFast on the same states, and the rows of the labels that were got."""
    from captum.influence import TracInCPFast

    def load(module: nn.Module, state: dict[str, Any]) -> float:
        module.load_state_dict(state["weights"])
        return state["lr"]

    module, rows = case.model.module_.eval(), np.flatnonzero(np.isin(case.y, case.got))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    labels = torch.tensor(np.searchsorted(case.model.classes_, case.y[rows]))
    tracin = TracInCPFast(
        module,
        [part for part in module.modules() if isinstance(part, nn.Linear)][-1],
        TensorDataset(torch.tensor(case.X[rows]), labels),
        case.states(),
        load,
        nn.CrossEntropyLoss(reduction="sum"),
        batch_size=512,
    )
    got = torch.tensor(np.searchsorted(case.model.classes_, case.got))
    scores = tracin.influence((torch.tensor(case.examples), got)).numpy()
    module.load_state_dict(before)
    return best_of_label(case, rows, scores)


def by_neighbors(case: Case) -> np.ndarray:
    """Nearest in the input of the last layer."""
    rows = np.flatnonzero(np.isin(case.y, case.got))
    module = case.model.module_
    near, asked = (
        forward(module, each, with_inputs=True)[2].inputs  # type: ignore[union-attr]
        for each in (case.X[rows], case.examples)
    )
    return best_of_label(case, rows, 2 * asked @ near.T - (near**2).sum(axis=1))


def by_chance(case: Case) -> np.ndarray:
    rows = np.flatnonzero(np.isin(case.y, case.got))
    rng = np.random.default_rng(0)
    return best_of_label(case, rows, rng.random((len(case.got), len(rows))))


def best_of_label(case: Case, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
    scores = np.where(case.got[:, None] == case.y[rows], scores, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, : max(FIRST)]
    is_none = np.isneginf(np.take_along_axis(scores, order, axis=1))
    return np.where(is_none, -1, rows[order])


WAYS: dict[str, Callable[[Case], np.ndarray]] = {
    "`trace`, cosine": lambda case: by_trace(case, "cosine"),
    "`trace`, cosine, last state only": lambda case: by_trace(case, "cosine", True),
    "`trace`, contribution": lambda case: by_trace(case, "contribution"),
    "`trace`, contribution, last state only": lambda case: by_trace(
        case, "contribution", True
    ),
    "captum's `TracInCPFast`": by_captum,
    "nearest in the last layer's input": by_neighbors,
    "at random": by_chance,
}


def measure(case: Case) -> Iterator[Record]:
    """Trace in all ways."""
    for name, way in WAYS.items():
        start = time.perf_counter()
        indices = way(case)
        seconds = time.perf_counter() - start
        bad = np.append(case.is_bad, False)[indices]  # -1: none
        of_label = np.array([case.y == label for label in case.got])
        yield {
            "way": name,
            **{f"first {k}": float(bad[:, :k].sum(axis=1).mean()) for k in FIRST},
            "examples": len(case.got),
            "states": len(case.states()),
            "rows": float(of_label.sum(axis=1).mean()),
            "bad": float((of_label & case.is_bad).sum(axis=1).mean()),
            "seconds": round(seconds, 4),
        }


# ------------------------------------------------------------------------ cases


def digits_net() -> nn.Module:
    """Make the net of the gallery's backdoor example."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def digits_data(name: str, seed: int) -> tuple[Any, ...]:
    """Training set, which rows are bad, and test examples with their labels."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    X, X_test, y, y_test = train_test_split(
        X, y, train_size=1000, stratify=y, random_state=seed
    )
    is_bad = np.zeros(len(y), dtype=bool)
    if name == "digits-wrong-labels":
        rng = np.random.default_rng(seed)
        is_bad[rng.choice(len(y), 100, replace=False)] = True
        y[is_bad] = (y[is_bad] + rng.integers(1, 10, 100)) % 10
        return X, y, is_bad, X_test, y_test, None
    source, wanted = np.random.default_rng(seed).choice(10, 2, replace=False).tolist()
    trigger = PatchTrigger.random((1, 8, 8), size=3, random_state=seed)
    options = {"max_epochs": 20, "lr": 0.03, "batch_size": 64}
    if name == "digits-badnets":
        attack: Any = BadNets(n_poisons=20, trigger=trigger, random_state=seed)
        poisons = attack.craft(X, y, source, wanted)
    else:
        net = TorchClassifier(digits_net, random_state=seed + 100, **options).fit(X, y)
        attack = SleeperAgent(
            n_poisons=40,
            eps=0.5,
            n_steps=60,
            trigger=trigger,
            retrain=net,
            retrain_every=30,
            random_state=seed,
        )
        poisons = attack.craft(net, X, y, source, wanted)
    is_bad[poisons.indices] = True
    X_test = poisons.apply_trigger(X_test[y_test == source])
    y_test = np.full(len(X_test), source)
    return poisons.insert_into(X), poisons.relabel(y), is_bad, X_test, y_test, wanted


def digits_case(name: str, trial: int, defence: str) -> Case | None:
    X, y, is_bad, X_test, y_test, wanted = digits_data(name, trial)
    kind = TorchClassifier if defence == "none" else EPICClassifier
    rounds = {"warmup": 8, "every": 1, "stop": 15} if DEFENCES[defence] else {}
    model = kind(
        digits_net,
        max_epochs=20,
        lr=0.03,
        batch_size=64,
        random_state=trial,
        callbacks=[RememberStates()],
        **rounds,
        **DEFENCES[defence],
    ).fit(X, y)
    got = model.predict(X_test)
    is_asked = got != y_test if wanted is None else got == wanted
    return case_of(model, X, y, is_bad, X_test[is_asked], got[is_asked])


def cifar_case(
    problem: Trials, name: str, number: int, seed: int, defence: str
) -> Case | None:
    """Train a scenario's victim, as benchmarks.table does, and trace its targets."""
    trial = problem.trial(number)
    kind = TorchClassifier if defence == "none" else EPICClassifier
    scenario = problem.scenario
    rounds = scenario.rounds(scenario.subset_size) if DEFENCES[defence] else {}
    model = problem.victim.classifier(
        kind,
        random_state=seed + number,
        callbacks=[RememberStates(EPOCHS_BETWEEN.get(name, 5))],
        **rounds,
        **DEFENCES[defence],
    ).fit(trial.inputs, trial.labels)
    is_bad = np.zeros(len(trial.labels), dtype=bool)
    is_bad[trial.poison_index] = True
    targets = problem.victim.inputs(trial.targets)
    got = model.predict(targets)
    asked = got == trial.adversarial_label
    return case_of(
        model, trial.inputs, trial.labels, is_bad, targets[asked], got[asked]
    )


def case_of(
    model: Any, X: Any, y: Any, is_bad: np.ndarray, examples: np.ndarray, got: Any
) -> Case | None:
    """Leave out dropped rows; None where there is nothing to trace."""
    if len(examples) == 0:
        return None
    kept = getattr(model, "keep_", np.ones(len(y), dtype=bool))
    some = slice(0, MOST_EXAMPLES)
    return Case(model, X[kept], y[kept], is_bad[kept], examples[some], got[some])


def run(args: argparse.Namespace) -> None:
    """Run what is not in the results yet."""
    names = ("scenario", "defence", "trial")
    done = {tuple(r[name] for name in names) for r in read_records(args.out)}
    for name in args.scenario:
        problem: Trials | None = None
        for trial in tqdm(args.trials, desc=name):
            for defence in args.defences:
                if (name, defence, trial) in done:
                    continue
                about = dict(zip(names, (name, defence, trial), strict=True))
                if name in DIGITS:
                    about["title"] = DIGITS[name]
                    case = digits_case(name, trial, defence)
                else:
                    problem = problem or make_problem(args, name)
                    scenario = problem.scenario
                    about["title"] = f"{scenario.kind}: {scenario.title}"
                    case = cifar_case(problem, name, trial, args.seed, defence)
                lines = [{"way": "nothing to trace"}] if case is None else measure(case)
                for line in lines:
                    append_record(args.out, {**about, **line})


def measure_memory(n: int, m: int = 100) -> Record:
    """Trace m examples to n rows of 64 features; what it takes beyond the data."""
    rng = np.random.default_rng(0)
    X, y = rng.random((n, 64), dtype=np.float32), np.arange(n) % 10
    net = nn.Linear(64, 10)
    trace(net, X[:5000], y[:5000], X[:m], y[:m], all_labels=True)  # what is imported
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    trace(net, X, y, X[:m], y[:m], all_labels=True)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "memory": {"rows": n, "examples": m, "data MB": X.nbytes / 1e6},
        "MB": round(peak / 1e3, 1),
        "CPU seconds": round(seconds, 1),
    }


# ----------------------------------------------------------------------- tables


def mean(records: list[Record], name: str) -> float:
    return float(np.mean([record[name] for record in records]))


def section(records: list[Record]) -> str:
    """One scenario and defence: a line for each way."""
    trials, title = {record["trial"] for record in records}, records[0]["title"]
    title = title[0].upper() + title[1:]
    traced = [record for record in records if record["way"] in WAYS]
    if not traced:
        title = records[0]["title"]
        return (
            f"**{title[0].upper()}{title[1:]}**: none of {len(trials)} attacks works."
        )
    n = len({record["trial"] for record in traced})
    title, defence = records[0]["title"], records[0]["defence"]
    about = (
        f"**{title}**; {SHOWN.get(defence, f'after {defence}')}. Something to trace in "
        f"{n} of {len(trials)} trials, {mean(traced, 'examples'):.0f} "
        f"example(s) each; {mean(traced, 'bad'):.1f} of {mean(traced, 'rows'):,.0f} "
        f"rows of the label are bad; {mean(traced, 'states'):.0f} states."
    )
    lines = [
        about,
        "",
        "| way | bad among the first 10 | 30 | 100 | seconds |",
        "|---|---|---|---|---|",
    ]
    for (way,), group in group_by(traced, "way").items():
        found = " | ".join(f"{mean(group, f'first {k}'):.1f}" for k in FIRST)
        lines.append(f"| {way} | {found} | {mean(group, 'seconds'):.2f} |")
    return "\n".join(lines)


def render(results: Path, page: Path) -> None:
    text = page.read_text()
    for names, group in group_by(read_records(results), "scenario", "defence").items():
        text = fill(text, "/".join(names), section(group))
    page.write_text(text)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser, DIGITS)
    parser.add_argument("--defences", nargs="+", choices=DEFENCES, default=["none"])
    parser.add_argument("--render", type=Path, metavar="PAGE", help="only write tables")
    parser.add_argument("--memory", type=int, metavar="ROWS", help="measure that only")
    args = parser.parse_args(argv)
    if args.memory:
        print(measure_memory(args.memory))
    elif args.render is None:
        run(args)
    else:
        render(args.out, args.render)


if __name__ == "__main__":
    main()
