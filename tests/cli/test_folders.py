"""Study and log folders: nothing foreign is replaced, nothing half-written is taken for whole."""

import pytest

from evaluation import publishing
from sim.config import ConfigError
from sim.log import Log
from tests.cli.conftest import SMALL

STUDY = (*SMALL, "policy=random", "out=here")


@pytest.fixture
def study(run, cache, tmp_path):
    """Folder of a finished study."""
    code, _, complaint = run(*STUDY, cache)
    assert code == 0, complaint
    return tmp_path / "here"


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_study_is_written_again(run, cache, study) -> None:
    before = content(study)
    assert set(before) <= set(publishing.FILES)
    assert run(*STUDY, cache, "workers=2")[0] == 0
    after = content(study)
    assert set(before) == set(after)
    assert before["results.parquet"] == after["results.parquet"]


def test_another_study_is_kept(run, cache, study) -> None:
    before = content(study)
    code, _, complaint = run(*STUDY, "ks=[7]")
    assert code == 2
    assert complaint == (
        "error: out = 'here' holds a study of other settings; "
        "allowed: another folder, or overwrite=true to replace it\n"
    )
    assert content(study) == before
    for k, allowed in ((7, "overwrite=true"), (8, "overwrite=here")):
        assert run(*STUDY, cache, f"ks=[{k}]", allowed)[0] == 0
    assert content(study)["results.parquet"] != before["results.parquet"]
    assert run(*STUDY, "overwrite=there")[0] == 2
    code, _, complaint = run(*STUDY, "overwrite=3")
    assert "overwrite = 3; allowed: true, false, or the one folder" in complaint


def test_foreign_files_are_never_touched(run, tmp_path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "index.html").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    before = content(folder)
    for more in ((), ("overwrite=true",)):
        code, _, complaint = run(*STUDY, *more)
        assert code == 2
        assert "out = 'here' holds 'notes.txt', which no study writes; allowed: " in complaint
    (folder / "notes.txt").unlink()  # a page alone might be anybody's
    code, _, complaint = run(*STUDY)
    assert "out = 'here' holds a study of other settings; allowed: " in complaint
    assert content(folder)["index.html"] == before["index.html"]


def test_preset_may_replace_its_own_folder_only(run, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr("evaluation.study.run_study", lambda settings: seen.append(settings) or 1)
    monkeypatch.setattr("evaluation.report.render", lambda folder: folder)
    monkeypatch.setattr("evaluation.leaderboard.collect", lambda folders: folders)
    monkeypatch.setattr("evaluation.leaderboard.show", lambda table, console: None)
    assert run("study", "experiment=quickstart")[0] == 0
    assert run("study", "experiment=quickstart", "out=mine")[0] == 0
    assert [settings.overwrite for settings in seen] == [True, False]


@pytest.mark.parametrize("after", range(1, 12))
def test_interruption_while_publishing_leaves_no_mixture(tmp_path, monkeypatch, after) -> None:
    out = tmp_path / "out"
    for version in ("old", "new"):
        draft = publishing.new_draft(out)
        for name in publishing.FILES:
            if name not in (publishing.TABLE, publishing.PAGE, publishing.PICTURE):
                (draft / name).write_text(version)
        publishing.hidden_table(draft).write_text(version)
        if version == "old":
            publishing.publish(draft, out)
            (out / publishing.PAGE).write_text("old")
    moves = iter(range(1, 100))
    original_replace, original_unlink = type(out).replace, type(out).unlink

    def replace(path, target):
        if next(moves) == after:
            raise KeyboardInterrupt
        return original_replace(path, target)

    def unlink(path, missing_ok=False):
        if next(moves) == after:
            raise KeyboardInterrupt
        return original_unlink(path, missing_ok)

    monkeypatch.setattr(type(out), "replace", replace)
    monkeypatch.setattr(type(out), "unlink", unlink)
    try:
        publishing.publish(draft, out)
    except KeyboardInterrupt:
        pass
    else:
        assert after == 11
    if (out / publishing.TABLE).exists():
        names = [name for name in publishing.FILES if (out / name).exists()]
        assert len({(out / name).read_text() for name in names}) == 1


def test_hidden_files_of_others_stay(tmp_path) -> None:
    out = tmp_path / "out"
    (out / ".git").mkdir(parents=True)
    draft = publishing.new_draft(out)
    publishing.hidden_table(draft).write_text("")
    publishing.require_own(out, "", overwrite=False)
    publishing.publish(draft, out)
    assert sorted(path.name for path in out.iterdir()) == [".git", "results.parquet"]


def test_simulation_does_not_write_into_foreign_folders(run, tmp_path, study) -> None:
    before = content(study)
    code, _, complaint = run("simulate", "world=tiny", "days=1", "out=here")
    assert code == 2
    assert "out = 'here' holds 'config.yaml', which is no part of a log; allowed: " in complaint
    assert content(study) == before
    (tmp_path / "log/impressions").mkdir(parents=True)  # interrupted in its first day
    publishing.require_own_log(tmp_path / "log")
    (tmp_path / "log/thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"'thesis.tex', which is no part of a log"):
        publishing.require_own_log(tmp_path / "log")


def test_truncated_cached_log_is_simulated_again(run, tmp_path) -> None:
    own = (*STUDY, "work=own")
    assert run(*own)[0] == 0
    before = content(tmp_path / "here")
    (log,) = (tmp_path / "own/logs").iterdir()
    (table, *_) = sorted(log.rglob("impressions/**/*.parquet"))
    table.write_bytes(table.read_bytes()[:-10])
    code, _, complaint = run(*own)
    assert code == 0, complaint
    assert "simulating it again" in complaint
    assert len(Log.open(log).impressions()) > 0
    assert content(tmp_path / "here")["results.parquet"] == before["results.parquet"]


def test_broken_log_of_the_user_is_not_deleted(run, tmp_path) -> None:
    simulate = ("simulate", "world=tiny", "days=1", "out=log")
    assert run(*simulate)[0] == 0
    (table, *_) = sorted((tmp_path / "log").rglob("impressions/**/*.parquet"))
    table.write_bytes(table.read_bytes()[:-10])
    code, _, complaint = run(*simulate)
    assert code == 2
    assert complaint.endswith("; delete log and run the same command\n")
    assert table.exists()
