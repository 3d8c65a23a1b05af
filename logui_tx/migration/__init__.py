"""From the released LogUI server to this one: its database and its download files, read into the journal."""
