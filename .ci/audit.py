"""Finds known vulnerabilities of the locked dependencies with pip-audit.

The exit code is 1 where there are some, and 3 where the advisory database did not answer for all dependencies, so that
there may be more.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"
COMMAND = ["-m", "pip_audit", "--disable-pip", "--require-hashes", "-r", str(LOCK), "-f", "json"]
TIMEOUT_S = 300


def main() -> int:
    """Run pip-audit, print the result, and return the exit code."""
    try:
        done = subprocess.run(
            [sys.executable, *COMMAND, "--progress-spinner", "off"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, subprocess.TimeoutExpired):
        print("NOT AUDITED: the advisory database could not be reached", file=sys.stderr)
        return 3
    found = [(package, one) for package in packages for one in package.get("vulns", [])]
    for package, one in found:
        fixed = ", ".join(one["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {one['id']}, fixed in {fixed}", file=sys.stderr)
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if unknown:
        text = f"NOT AUDITED: {len(unknown)} of {len(packages)} dependencies ({', '.join(unknown[:3])}, ...)"
        print(f"{text}: the advisory database does not know them", file=sys.stderr)
    if not found and not unknown:
        print(f"audited: no known vulnerability in {len(packages)} dependencies")
    return 1 if found else 3 if unknown else 0


if __name__ == "__main__":
    raise SystemExit(main())
