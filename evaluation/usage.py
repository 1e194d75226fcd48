"""What the command says about itself: the verbs and their options.

Hydra writes the help of its applications.
"""

HELP = """\
swipelab VERB [options]

  study [-m] [name=value ...]     simulate -> train -> judge -> report; -m sweeps
  simulate [-m] [name=value ...]  write the logs of a world, and nothing else
  fidelity [-m] [name=value ...]  compare generated data with published figures; code 1: some differ
  ab [-m] [name=value ...]        online experiments of every design beside the truth; 1: a red gate
  report [out=DIR]                render the page of a study again (default reports/latest)
  leaderboard [PATH ...]          collect studies into one table (default outputs reports/latest)
  check module:Class | NAME       does a policy keep the contract? one message per failure
  doctor                          versions, threads, device, plug-ins, conflicts
  dials [out=DIR]                 does each dial of the world move what it should, and nothing else?
  bench [out=DIR]                 speeds and peak memory beside their floors (default reports/perf)

Names that study, simulate, fidelity and ab share:
  world=PRESET  seed=N  days=N  out=DIR        and for study and ab:  policy=NAME[,NAME...]
  executor=serial|pool|ray  who writes the log   experiment=PRESET

  swipelab study experiment=quickstart         what `make run` runs
  swipelab study policy=popularity,dbmtl       one study that compares both
  swipelab study -m policy=dbmtl,rui3 seed=0,1 a sweep of four studies
  swipelab VERB --help                         every option of a verb
"""

REPORT_HELP = """\
swipelab report [out=DIR]    render DIR/index.html again from DIR/results.parquet

  out=DIR    a study folder; default reports/latest
"""

LEADERBOARD_HELP = """\
swipelab leaderboard [PATH ...]    collect studies into one table, with intervals

  PATH    a study folder, or any folder above some; default outputs and reports/latest
"""

CHECK_HELP = """\
swipelab check module:Class | NAME    run the conformance suite on a policy

  module:Class    a class on the Python path or in this folder, built with its defaults
  NAME            a policy of conf/policy or of a plug-in, built with its preset
"""

DOCTOR_HELP = """\
swipelab doctor    show versions, threads, device, plug-ins and conflicts; exit code 1 on a problem
"""

DIALS_HELP = """\
swipelab dials [out=DIR] [scale=NAME] [dial=NAME[,NAME...]]    turn the dials of the world, minutes

  out=DIR      where README.md, the rows and the pictures go; default reports/world
  scale=NAME   full, or small for a quick look; default full
  dial=NAME    some of the dials of conf/dials.yaml; default all

Exit code 1 if a dial does not move what it should, or moves what it should not.
"""

BENCH_HELP = """\
swipelab bench [out=DIR] [scale=NAME] [study=DIR] [long=DIR]    measure speeds and memory, minutes

  out=DIR      where README.md and speed.json go; default reports/perf
  scale=NAME   full, or small to test the benchmark itself; default full. 100m writes a log of
               100 million impressions with two workers (six minutes, 8 GB of disk) and keeps
               reports/scale/100m.json; 10m the tenth of it, 10k tests it. training trains the
               same network here and in the libraries of the extra `peers`, some ten minutes,
               and keeps training.md and training.json; training_small tests that
  study=DIR    finished `make run` whose time is shown beside its mark; default reports/latest
  long=DIR     what scale=100m left, shown likewise; default reports/scale
"""
