"""`python -m siren_sweep.train CONFIG.yaml`: the bare trainer."""

from siren_sweep.train.bare import main

if __name__ == "__main__":
    raise SystemExit(main())
