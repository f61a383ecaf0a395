"""The rules, a file for each group. A check takes one unit and yields what it finds there."""
