"""run.py PROGRAM: checks the program against its table, the module beside this file of the same name."""

import importlib
import sys

import harness

program = sys.argv[1]
sys.exit(1 if harness.check(program, importlib.import_module(program.replace("-", "_")).CASES) else 0)
