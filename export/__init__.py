"""Graphs and engines for other runtimes, and the proof that they are right."""
