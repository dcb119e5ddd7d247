"""Ways to run a model: one file each, one contract (``base.Runtime``)."""
