"""The command line of geoseg: reads what was typed, calls one stage of the library, prints its report."""
