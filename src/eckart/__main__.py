"""``python -m eckart``, which ``torchrun`` starts once per rank."""

from eckart.cli import main

main()
