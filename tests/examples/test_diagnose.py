"""The program that diagnoses: numbers of two runs by hand, files, and wrong options."""

import json

import diagnose
import pytest

PROGRAM = "--problem oscillator --steps 64 --coarsening 8 --relaxation F --budget 1e-3"


def test_numbers_report_and_files(capsys, tmp_path):
    numbers, drawn = tmp_path / "numbers.json", tmp_path / "picture.png"
    found = diagnose.main([*PROGRAM.split(), "--json", str(numbers), "--plot", str(drawn)])
    output = capsys.readouterr().out
    assert output.startswith("Diagnosis of 2 levels, m = 8, F, N = 64")
    assert "Recommendation:" in output and "Slow part:" in output
    read = json.loads(numbers.read_text(encoding="utf-8"))
    assert read["cost"] == found["cost"] and len(read["factors"]) == 4
    assert read["slow"]["fine_growth"] == pytest.approx(1.0, abs=0.1)
    assert drawn.stat().st_size > 5000


def test_steps_of_coarse_levels(capsys):
    options = "--coarse sdirk2 --correction full"
    found = diagnose.main(f"--problem van-der-pol {options} --budget 1e-3".split())
    assert found["setup"]["correction"] == "full"
    assert found["slow"]["cause"] == "none" and found["factors"][0]["ratios"][0] < 1e-3
    assert "correction=full" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ("--levels 1", "--levels: sequential steps are exact"),
        ("--tolerance 2", "--tolerance: must be between 0 and 1"),
        ("--budget 0", "--budget: must be positive"),
        ("--coarsening 2,3,4", "--coarsening: give one value"),
        ("--for-ranks 0", "--for-ranks"),
    ],
)
def test_wrong_options(capsys, options, error):
    with pytest.raises(SystemExit, match="2"):
        diagnose.main(options.split())
    errors = capsys.readouterr().err
    assert error in errors and errors.count("\n") == 1 + errors.startswith("usage")
