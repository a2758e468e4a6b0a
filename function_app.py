"""The Functions app: registers the blueprint, and nothing else."""

import sys
from pathlib import Path

# In Azure the package's root is on sys.path, its src folder is not.
sys.path.insert(0, str(Path(__file__).parent / "src"))

import azure.functions as func

from contraforce_sentinel.edge.triggers import blueprint

app = func.FunctionApp()
app.register_functions(blueprint)
