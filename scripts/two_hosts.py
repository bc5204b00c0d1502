"""Does a run on two machines give that of one? Two network namespaces play the machines.

    sudo python scripts/two_hosts.py

Each has an address, a host name and an sshd of its own; `mpiexec -f hosts` starts a rank in each,
and their gradients go through the network between them. All of it is taken down at the end. It
takes Linux, root, iproute2, OpenSSH, and the extra `[mpi]` with MPICH.
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
NEEDED = ("ip", "unshare", "hostname", "ssh", "sshd", "ssh-keygen", "mpiexec")
CONFIG = """
corpus: {path: text.txt}
model: {cell: gru, hidden: 32, dropout: 0.3, dtype: float64}
train: {batch_size: 5, seq_length: 20, steps: 20, seed: 1}
optimizer: {learning_rate: 0.01}
output: {validate_every: 10}
"""
SSHD = """
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
"""


def missing() -> str | None:
    """What this machine lacks, if anything."""
    os.environ["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin", "/sbin"]
    )
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it takes Linux and root"
    lacking = [program for program in NEEDED if shutil.which(program) is None]
    if lacking:
        return f"there is no {', '.join(lacking)}"
    if run("ip", "netns", "add", "charrnn-try", check=False).returncode:
        return "no network namespace can be made here"
    run("ip", "netns", "del", "charrnn-try")
    return None


def run(*words: object, check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
    """A command, silently."""
    return subprocess.run(
        [*map(str, words)], check=check, capture_output=True, text=True, **options
    )


@contextmanager
def hosts(folder: Path) -> Iterator[None]:
    """Two machines joined by a cable; `folder` has the keys, and the files that mpiexec needs."""
    for key in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key)
    (folder / "sshd").write_text(SSHD.format(folder=folder))
    (folder / "hosts").write_text("".join(f"{address}\n" for address in HOSTS.values()))
    ssh = folder / "ssh.sh"
    known = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    ssh.write_text(f'#!/bin/sh\nexec ssh -i "{folder}/user" {known} "$@"\n')
    ssh.chmod(0o755)
    Path("/run/sshd").mkdir(exist_ok=True)
    daemons = []
    try:
        for name in HOSTS:
            run("ip", "netns", "add", name)
        run("ip", "link", "add", "eth0", "netns", "charrnn-a", "type", "veth",
            "peer", "name", "eth0", "netns", "charrnn-b")  # fmt: skip
        for name, address in HOSTS.items():
            inside = ("ip", "-n", name)
            run(*inside, "addr", "add", f"{address}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                run(*inside, "link", "set", device, "up")
            daemon = f"hostname {name} && exec {shutil.which('sshd')} -D -e -f {folder}/sshd"
            daemons.append(
                subprocess.Popen(
                    ["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", daemon],
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
    """What a run says."""
    words = [sys.executable, "-m", "charrnn", "train", folder / "run.yaml", "--out", folder / out]
    done = run(*launcher, *words, check=False, cwd=folder)
    if done.returncode:
        raise SystemExit(f"the run failed ({done.returncode}): {done.stderr}")
    return done.stderr


def main() -> None:
    """Train on one machine and on two, and compare."""
    reason = missing()
    if reason is not None:
        print(f"skipped: {reason}")
        return
    with tempfile.TemporaryDirectory() as name, hosts(Path(name)):
        folder = Path(name)
        (folder / "text.txt").write_text(TEXT[:20_000], encoding="utf-8")
        (folder / "run.yaml").write_text(CONFIG, encoding="utf-8")
        # Two ranks of one machine would find their common memory, whatever their names.
        launcher = ("mpiexec", "-genv", "UCX_TLS", "tcp", "-genv", "FI_PROVIDER", "tcp",
                    "-launcher", "ssh", "-launcher-exec", folder / "ssh.sh")  # fmt: skip
        on_both = ("ip", "netns", "exec", "charrnn-a", *launcher, "-f", folder / "hosts", "-n", 2)
        where = run(*on_both, "-ppn", 1, "sh", "-c", "hostname; ip -o -4 addr show eth0").stdout
        print(where)
        train(folder, "one.npz", "env", "OPENBLAS_NUM_THREADS=1")
        print(train(folder, "two.npz", *on_both, "-ppn", 1))
        one, two = (checkpoint.load(str(folder / f"{name}.npz")) for name in ("one", "two"))
        apart = float(np.abs(one.params.flat - two.params.flat).max())
        sent = run("ip", "-n", "charrnn-a", "-s", "link", "show", "eth0").stdout.split()
        print(f"20 updates by one process and by two hosts: weights at most {apart:.1e} apart")
        print(f"bytes that one host sent the other: {sent[sent.index('TX:') + 7]}")
        if apart > 1e-10:
            raise SystemExit("these are two different runs")


if __name__ == "__main__":
    main()
