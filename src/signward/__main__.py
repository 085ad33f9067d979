"""``python -m signward`` is the ``signward`` command."""

from signward.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
