"""`python -m siren_sweep`."""

from siren_sweep.app import main

if __name__ == "__main__":
    main()
