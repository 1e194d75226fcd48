"""How choices on the command line become studies: lists, sweeps, presets, third parties."""

from pathlib import Path

import pytest
from hydra import initialize_config_module

from evaluation.overrides import composed, jobs, with_policies
from evaluation.settings import StudySettings, simulate_settings, study_settings
from policies import registry
from sim.config import ConfigError, build

MINE = """
class MyPolicy:
    def __init__(self, bias: float = 1.0, sizes: tuple[int, ...] = (8, 4)):
        self.bias, self.sizes = bias, sizes
    def fit(self, log, context):
        return self
    def score(self, requests):
        return 0 * requests.candidate_id
"""


@pytest.fixture
def study(run):
    """Settings of the one study that the arguments describe, without running the command."""

    def settled(*arguments: str) -> StudySettings:
        overrides = with_policies(["world=tiny", *arguments], swept=False)
        registry.register(load=True)
        (config,) = composed("study", overrides, swept=False)
        return study_settings(config)

    return settled


@pytest.fixture
def studies(run, monkeypatch):
    """Settings of the studies that a command runs."""

    def collect(*arguments: str) -> list[StudySettings]:
        seen: list[StudySettings] = []

        def job(config) -> None:
            from evaluation.jobs import is_swept

            seen.append(study_settings(config, swept=is_swept()))

        monkeypatch.setattr("evaluation.cli.study_job", job)
        code, _, complaint = run("study", "world=tiny", *arguments)
        assert code == 0, complaint
        return seen

    return collect


@pytest.mark.parametrize("typed", ["policy=random,oracle", "policy=[random,oracle]"])
def test_list_is_one_study(studies, typed) -> None:
    (found,) = studies(typed)
    assert list(found.policies) == ["random", "oracle", "popularity"]


def test_control_in_the_list_keeps_its_place_and_arguments(study) -> None:
    found = study("policy=popularity,random", "policies.popularity.prior=7")
    assert list(found.policies) == ["popularity", "random"]
    assert build(found.policies["popularity"]).prior == 7


def test_one_policy_against_another_control(study) -> None:
    found = study("policy=recency", "control=random")
    assert list(found.policies) == ["recency", "random"]
    assert found.control == "random"


@pytest.mark.parametrize("flag_first", [True, False])
def test_comma_with_m_is_a_sweep(studies, flag_first) -> None:
    typed = ["policy=random,oracle", *(["seed=0,1"] if flag_first else [])]
    swept = studies(*(["-m", *typed] if flag_first else [*typed, "-m"]))
    found = [(next(iter(each.policies)), each.seed) for each in swept]
    seeds = [0, 1] if flag_first else [0]
    assert found == [(name, seed) for name in ("random", "oracle") for seed in seeds]
    assert len({each.out for each in swept}) == len(found)


def test_sweep_of_lists_with_one_output_folder(studies) -> None:
    swept = studies("-m", "policy=[random,oracle],[recency]", "out=here")
    assert [list(each.policies) for each in swept] == [
        ["random", "oracle", "popularity"],
        ["recency", "popularity"],
    ]
    assert {each.out.parent for each in swept} == {Path("here")}


def test_output_folder_follows_the_config(study) -> None:
    first = study("policy=random")
    again = study("policy=random", "workers=1", "work=elsewhere")
    other = study("policy=random", "days=3")
    assert first.out == again.out
    assert first.out != other.out
    assert first.out.parts[:2] == ("outputs", "study")
    assert study("out=here").out == Path("here")


def test_preset_can_be_overridden(study) -> None:
    found = study("experiment=smoke", "days=4", "policy=recency")
    assert (found.name, found.days) == ("smoke", 4)
    assert list(found.policies) == ["recency", "popularity"]


def test_experiments_compose(study) -> None:
    folder = Path(__file__).parents[2] / "conf/experiment"
    for path in sorted(folder.glob("*.yaml")):
        assert study(f"experiment={path.stem}").name == path.stem


def test_delays_are_chosen_by_name_or_by_a_world(study, tmp_path) -> None:
    assert study("delay=taobao_3d").world.delay.horizon_days == 3
    assert study("delay=taobao_3d", "world.delay.horizon_days=5").world.delay.horizon_days == 5
    own = tmp_path / "conf/world/hasty.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(
        "defaults: [tiny, override /delay@_global_.delay: no_delay, _self_]\n"
        "name: hasty\ndelay: {time_of_day: 0.5}\n"
    )
    for typed, weight in ((["world=hasty"], 0.0), (["world=hasty", "delay=exp_dfm"], 1.0)):
        (config,) = composed("simulate", typed, swept=False, folder=str(tmp_path / "conf"))
        assert config.world.delay.tail.weight == weight
        assert config.world.delay.time_of_day == 0.5


def test_settings_are_typed_and_complete(study) -> None:
    found = study("ks=[10,5,5]", "seed=3")
    assert found.world.name == "tiny"
    assert (found.ks, found.seed) == ((5, 10), 3)
    assert found.objective == found.world.objective
    assert build(found.logging.policy).prior > 0
    assert "${" not in found.config_yaml
    assert found.simulation.days == found.days


