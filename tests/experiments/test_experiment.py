"""Experiments: what the files say, with profiles and flags, and one line for every mistake."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from rewardgap.configs.experiments import RunConfig
from rewardgap.data.sources import SOURCES
from rewardgap.data.spec import parse_spec
from rewardgap.errors import UserError
from rewardgap.experiments import experiment as experiment_module
from rewardgap.experiments.data import find_evaluation_data, find_training_data
from rewardgap.experiments.experiment import Experiment, Variation, read_experiment
from rewardgap.experiments.grid import Grid, name_models, plan
from rewardgap.io.grid_folder import ClaimedLead, GridFolder, write_experiment
from rewardgap.models.kinds import KINDS

FOLDER = Path(__file__).parents[2] / "experiments"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if path.stem != "demo")
VALUES: dict[str, Any] = {
    "name": "toy",
    "claim": "It can be learnt.",
    "models": ["org/first", "org/second"],
    "kinds": ["explicit", "implicit"],
    "seeds": [0, 1],
    "train": {"name": "yes", "data": ["org/data:train", "more.jsonl?sample=5"]},
    "eval": {
        "yes": {"category": "in-distribution", "data": "org/data:test"},
        "certainly": {"category": "token-level", "local": "$data_dir/c.jsonl", "shift_of": "yes"},
    },
    "settings": {"epochs": 5, "learning_rate": "1e-6"},
    "profiles": {"small": {"settings": {"epochs": 2}, "eval": {"certainly": None}}},
}

Read = Callable[..., Experiment]


def plan_grid(experiment: Experiment, folder: str = "out") -> Grid:
    return plan(experiment, folder, "train.jsonl", dict.fromkeys(experiment.eval, "test.jsonl"))


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads `VALUES` with changes, as told by flags."""

    def read_changed(changes: dict[str, Any] | None = None, **flags: Any) -> Experiment:
        values = {k: v for k, v in {**VALUES, **(changes or {})}.items() if v is not ...}
        path = tmp_path / "toy.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        return read_experiment(RunConfig(experiment=str(path), out="out", **flags))

    return read_changed


def test_what_a_claim_predicts_is_of_two_kinds_on_a_set(read, tmp_path):
    """Of a category all sets are meant; another claim has no such form until it is given one."""
    predicts = [
        {"ahead": "explicit", "behind": ["chance", "implicit"], "sets": ["token-level", "yes"]}
    ]
    predicted = read({"predicts": predicts}).predictions
    assert predicted == tuple(
        ClaimedLead("explicit", behind, name)
        for name in ("certainly", "yes")
        for behind in ("chance", "implicit")
    )
    assert plan_grid(read({"predicts": predicts})).record().predicts == predicted
    assert read({"predicts": predicts}, claim="Another.").predictions == ()
    (tmp_path / "based.yaml").write_text("base: toy.yaml\nclaim: Another.\n")
    based = read_experiment(RunConfig(experiment=str(tmp_path / "based.yaml"), out="out"))
    assert based.predictions == ()


def test_settings_have_the_types_of_train(read):
    assert read().settings == {"epochs": 5, "learning_rate": 1e-6}


def test_a_profile_is_merged_key_by_key(read):
    small = read(profile="small")
    assert small.settings == {"epochs": 2, "learning_rate": 1e-6}
    assert list(small.eval) == ["yes"] and small.profile == "small"


def test_flags_win_over_the_profile(read):
    experiment = read(
        profile="small",
        models=["other"],
        kinds=["length"],
        seeds=[7],
        train="mine.jsonl",
        eval={"yes": "test.jsonl"},
        train_rows=4,
        settings={"epochs": 9, "dtype": "bfloat16"},
    )
    assert experiment.models == ["other"] and experiment.kinds == ["length"]
    assert experiment.seeds == [7]
    assert experiment.settings == {"epochs": 9, "learning_rate": 1e-6, "dtype": "bfloat16"}
    assert find_training_data(experiment, None) == "mine.jsonl?limit=4"
    assert find_evaluation_data(experiment, None) == {"yes": "test.jsonl"}


