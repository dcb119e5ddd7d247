"""``python -m stream`` is ``rcnn-live``."""

from stream.cli import main

main()
