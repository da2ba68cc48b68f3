"""Every command of README, the tutorials and the other pages exists, with its options."""

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest

import pint

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples" / "tutorials").glob("*.py")),
]
TEXTS = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def commands(text):
    """Return the programs of a page with their arguments, from blocks and from lines of text."""
    text = re.sub(r"\\\n#?\s*", "", text)  # a command on two lines
    text = text.replace("$(test -f run.npz && echo --resume)", "")
    found = re.findall(r"python ((?:examples|benchmarks|docs/examples)/\w+\.py)([^\n`#]*)", text)
    return [(program, shlex.split(options)) for program, options in found]


COMMANDS = [
    (name, program, options) for name, text in TEXTS.items() for program, options in commands(text)
]


def loaded(path, monkeypatch):
    for folder in ("examples", "benchmarks"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    return module


def test_commands_are_found():
    """Those of README and of the tutorial for clusters are among them."""
    assert len(COMMANDS) >= 30
    assert {"README.md", "plot_5_cluster_user.py"} <= {name for name, _, _ in COMMANDS}
    assert not any("`" in option for _, _, options in COMMANDS for option in options)


@pytest.mark.parametrize("path", sorted({program for _, program, _ in COMMANDS}))
def test_options_of_programs(path, monkeypatch):
    """Its parser takes the options of all pages; programs without a parser have none."""
    given = [options for _, program, options in COMMANDS if program == path and options]
    assert (ROOT / path).is_file()
    if path.startswith("examples/") and given:
        parser = loaded(ROOT / path, monkeypatch).parser(pint.SerialComm())
        for options in given:
            if options == ["--help"]:
                continue
            parser.parse_args(options)  # SystemExit where one is wrong
    elif given:
        text = (ROOT / path).read_text("utf-8") + (ROOT / "benchmarks/measuring.py").read_text()
        for option in (option for options in given for option in options if option[:2] == "--"):
            assert f'"{option}"' in text, option


def test_targets_of_make():
    targets = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, flags=re.MULTILINE))
    for name, text in TEXTS.items():
        code = re.findall(r"`(make [^`\n]*)`|^(?: {4})?(make [^\n#]*)", text, flags=re.MULTILINE)
        for command in (one or other for one, other in code):
            target, *settings = shlex.split(command)[1:]
            assert target in targets, (name, command)
            for setting in settings:
                assert re.search(rf"^{setting.split('=')[0]} \?=", MAKEFILE, flags=re.MULTILINE)


def test_cases_of_make_bench(monkeypatch):
    cases = loaded(ROOT / "benchmarks" / "run_all.py", monkeypatch).CASES
    named = [name for text in TEXTS.values() for name in re.findall(r'BENCH_OPTIONS="?(\w+)', text)]
    named += [
        options[0] for _, path, options in COMMANDS if path.endswith("run_all.py") and options
    ]
    assert named and set(named) <= set(cases)


def test_extras_of_pip():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = project[project.index("[project.optional-dependencies]") :].split("\n[tool")[0]
    there = set(re.findall(r"^(\w+) = \[", section, flags=re.MULTILINE))
    for name, text in TEXTS.items():
        for extras in re.findall(r"""pip install ["']?(?:\.|pint-control)\[([a-z,]+)\]""", text):
            missing = set(extras.split(",")) - there
            assert not missing, (name, missing)
    front = re.search(r"other extras are ([^.]*)\.", TEXTS["README.md"])[1]
    assert set(re.findall(r"`(\w+)`", front)) <= there


def test_the_command_of_readme(monkeypatch, tmp_path):
    """It trains, here on one rank and fewer layers, and writes the file that it names."""
    ((path, options),) = commands(TEXTS["README.md"])
    monkeypatch.chdir(tmp_path)
    small = ["--layers", "8", "--examples", "40", "--iterations", "2"]
    loaded(ROOT / path, monkeypatch).main([*options, *small])
    assert len(Path("history.csv").read_text().splitlines()) >= 3


def test_the_job_of_the_tutorial(monkeypatch, tmp_path):
    """The same script begins a run, and with ``--resume`` continues it."""
    ((path, options),) = commands(TEXTS["plot_5_cluster_user.py"])
    monkeypatch.chdir(tmp_path)
    program = loaded(ROOT / path, monkeypatch)
    first = program.main([*options, "--steps", "32", "--coarsening", "4"])
    assert Path("run.npz").exists() and Path("result.json").exists()
    again = program.main([*options, "--steps", "32", "--coarsening", "4", "--resume"])
    assert again["objective"] == pytest.approx(first["objective"], rel=1e-12)
