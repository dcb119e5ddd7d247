"""What may be asked of a recording's picture. It imports nothing, so that ``--help`` is quick."""

AUTO = "auto"
ENCODERS = (AUTO, "x264", "x265", "svtav1", "nvenc", "videotoolbox")
MEDIUM = "medium"
QUALITIES = ("low", MEDIUM, "high", "archive")
