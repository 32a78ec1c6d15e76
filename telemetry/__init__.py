"""How the processes are watched: what each measures, where it is asked, how that is put together."""
