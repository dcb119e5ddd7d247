"""Sending the annotated picture to servers and playlists, each on a thread and a process apart."""
