"""`python -m chimera`."""

from chimera.cli import main

if __name__ == "__main__":
    main()
