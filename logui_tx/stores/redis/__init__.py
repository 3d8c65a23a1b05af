"""``redis:``, the session store that several servers share."""