def test_other_training_data_are_not_told_as_the_files(read):
    """Under the names of the file a report would set the paper's numbers beside them."""
    assert (read().name, read().train.name) == ("toy", "yes")
    for flags, names in (
        ({"train": "in/mine.jsonl?limit=3"}, ("toy on mine.jsonl", "mine.jsonl")),
        ({"train": ["a.jsonl", "b.jsonl"]}, ("toy on a.jsonl + b.jsonl", "a.jsonl + b.jsonl")),
        ({"train": "yes:train?path=a.jsonl"}, ("toy", "yes")),
        ({"train": "mine.jsonl", "train_name": "yes"}, ("toy", "yes")),
        ({"train": "mine.jsonl", "name": "own", "claim": "So."}, ("own", "mine.jsonl")),
    ):
        experiment = read(**flags)
        assert (experiment.name, experiment.train.name) == names
        assert experiment.claim == flags.get("claim", VALUES["claim"])


def test_every_key_of_an_evaluation_set_can_be_given(read):
    given = {
        "certainly/category": "domain",
        "certainly/shift_of": None,
        "certainly/data": "c.jsonl",
        "mine": {"category": "domain", "data": "m.jsonl"},
    }
    sets = read(eval=given).eval
    assert sets["yes"] == read().eval["yes"]
    assert (sets["certainly"].category, sets["certainly"].shift_of) == ("domain", None)
    assert (sets["certainly"].data, sets["certainly"].local) == ("c.jsonl", None)
    assert (sets["mine"].category, sets["mine"].data) == ("domain", "m.jsonl")


def test_an_experiment_can_be_based_on_another(read, tmp_path):
    base = read()
    (tmp_path / "other.yaml").write_text("base: toy.yaml\nname: other\nsettings: {epochs: null}\n")
    other = read_experiment(RunConfig(experiment=str(tmp_path / "other.yaml"), out="out"))
    assert (other.name, other.claim, other.eval) == ("other", base.claim, base.eval)
    assert other.settings == {"learning_rate": 1e-6}


def test_local_files_take_the_place_of_sources_where_they_exist(read, tmp_path):
    local = ["$data_dir/a.jsonl", "persona:original-train?path=$data_dir/b.jsonl&train=3"]
    experiment = read({"train": {"name": "t", "data": "org/data", "local": local}, "train_rows": 2})
    assert find_training_data(experiment, str(tmp_path)) == "org/data?limit=2"
    (tmp_path / "a.jsonl").touch()
    assert find_training_data(experiment, str(tmp_path)) == "org/data?limit=2"
    (tmp_path / "b.jsonl").touch()
    assert find_training_data(experiment, None) == "org/data?limit=2"
    assert find_training_data(experiment, str(tmp_path)) == [
        f"{tmp_path}/a.jsonl?limit=2",
        f"persona:original-train?path={tmp_path}/b.jsonl&train=3&limit=2",
    ]


@pytest.mark.parametrize(
    ("data", "limited"),
    [
        ("a.jsonl?limit=3", "a.jsonl?limit=2"),
        ("a.jsonl?limit=1", "a.jsonl?limit=1"),
        ("org/data:test?limit=30&seed=4", "org/data:test?limit=2&seed=4"),
        ("org/data?my_limit=30", "org/data?my_limit=30&limit=2"),
        ("a.jsonl?limit=all", "a.jsonl?limit=all"),
    ],
)
def test_of_two_limits_the_smaller_one_holds(data, limited, read):
    experiment = read({"train": {"name": "t", "data": data}, "train_rows": 2})
    assert find_training_data(experiment, None) == limited


@pytest.mark.parametrize("data_dir", [None, "."])
def test_data_without_a_source_need_a_folder(data_dir, read):
    with pytest.raises(UserError, match=r"certainly: no source .* put c.jsonl .* --data-dir"):
        find_evaluation_data(read(), data_dir)


def test_cells_are_models_by_variations_by_seeds_by_kinds(read):
    variations = [{"learning_rate": "5e-7"}, {"beta": 0.05, "kinds": ["implicit"]}]
    cells = plan_grid(read({"variations": variations})).cells
    assert len(cells) == 2 * (2 * 2 + 2 * 2 + 2 * 1)
    folders = [GridFolder(Path("out")).place(cell) for cell in cells]
    assert folders[:3] == [
        "first/explicit/seed-0",
        "first/implicit/seed-0",
        "first/explicit/seed-1",
    ]
    assert folders[4] == "first/explicit~learning_rate=5e-7/seed-0"
    assert folders[-1] == "second/implicit~beta=0.05/seed-1" and len(set(folders)) == len(folders)
    assert list(cells.values())[4] == {"epochs": 5, "learning_rate": 5e-7}
    assert list(cells.values())[-1] == {"epochs": 5, "learning_rate": 1e-6, "beta": 0.05}


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, ""),
        ({"learning_rate": 5e-7}, "learning_rate=5e-7"),
        ({"learning_rate": 1.5e-4, "beta": 0.1}, "learning_rate=1.5e-4,beta=0.1"),
        ({"epochs": 10, "beta": 2.0}, "epochs=10,beta=2"),
    ],
)
def test_a_variation_is_named_by_its_settings(settings, name):
    assert Variation(settings=settings).name == name


