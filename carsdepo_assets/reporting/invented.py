"""How rows that the demo invented are told from real ones: by the name of the file that they came in."""

INVENTED_FILE = "sample-"  # prefix of the demo's files in raw/business/; pages mark figures that hold such rows
