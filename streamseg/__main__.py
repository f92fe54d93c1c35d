"""``python -m streamseg``."""

from streamseg.cli.app import main

if __name__ == "__main__":
    main()
