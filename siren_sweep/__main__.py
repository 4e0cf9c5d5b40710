"""`python -m siren_sweep`."""

from siren_sweep.cli.main import main

if __name__ == "__main__":
    main()
