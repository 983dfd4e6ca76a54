"""``python -m mmtl`` is the command ``mmtl``."""

from mmtl.cli.main import main

if __name__ == "__main__":
    main()
