"""How the admin writes moments: to the second, sortable, and in which zone."""

DATETIME_FORMAT = "Y-m-d H:i:s T"
