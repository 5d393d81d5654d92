"""`python -m balenawasm`: the same as the `balenawasm` command."""

from balenawasm.cli.main import main

main()
