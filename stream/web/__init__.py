"""The live page and its API: ``--serve``. Nothing outside of it imports web libraries."""
