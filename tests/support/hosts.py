"""Two hosts on one machine: network namespaces joined by a veth pair, as far apart as two machines on one switch."""

import os
import shutil
import subprocess

ADDRESSES = ["10.231.77.1", "10.231.77.2"]


class Hosts:
    """with Hosts() as hosts: subprocess.Popen(hosts.command(0, program), env=hosts.environment(0, port))"""

    def __init__(self):
        self.names = [f"mose{os.getpid()}h{i}" for i in range(2)]

    @staticmethod
    def missing():
        """Why there can be none here, or None."""
        if shutil.which("ip") is None:
            return "there is no `ip` (Debian's iproute2)"
        if os.geteuid() != 0:
            return "making network namespaces takes root"
        tried = subprocess.run(["ip", "netns", "add", f"mose{os.getpid()}try"], capture_output=True, text=True)
        subprocess.run(["ip", "netns", "del", f"mose{os.getpid()}try"], capture_output=True)
        return None if tried.returncode == 0 else f"no network namespace can be made: {tried.stderr.strip()}"

    def __enter__(self):
        try:
            for name in self.names:
                self.ip("netns", "add", name)
            ends = [f"mv{os.getpid() % 100000}{i}" for i in "ab"]
            self.ip("link", "add", ends[0], "netns", self.names[0], "type", "veth", "peer", "name", ends[1], "netns", self.names[1])
            for name, end, address in zip(self.names, ends, ADDRESSES):
                self.ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
                self.ip("-n", name, "link", "set", end, "up")
                self.ip("-n", name, "link", "set", "lo", "up")
        except Exception:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in self.names:  # and with it its end of the cable
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    @staticmethod
    def ip(*args):
        subprocess.run(["ip", *args], check=True, capture_output=True, text=True)

    def command(self, host, *program):
        return ["ip", "netns", "exec", self.names[host], *map(str, program)]

    @staticmethod
    def environment(host, port, **more):
        """One process a host, with the variables that torchrun sets."""
        return {**os.environ, "RANK": str(host), "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": ADDRESSES[0],
                "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1", **more}

    def cut(self):
        """Pulls the cable."""
        devices = subprocess.run(["ip", "-n", self.names[0], "-o", "link"], capture_output=True, text=True, check=True).stdout
        end = next(line.split(": ")[1].split("@")[0] for line in devices.splitlines() if ": mv" in line)
        self.ip("-n", self.names[0], "link", "set", end, "down")
