"""Where frames go: a recording, an event log, a trace, a window."""