def test_models_are_named_by_their_last_part(tmp_path, monkeypatch):
    (tmp_path / "local").mkdir()
    monkeypatch.chdir(tmp_path)
    assert name_models(["org/big", "local"]) == {"big": "org/big", "local": str(tmp_path / "local")}
    with pytest.raises(UserError, match="two models are named big: org/big and other/big"):
        name_models(["org/big", "other/big"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sedes": [1]},
            r"unknown key 'sedes'; did you mean seeds\?; the keys are name.* train, eval",
        ),
        ({"name": ...}, "name"),
        ({"seeds": ["one"]}, "seeds"),
        ({"kinds": ["explicit", "best"]}, f"unknown kind 'best'; the kinds are {', '.join(KINDS)}"),
        ({"kinds": []}, "kinds must name at least one"),
        ({"seeds": [3, 4, 3]}, "seeds names 3 twice"),
        ({"models": "org/first"}, "models"),
        ({"train": ...}, "`train` and `eval` must name"),
        ({"train": "data.jsonl"}, "train: must be keys and values, not 'data.jsonl'"),
        ({"train": {"data": "data.jsonl"}}, "train: .*name"),
        ({"eval": {"a": {"category": "far"}}}, "eval.a: .*in-distribution.*far"),
        (
            {"eval": {"a": {"categroy": "domain"}}},
            r"eval.a: unknown key 'categroy'; .*category\?; the keys are c",
        ),
        ({"eval": {"a": {"data": "a.jsonl"}}}, "eval.a: .*category"),
        (
            {"eval": {"a": {"category": "domain", "twin_of": "a"}}},
            "eval.a: the key 'twin_of' is now named 'shift_of'",
        ),
        (
            {"eval": {"a": {"category": "domain", "shift_of": "b"}}},
            "unknown evaluation set 'b'; the evaluation sets are a$",
        ),
        ({"generate": ["no"]}, "unknown evaluation set 'no'; the evaluation sets are yes, certai"),
        (
            {"settings": {"epoch": 3}},
            r"settings: unknown key 'epoch'; did you mean epochs\?; the keys",
        ),
        ({"settings": {"epochs": "many"}}, "settings: .*epochs.*many"),
        ({"settings": {"seed": 3}}, "settings: unknown key 'seed'"),
        ({"variations": [{"epoch": 3}]}, "variations: unknown key 'epoch'"),
        ({"variations": ["epochs"]}, "variations: each must be settings"),
        ({"variations": 1}, "variations must be a list of settings, not 1"),
        ({"variations": [{"beta": 1, "kinds": ["best"]}]}, "unknown kind 'best'"),
        ({"variations": [{"beta": 1, "kinds": "implicit"}]}, "kinds must be a list or null"),
        ({"base": "toy.yaml"}, "is its own base"),
        ({"base": 3}, "base must name a file, not 3"),
        ({"profiles": ["small"]}, "profiles must be keys and values"),
        ({"profiles": {"small": ["epochs"]}}, "profiles must be keys and values"),
        ({"predicts": "explicit"}, "predicts must be a list of ahead, behind and sets, not 'expl"),
        ({"predicts": [{"ahead": "explicit", "sets": "yes"}]}, "predicts: .*behind"),
        (
            {"predicts": [{"ahead": "best", "behind": "chance", "sets": "yes"}]},
            "predicts: unknown kind 'best'; the kinds are .*, chance$",
        ),
        (
            {"predicts": [{"ahead": "explicit", "behind": "implicit", "sets": "no"}]},
            "predicts: unknown evaluation set 'no'; the evaluation sets are yes, certainly, in-d",
        ),
        ({"train_rows": 0}, "train_rows and eval_rows must be at least 1"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_with_the_valid_names(changes, message, read, tmp_path):
    with pytest.raises(UserError, match=message) as raised:
        read(changes)
    assert str(raised.value).startswith(str(tmp_path / "toy.yaml"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"profile": "tiny"}, "unknown profile 'tiny'; the profiles: small"),
        ({"kinds": ["best"]}, "unknown kind 'best'"),
        (
            {"eval": {"no": "a.jsonl"}},
            "unknown evaluation set 'no'; the evaluation sets are yes, c",
        ),
        ({"settings": {"colour": "red"}}, "unknown key 'colour'; the keys are max_length"),
    ],
)
def test_a_mistake_in_the_flags_is_one_line_with_the_valid_names(flags, message, read):
    with pytest.raises(UserError, match=message):
        read(**flags)


