"""How invented rows are told from real ones: by the name of the file they came in."""

INVENTED_FILE = "sample-"  # a file in raw/business/ named so holds the demo's rows: pages say so wherever they count
