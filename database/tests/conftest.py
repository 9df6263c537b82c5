from hypothesis import settings

# No deadline: the duration of an example depends on the machine.
settings.register_profile("spool", deadline=None)
settings.load_profile("spool")
