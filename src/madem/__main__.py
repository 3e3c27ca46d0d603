"""``python -m madem`` is the command line."""

from madem.cli import main

if __name__ == "__main__":
    main()
