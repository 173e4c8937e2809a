"""``python -m auricle.cli`` is ``auricle``."""

from auricle.cli import main

main()
