"""The commands."""

import sys

if sys.platform == "win32":
    sys.stderr.write("latentbench runs on Linux and macOS; on Windows, install it in WSL: https://aka.ms/wsl\n")
    sys.exit(2)
