"""The command line: read options, call the library, show results. The only room that prints or exits."""
