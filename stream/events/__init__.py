"""What was found, as events: their schema, the spool they wait in, and how they are delivered."""