@pytest.mark.parametrize("text", ["- a\n", "a: [\n", ""])
def test_a_file_that_is_no_experiment(text, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    for name in (path, tmp_path / "none.yaml"):
        with pytest.raises(UserError, match=str(name)):
            read_experiment(RunConfig(experiment=str(name), out="out"))


def test_a_grid_is_written_down_and_may_grow(read, tmp_path):
    def write(**flags: Any) -> dict[str, Any]:
        experiment = read(eval={"certainly": "c.jsonl"}, **flags)
        data = find_evaluation_data(experiment, None)
        grid = plan(experiment, str(tmp_path / "grid"), "train.jsonl", data)
        write_experiment(grid.record())
        written: dict[str, Any] = yaml.safe_load((tmp_path / "grid/experiment.yaml").read_text())
        return written

    first = write(seeds=[1])
    assert first["name"] == "toy" and first["claim"] == VALUES["claim"]
    assert first["train"] == {"name": "yes", "data": "train.jsonl"}
    assert first["eval"]["certainly"] == {
        "data": "c.jsonl",
        "category": "token-level",
        "shift_of": "yes",
    }
    assert first["cells"][1] == {
        "model": "first",
        "kind": "implicit",
        "seed": 1,
        "variation": "",
        "folder": "first/implicit/seed-1",
    }
    second = write(seeds=[0], kinds=["explicit"])
    assert [cell["seed"] for cell in second["cells"]] == [0, 0, 1, 1, 1, 1]
    with pytest.raises(UserError, match="grid holds an experiment with another settings; choose"):
        write(settings={"epochs": 6})


def test_grids_that_open_one_folder_at_once_lose_no_cell(read, tmp_path):
    data = {"yes": "a", "certainly": "b"}
    grids = [plan(read(seeds=[n]), str(tmp_path / "grid"), "t", data) for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write_experiment, [grid.record() for grid in grids]))
    written = yaml.safe_load((tmp_path / "grid/experiment.yaml").read_text())["cells"]
    assert {cell["seed"] for cell in written} == set(range(8)) and len(written) == 8 * 4


def test_a_folder_of_something_else_is_left_alone(read, tmp_path):
    (tmp_path / "grid").mkdir()
    (tmp_path / "grid" / "notes.txt").touch()
    grid = plan(read(), str(tmp_path / "grid"), "train.jsonl", {"yes": "a", "certainly": "b"})
    with pytest.raises(UserError, match="not an empty folder and holds no experiment"):
        write_experiment(grid.record())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("profile", [None, "small"])
def test_the_papers_experiments(path, profile):
    """Each is whole at both scales, and asks only for what sources have."""
    experiment = read_experiment(RunConfig(experiment=str(path), out="out", profile=profile))
    assert experiment.name == path.stem
    sets = [experiment.train, *experiment.eval.values()]
    for spec in (spec for each in sets if isinstance(each.data, str) for spec in [each.data]):
        parsed = parse_spec(spec)
        assert parsed.part in SOURCES[parsed.name].parts
    grid = plan(experiment, "out", "train.jsonl", dict.fromkeys(experiment.eval, "test.jsonl"))
    configs = [grid.config(cell, "model") for cell in grid.cells]
    if profile is None:
        own = [
            config for cell, config in zip(grid.cells, configs, strict=True) if not cell.variation
        ]
        assert {(c.learning_rate, c.batch_size) for c in own} == {(1e-6, 32)}
        assert {config.seed for config in configs} == {0, 1, 2}


def test_there_is_an_experiment_for_every_claim():
    names = {path.stem for path in FILES}
    assert names == {"chat", "hamiltonian", "hyperparameters", "math", "persona", "variants"}


def test_the_demos_experiment_is_one_file_in_the_package():
    path = FOLDER / "demo.yaml"
    packaged = Path(experiment_module.__file__).with_name("demo.yaml")
    assert path.is_symlink() and path.resolve() == packaged.resolve()
    experiment = read_experiment(RunConfig(experiment=str(path), out="out"))
    assert experiment.name == "demo" and "crossed-test" in experiment.eval
    assert [source.shift_of for source in experiment.eval.values()] == [
        *(None, None, "original-train", "original-test", "original-test")
    ]
