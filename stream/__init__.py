"""Live video in, annotated video and events out: sources, pipeline, render, sinks, command line."""
