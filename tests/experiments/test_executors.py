"""Where the tasks of a grid are done: the choice, what Ray's machines check, Slurm's script."""

import logging
import re
import shlex
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from socket import create_server
from time import monotonic
from types import SimpleNamespace

import pytest
from toy_experiment import cells, settings

from rewardgap.cli import main
from rewardgap.configs.experiments import RunConfig
from rewardgap.errors import UserError
from rewardgap.experiments.data import find_evaluation_data, find_training_data
from rewardgap.experiments.executors import ray
from rewardgap.experiments.experiment import read_experiment
from rewardgap.experiments.grid import Grid, plan
from rewardgap.experiments.run import run
from rewardgap.io.grid_folder import write_experiment
from rewardgap.io.lock import FolderTakenError, sole_process
from rewardgap.io.messages import Messages
from rewardgap.io.ray_cluster import refuse_silent
from rewardgap.io.run_folder import Run


@pytest.fixture
def has_ray(monkeypatch) -> None:
    """Ray as far as this process is to think so."""
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(__file__="ray"))


def metrics(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("metrics.json")}


def test_an_executor_refuses_the_keys_of_others(config):
    with pytest.raises(UserError, match=r"retries: the executor slurm takes no .* executor ray$"):
        run(config(executor="slurm", retries=1))
    with pytest.raises(UserError, match=r"cpus_per_cell: .* choose the executor ray or slurm"):
        run(config(cpus_per_cell=2))
    with pytest.raises(UserError, match=r"gpus_per_cell: Slurm gives whole GPUs, not 0.5"):
        run(config(executor="slurm", gpus_per_cell=0.5))


def test_a_grid_here_needs_no_ray(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # importing it fails
    run(config(kinds=["length"]))
    with pytest.raises(UserError, match=r"pip install 'rewardgap\[ray\]'"):
        run(config(executor="ray"))


@pytest.mark.parametrize("address", ["127.0.0.1", "ray://127.0.0.1:10001", "head:port", ":6379"])
def test_what_is_no_address_is_refused(address, config, has_ray):
    with pytest.raises(UserError, match=f"address: '{address}' is no HOST:PORT; run the command"):
        run(config(executor="ray", address=address))


def test_an_address_where_nothing_answers_is_refused_at_once(config, has_ray, monkeypatch):
    with create_server(("127.0.0.1", 0)) as server:
        free = f"127.0.0.1:{server.getsockname()[1]}"
        refuse_silent(free)
    began = monotonic()
    for named in (config(executor="ray", address=free), config(executor="ray")):
        monkeypatch.setenv("RAY_ADDRESS", free)
        with pytest.raises(UserError, match=f"no cluster .* answers at {free}: Connection refused"):
            run(named)
    assert monotonic() - began < 5
    assert not Path(named.out).exists()


def plan_of(told: RunConfig) -> Grid:
    experiment = read_experiment(told)
    training = find_training_data(experiment, told.data_dir)
    return plan(experiment, told.out, training, find_evaluation_data(experiment, told.data_dir))


def share_of(config, folder: Path) -> tuple[Grid, ray.Share]:
    grid = plan_of(config(kinds=["length"]))
    write_experiment(grid.record())
    return grid, ray.Share(grid, str(folder), Messages(logging.WARNING))


def test_a_machine_without_the_folders_cannot_take_part(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid, share = share_of(config, tmp_path)
    assert ray.check_machine(share) == ""
    absent = ray.check_machine(replace(share, directory="/nowhere"))
    assert absent.startswith("it has no folder /nowhere: No such file") and "all machines" in absent
    experiment = grid.folder.experiment
    text = experiment.read_text()
    more = plan_of(config(kinds=["length"], seeds=[2]))
    write_experiment(more.record())
    assert ray.check_machine(share) == "", "another command has added a cell"
    experiment.unlink()
    write_experiment(more.record())
    assert f"its {experiment} is another one; choose folders" in ray.check_machine(share)
    experiment.unlink()
    assert re.search(f"{experiment}.* No such file.*; choose folders", ray.check_machine(share))
    models = {"m": str(tmp_path / "gone" / "model")}
    experiment.write_text(text)
    assert "model does not exist" in ray.check_machine(
        replace(share, grid=replace(grid, models=models))
    )


def test_a_task_waits_for_the_process_of_a_lost_machine(tmp_path, monkeypatch):
    done: list[str] = []

    def act() -> None:
        with sole_process(tmp_path):
            done.append("done")

    with ExitStack() as holder:
        holder.enter_context(sole_process(tmp_path))
        with monkeypatch.context() as patched, pytest.raises(FolderTakenError, match="at work in"):
            patched.setattr(ray, "FREED", 0.0)
            ray._when_free(act)
        monkeypatch.setattr(ray.time, "sleep", lambda seconds: holder.close())  # the process ends
        ray._when_free(act)
    assert done == ["done"]


def test_only_the_chosen_cells_are_done(config):
    told = config(kinds=["length", "constant"], changes={"forecast": False})
    with pytest.raises(UserError, match=r"cells: .* no 'x/lenth/seed-0'; "):
        run(replace(told, cells=["x/lenth/seed-0"]))
    assert not Path(told.out).exists()
    place = run(replace(told, dry_run=True)).lines[1][0]
    run(replace(told, cells=[place]))
    grid = Path(told.out)
    assert list(metrics(grid)) == [f"{place}/metrics.json"] and len(cells(grid)) == 4


def test_the_jobs_of_an_array_do_what_one_process_does(config, tmp_path, capsys):
    """Every job of the script by bash, with its own index; `python` is a stand-in that notes."""
    changes = {"name": "it's a toy", "settings": settings(tmp_path, epochs=1)}
    local = config("local", changes, kinds=["length", "constant"], seeds=[0])
    run(local)
    out = tmp_path / "the grid"
    flags = ["--kinds", "length", "constant", "--seeds", "0", "--eval.test.category", "domain"]
    words = ["run", local.experiment, "--out", str(out), "--data-dir", str(tmp_path), *flags]
    assert main([*words, "--executor", "slurm", "--cpus-per-cell", "2", "--gpus-per-cell=1"]) == 0
    script = out / "slurm" / "array.sh"
    text = script.read_text()
    for line in ("--array=0-1", "--cpus-per-task=2", "--gres=gpu:1", "--requeue"):
        assert f"#SBATCH {line}\n" in text
    assert not metrics(out)
    noted = tmp_path / "noted"
    stand_in = tmp_path / "python"
    stand_in.write_text(f'#!/bin/bash\nprintf "%s\\n" "$PWD" "$OMP_NUM_THREADS" "$@" > {noted}\n')
    stand_in.chmod(0o755)
    script.write_text(text.replace(shlex.quote(sys.executable), str(stand_in)))
    for index in range(2):
        environment = {"SLURM_ARRAY_TASK_ID": str(index), "PATH": "/usr/bin:/bin"}
        subprocess.run(["bash", script], env=environment, check=True)
        directory, threads, _, module, *job = noted.read_text().splitlines()
        assert (directory, threads, module) == (str(Path.cwd()), "2", "rewardgap.cli")
        assert main(job) == 0
        assert len(metrics(out)) == index + 1
    assert metrics(out) == metrics(tmp_path / "local")
    assert all(Run(cell).metrics.exists() for cell in cells(out))
    capsys.readouterr()
    assert main([*words, "--executor", "slurm"]) == 0
    assert not script.exists(), "nothing is left"
