"""`python -m evaluation VERB ...`, the same as `swipelab VERB ...`."""

from evaluation.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