def test_class_by_name(studies, tmp_path) -> None:
    (tmp_path / "choice_module.py").write_text(MINE)
    (found,) = studies("policy=random,choice_module:MyPolicy", "policies.my_policy.bias=9")
    assert list(found.policies) == ["random", "my_policy", "popularity"]
    policy = build(found.policies["my_policy"])
    assert (policy.bias, tuple(policy.sizes)) == (9, (8, 4))


def test_class_in_a_sweep(studies, tmp_path) -> None:
    (tmp_path / "sweep_module.py").write_text(MINE)
    swept = studies("-m", "policy=random,sweep_module:MyPolicy")
    assert [next(iter(each.policies)) for each in swept] == ["random", "my_policy"]


def test_class_by_target(studies, tmp_path) -> None:
    (tmp_path / "target_module.py").write_text(MINE)
    (found,) = studies("policy=random", "+policies.mine._target_=target_module.MyPolicy")
    assert build(found.policies["mine"]).bias == 1.0


def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distribution: str, point: str) -> None:
    """Install a distribution that offers a policy."""
    folder = tmp_path / f"{distribution}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[swipelab.policies]\n{point}\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_entry_point_is_an_option_like_any_other(
    studies, study, run, tmp_path, monkeypatch
) -> None:
    (tmp_path / "acme_module.py").write_text(MINE)
    offer(tmp_path, monkeypatch, "acme", "acme = acme_module:MyPolicy")
    (found,) = studies("policy=acme,random", "policies.acme.bias=9")
    assert build(found.policies["acme"]).bias == 9
    assert study("control=acme").control == "acme"
    code, printed, _ = run("study", "--help")
    assert code == 0
    assert "policy: acme, " in printed
    code, _, complaint = run("study", "policy=acme", "policies.acme.bia=9")
    assert code == 2
    assert "policies.acme.bia is unknown (did you mean bias?); allowed: bias, sizes" in complaint


def test_entry_point_with_a_taken_name_is_refused(run, tmp_path, monkeypatch) -> None:
    offer(tmp_path, monkeypatch, "acme", "popularity = acme_module:MyPolicy")
    code, _, complaint = run("study", "policy=random")
    assert code == 2
    assert "policy 'popularity' of acme (acme_module:MyPolicy) is also a policy of swipelab" in (
        complaint
    )


def test_broken_entry_point_harms_only_its_users(study, run, tmp_path, monkeypatch) -> None:
    offer(tmp_path, monkeypatch, "acme", "acme = no_such_module:MyPolicy")
    assert study("policy=random")
    code, _, complaint = run("study", "policy=acme")
    assert code == 2
    assert "no_such_module" in complaint
    code, printed, _ = run("doctor")
    assert code == 1
    assert "acme = no_such_module:MyPolicy of acme is broken" in printed


def test_class_whose_name_is_taken(tmp_path, monkeypatch) -> None:
    (tmp_path / "taken_module.py").write_text(MINE.replace("MyPolicy", "Popularity"))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="would be named 'popularity', which is taken"):
        registry.add("taken_module:Popularity")


def test_simulation_settings(run, monkeypatch) -> None:
    seen = []
    job = lambda config: seen.append(simulate_settings(config))  # noqa: E731
    monkeypatch.setattr("evaluation.cli.simulate_job", job)
    assert run("simulate", "world=tiny", "days=1", "logging=random")[0] == 0
    assert seen[0].logging.name == "random"
    assert seen[0].out.parts[:2] == ("outputs", "logs")


def test_jobs_of_a_sweep_are_those_of_hydra() -> None:
    with initialize_config_module("conf", version_base="1.3"):
        assert list(jobs(["a=1,2", "b=x", "c=[1,2],[3]"])) == [
            ["a=1", "b=x", "c=[1,2]"],
            ["a=1", "b=x", "c=[3]"],
            ["a=2", "b=x", "c=[1,2]"],
            ["a=2", "b=x", "c=[3]"],
        ]


def test_a_sweep_over_all_policies() -> None:
    registry.register(load=True)
    every = composed("study", with_policies(["policy=glob(*)"], swept=True), swept=True)
    names = [set(config.policies) for config in every]
    assert names == [{name} for name in sorted(registry.names())]


def test_only_policy_is_rewritten() -> None:
    assert with_policies(["policy=a,b", "seed=0,1", "-m"], swept=True) == [
        "policy=a,b", "seed=0,1", "-m"
    ]  # fmt: skip
    assert with_policies(["policy=a,b", "ks=[1,2]"], swept=False) == ["policy=[a,b]", "ks=[1,2]"]


def test_the_null_world_is_a_name_and_not_nothing(run, tmp_path) -> None:
    code, _, complaint = run(
        "simulate", "world=null", "days=1", "world.population.n_users=50",
        "world.population.n_streamers=40", f"out={tmp_path}/log",
    )  # fmt: skip
    assert code == 0, complaint
    assert (tmp_path / "log").is_dir()
