"""The programs: each module has `main(arguments)`, which returns an exit status."""
