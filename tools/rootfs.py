"""Runs the Containerfile's steps where there is no container builder: each stage is a directory, each RUN a chroot.

    python tools/rootfs.py DIRECTORY [--base TREE] [--file HOSTPATH[:PATH]]... [--env NAME=VALUE]...

DIRECTORY/root is the image's file system in the end, DIRECTORY/environment its variables. FROM is a Debian 12 made by
debootstrap (or TREE, a directory with one). ``--file`` shows a file of this machine to the steps (an authority's
certificate, say), ``--env`` sets a variable for them; neither stays in the image. Needs root. Only the instructions that
the Containerfile uses are known: FROM ... AS, RUN, COPY [--from=], ENV, CMD.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
MIRROR = "http://deb.debian.org/debian"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# In mount and pid namespaces of its own, so that nothing of a step stays behind.
STEP = """
set -e
root=$1; shift
mount -t proc proc "$root/proc"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"
done
for file in /etc/resolv.conf $FILES; do
    place=${file##*:}
    mkdir -p "$root${place%/*}"; [ -e "$root$place" ] || touch "$root$place"
    mount --bind "$(realpath "${file%%:*}")" "$root$place"
done
unset FILES
exec chroot "$root" /bin/sh -c "$1"
"""


def instructions(text):
    """(word, arguments) of a Containerfile; lines that end in a backslash go on."""
    joined = ""
    for line in text.splitlines():
        if line.lstrip().startswith("#") or (not line.strip() and not joined):
            continue
        if line.endswith("\\"):
            joined += line[:-1]
            continue
        word, _, rest = (joined + line).strip().partition(" ")
        joined = ""
        yield word, rest.strip()


class Build:
    def __init__(self, directory, base, files, environ):
        self.directory, self.base, self.files, self.given = directory, base, files, environ
        self.stages = {}
        self.environ = {}
        self.command = []
        self.root = None

    def FROM(self, rest):  # noqa: N802 - the instruction
        image, _, name = rest.partition(" AS ")
        if not image.endswith("debian:12-slim"):
            raise ValueError(f"FROM {image}: only debian:12-slim is known here")
        self.root = self.directory / (name or "root")
        self.environ = {"PATH": SYSTEM_PATH}
        self.stages[name] = self.root
        subprocess.run(["cp", "-a", "--reflink=auto", str(self.base), str(self.root)], check=True)

    def RUN(self, rest):  # noqa: N802 - the instruction
        env = {
            **self.environ,
            "DEBIAN_FRONTEND": "noninteractive",
            **self.given,
            "FILES": " ".join(self.files),
        }
        space = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
        subprocess.run([*space, "sh", "-c", STEP, "step", str(self.root), rest], env=env, check=True)

    def COPY(self, rest):  # noqa: N802 - the instruction
        *words, target = rest.split()
        source = PROJECT
        if words[0].startswith("--from="):
            source = self.stages[words.pop(0).removeprefix("--from=")]
        for word in words:
            found = source / word.lstrip("/")
            place = self.root / target.lstrip("/")
            if target.endswith("/"):
                place /= found.name
            place.parent.mkdir(parents=True, exist_ok=True)
            if found.is_dir():
                ignored = shutil.ignore_patterns("__pycache__") if source == PROJECT else None
                shutil.copytree(found, place, symlinks=True, dirs_exist_ok=True, ignore=ignored)
            else:
                shutil.copy2(found, place)

    def ENV(self, rest):  # noqa: N802 - the instruction
        name, _, value = rest.partition("=")
        self.environ[name] = value

    def CMD(self, rest):  # noqa: N802 - the instruction
        self.command = json.loads(rest)


def debian(target):
    subprocess.run(["debootstrap", "--variant=minbase", "bookworm", str(target), MIRROR], check=True)
    security = "deb http://deb.debian.org/debian-security bookworm-security main\n"
    updates = f"deb {MIRROR} bookworm-updates main\n"
    with (target / "etc/apt/sources.list").open("a") as file:
        file.write(updates + security)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--file", action="append", default=[])
    parser.add_argument("--env", action="append", default=[])
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("rootfs: a chroot needs root")
    options.directory.mkdir(parents=True)
    base = options.base
    if base is None:
        base = options.directory / "debian"
        debian(base)
    environ = dict(word.split("=", 1) for word in options.env)
    build = Build(options.directory, base, options.file, environ)
    for word, rest in instructions((PROJECT / "Containerfile").read_text()):
        print(f"rootfs: {word} {' '.join(rest.split())}", flush=True)
        try:
            getattr(build, word)(rest)
        except AttributeError:
            sys.exit(f"rootfs: {word} is no instruction that is known here")
        except subprocess.CalledProcessError as error:
            sys.exit(f"rootfs: this step ended with code {error.returncode}")
    for name in options.file:
        (build.root / name.rpartition(":")[2].lstrip("/")).unlink(missing_ok=True)
    lines = [f"{name}={value}\n" for name, value in build.environ.items()]
    (options.directory / "environment").write_text("".join(lines))
    (options.directory / "command").write_text(json.dumps(build.command))
    print(f"rootfs: {build.root} runs {' '.join(build.command)}")


if __name__ == "__main__":
    main()
