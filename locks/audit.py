"""Known vulnerabilities of what locks/core.txt pins, by pip-audit; a clear line where no advisories can be reached.

python locks/audit.py          exits with 1 where a package has a known vulnerability
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LOCK = Path(__file__).with_name("core.txt")


def requirements(text: str) -> list[str]:
    """Each pinned package with its hashes."""
    return re.findall(r"^[A-Za-z0-9][^\n]*==[^\n]*\n(?:    --hash[^\n]*\n?)+", text, re.MULTILINE)


def audit(pinned: list[str]) -> list[dict[str, Any]] | None:
    """What pip-audit says of each package; None where it got no answer."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(pinned))
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "-r", file.name]
        options = ["--progress-spinner", "off", "--timeout", "10", "--format", "json"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)  # noqa: S603
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return None
    return found


def main() -> int:
    pinned = requirements(LOCK.read_text(encoding="utf-8"))
    first = audit(pinned[:1])
    if not first or "skip_reason" in first[0]:
        print("pip-audit: skipped, no index of advisories can be reached from here")
        return 0
    found = audit(pinned)
    if found is None:
        print("pip-audit: skipped, the index of advisories does not answer any more")
        return 0
    wrong = [each for each in found if each.get("vulns")]
    for each in wrong:
        for known in each["vulns"]:
            fixed = ", ".join(known.get("fix_versions", ())) or "no version yet"
            print(f"{each['name']} {each['version']}: {known['id']}, fixed in {fixed}", file=sys.stderr)
    print(f"pip-audit: {len(found)} packages, {len(wrong)} with known vulnerabilities")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
