"""Kernels that start at once: a process that has imported the slow packages forks one for each notebook.

TensorFlow, Keras and the plotting libraries take some seconds to import, and every notebook has a process of its own. Here they are
imported once. A kernel is then a fork of that process, taken before TensorFlow has computed anything or started a thread. Jupyter
starts this file in place of a kernel: it asks for the fork, stays as long as the fork lives, and the fork as long as it.

Linux only, and TensorFlow only: JAX starts threads when it is imported. Elsewhere kernels start in the ordinary way.
"""

import array
import atexit
import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

PRELOAD = (
    "ipykernel.kernelapp",
    "tensorflow",
    "keras",
    "matplotlib.pyplot",
    "scipy.stats",
    "pandas",
    "sklearn.datasets",
    "sklearn.mixture",
)
INLINE = "module://matplotlib_inline.backend_inline"
LOCK = threading.Lock()
SERVERS = {}  # the address of the process that forks, once it runs


def can_fork() -> bool:
    "Whether kernels can be forks."
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    return sys.platform == "linux" and backend == "tensorflow"


def address() -> str:
    "Where the process listens that forks kernels; it is started when first asked for, and ends with this one."
    with LOCK:
        if "address" not in SERVERS:
            folder = tempfile.TemporaryDirectory(prefix="kernels")
            place = f"{folder.name}/socket"
            command = [sys.executable, __file__, "serve", place, *PRELOAD]
            process = subprocess.Popen(
                command,
                env=os.environ | {"MPLBACKEND": INLINE},
                stdin=subprocess.PIPE,  # closed when this process ends, however it does
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError(f"No kernels: {PRELOAD} cannot be imported")
            atexit.register(folder.cleanup)
            atexit.register(process.wait)
            atexit.register(process.stdin.close)
            SERVERS["address"] = place
        return SERVERS["address"]


def fork_kernels(client) -> None:
    "Let a notebook client's kernel be a fork."
    if can_fork():
        client.create_kernel_manager()
        command = [sys.executable, "-S", "-E", __file__, "start", address()]
        client.km.kernel_spec.argv = [*command, "-f", "{connection_file}"]


def serve(place: str, preload: list[str]) -> None:
    "Import, listen, and fork; until this process's input is closed."
    for name in preload:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(place)
        listener.listen()
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            line, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                be_kernel(line)
            line.close()


def be_kernel(line: socket.socket) -> None:
    "The fork's part: take over arguments, environment, folder and output; run until the end."
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size = array.array("i").itemsize
    text, extra, _, _ = line.recvmsg(1 << 20, socket.CMSG_SPACE(3 * size))
    given, handles = json.loads(text), array.array("i", extra[0][2])
    for number, handle in enumerate(handles):
        os.dup2(handle, number)
        os.close(handle)
    os.setsid()
    os.chdir(given["folder"])
    os.environ.clear()
    os.environ.update(given["env"])
    places = given["env"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = ["", *filter(None, places)]
    parent = f"--IPKernelApp.parent_handle={os.getppid()}"
    sys.argv = ["ipykernel_launcher", *given["argv"], parent]

    def end_with_the_other():
        with contextlib.suppress(OSError):
            line.recv(1)
        os._exit(1)

    threading.Thread(target=end_with_the_other, daemon=True).start()
    # pandas asked when it was imported, and found no notebook; this is what it sets in one.
    importlib.import_module("pandas").set_option("display.max_columns", 20)
    from ipykernel import kernelapp

    code = 1
    try:
        kernelapp.launch_new_instance()
        code = 0
    finally:
        os._exit(code)


def start(place: str, argv: list[str]) -> None:
    "What Jupyter starts: ask for a kernel, and stay until it ends."
    given = {"argv": argv, "env": dict(os.environ), "folder": str(Path.cwd())}
    handles = array.array("i", [0, 1, 2]).tobytes()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.connect(place)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handles)]
        line.sendmsg([json.dumps(given).encode()], ancillary)
        line.recv(1)  # nothing comes: the kernel's end closes the line


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], sys.argv[3:])
    else:
        start(sys.argv[2], sys.argv[3:])
