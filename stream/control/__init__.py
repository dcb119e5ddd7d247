"""What may be changed and looked up while cameras run; nothing here knows of the web."""
