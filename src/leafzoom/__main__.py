"""`python -m leafzoom`: the command line, as the script `leafzoom`."""

from leafzoom.cli import main

if __name__ == "__main__":
    main()
