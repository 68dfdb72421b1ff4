"""`python -m efiss`, the same as `efiss`."""

from efiss.cli import main

main(prog_name="efiss")
