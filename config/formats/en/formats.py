"""The admin's format for datetimes: sortable, with seconds and the time zone."""

DATETIME_FORMAT = "Y-m-d H:i:s T"
