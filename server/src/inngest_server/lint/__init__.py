"""`inngest lint`: finds in source code what makes an Inngest function behave differently when called again.

A function is called once for every step or so, and each time it must take the same way to the place where it
had stopped. This package reads Python source and nothing else: no file is opened here, no code imported or
run. Files are read by `cli/lint.py`.

```
source.py    one file: its tree, names, imports, suppressions
project.py   several files: which definition a name means
entries.py   which functions are Inngest functions
unit.py      one function body: who is ctx and step, where the steps are, what runs outside them
effects.py   what a call does that is not repeatable (catalogue.py has the names)
checks/      the rules, a file for each group; rules.py describes them
lint.py      all of it together
```
"""
