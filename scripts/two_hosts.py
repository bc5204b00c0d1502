"""Check that training on two machines gives the same weights as on one, with two simulated hosts.

    sudo python scripts/two_hosts.py

The hosts are two network namespaces. Each has its own address, host name and sshd; `mpiexec -f
hosts` starts a rank in each, and the gradients are sent through the network between them. The
namespaces are removed at the end. Needs Linux, root, iproute2, OpenSSH, and the extra `[mpi]` with
MPICH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from benchmark_process import TEXT

from charrnn import checkpoint

HOSTS = {"charrnn-a": "10.213.77.1", "charrnn-b": "10.213.77.2"}
REQUIRED_PROGRAMS = ("ip", "unshare", "hostname", "ssh", "sshd", "ssh-keygen", "mpiexec")
CONFIG = """
corpus: {path: text.txt}
model: {cell: gru, hidden: 32, dropout: 0.3, dtype: float64}
train: {batch_size: 5, seq_length: 20, steps: 20, seed: 1}
optimizer: {learning_rate: 0.01}
output: {validate_every: 10}
"""
SSHD_CONFIG = """
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
"""


def missing_requirement() -> str | None:
    """Return why the script cannot run on this machine, or None when it can."""
    os.environ["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin", "/sbin"]
    )
    if sys.platform != "linux" or os.geteuid() != 0:
        return "Linux and root are required"
    missing = [program for program in REQUIRED_PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"{', '.join(missing)} not found"
    if run("ip", "netns", "add", "charrnn-try", check=False).returncode:
        return "network namespaces cannot be created here"
    run("ip", "netns", "del", "charrnn-try")
    return None


def run(
    *command: object, check: bool = True, **options: object
) -> subprocess.CompletedProcess[str]:
    """Run a command and capture its output. Raises CalledProcessError on failure if `check`."""
    return subprocess.run(
        [*map(str, command)], check=check, capture_output=True, text=True, **options
    )


@contextmanager
def hosts(folder: Path) -> Iterator[None]:
    """Set up two connected hosts for the block.

    Write the ssh keys, and the files `hosts` and `ssh.sh` that mpiexec needs, to `folder`.
    """
    for key in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key)
    (folder / "sshd").write_text(SSHD_CONFIG.format(folder=folder))
    (folder / "hosts").write_text("".join(f"{address}\n" for address in HOSTS.values()))
    ssh = folder / "ssh.sh"
    options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    ssh.write_text(f'#!/bin/sh\nexec ssh -i "{folder}/user" {options} "$@"\n')
    ssh.chmod(0o755)
    Path("/run/sshd").mkdir(exist_ok=True)
    daemons = []
    try:
        for name in HOSTS:
            run("ip", "netns", "add", name)
        run("ip", "link", "add", "eth0", "netns", "charrnn-a", "type", "veth",
            "peer", "name", "eth0", "netns", "charrnn-b")  # fmt: skip
        for name, address in HOSTS.items():
            ip_in_namespace = ("ip", "-n", name)
            run(*ip_in_namespace, "addr", "add", f"{address}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                run(*ip_in_namespace, "link", "set", device, "up")
            script = f"hostname {name} && exec {shutil.which('sshd')} -D -e -f {folder}/sshd"
            daemons.append(
                subprocess.Popen(
                    ["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", script],
                    stderr=subprocess.DEVNULL,
                )
            )
        time.sleep(1)
        yield
    finally:
        for daemon in daemons:
            daemon.kill()
            daemon.wait()
        for name in HOSTS:
            run("ip", "netns", "del", name, check=False)


def train(folder: Path, out: str, *launcher: object) -> str:
    """Train with the config in `folder` and return the stderr of the run.

    Raises SystemExit when the run fails.
    """
    command = [sys.executable, "-m", "charrnn", "train", folder / "run.yaml", "--out", folder / out]
    result = run(*launcher, *command, check=False, cwd=folder)
    if result.returncode:
        raise SystemExit(f"the run failed with exit code {result.returncode}: {result.stderr}")
    return result.stderr


def main() -> None:
    """Train in one process and on two hosts, and compare the weights."""
    reason = missing_requirement()
    if reason is not None:
        print(f"skipped: {reason}")
        return
    with tempfile.TemporaryDirectory() as path, hosts(Path(path)):
        folder = Path(path)
        (folder / "text.txt").write_text(TEXT[:20_000], encoding="utf-8")
        (folder / "run.yaml").write_text(CONFIG, encoding="utf-8")
        # By default two ranks on one machine use shared memory, despite two host names.
        launcher = ("mpiexec", "-genv", "UCX_TLS", "tcp", "-genv", "FI_PROVIDER", "tcp",
                    "-launcher", "ssh", "-launcher-exec", folder / "ssh.sh")  # fmt: skip
        on_both_hosts = ("ip", "netns", "exec", "charrnn-a",
                         *launcher, "-f", folder / "hosts", "-n", 2)  # fmt: skip
        show_host = "hostname; ip -o -4 addr show eth0"
        print(run(*on_both_hosts, "-ppn", 1, "sh", "-c", show_host).stdout)
        train(folder, "one.npz", "env", "OPENBLAS_NUM_THREADS=1")
        print(train(folder, "two.npz", *on_both_hosts, "-ppn", 1))
        one_process, two_hosts = (
            checkpoint.load(str(folder / f"{name}.npz")) for name in ("one", "two")
        )
        difference = float(np.abs(one_process.params.flat - two_hosts.params.flat).max())
        link = run("ip", "-n", "charrnn-a", "-s", "link", "show", "eth0").stdout.split()
        print("20 updates in one process and on two hosts:")
        print(f"weights differ by at most {difference:.1e}")
        print(f"bytes that one host sent to the other: {link[link.index('TX:') + 7]}")
        if difference > 1e-10:
            raise SystemExit("the two runs have different weights")


if __name__ == "__main__":
    main()
