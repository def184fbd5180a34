"""Status, doctor, report page, mask view."""
