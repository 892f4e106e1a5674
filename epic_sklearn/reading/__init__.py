"""Files of rows: read as text, typed once, and cut as they are."""
