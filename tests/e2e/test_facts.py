"""What a process sees and may do inside a container, looked at from inside: run and exec, default and by wish."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from corten.linux.mounts import MNT_DETACH, mount
from corten.linux.syscalls import check, libc
from tests.e2e.looking import MASKED, fails, mounts, run, status
from tests.e2e.tools import ALONE, FOREVER, container, unique

if TYPE_CHECKING:
    from tests.e2e.conftest import Engine

pytestmark = [pytest.mark.root, pytest.mark.slow]

READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
SAFE = "nodev,noexec,nosuid"
# mount point -> type, options of the mount
MOUNTS = {
    "/": ("overlay", "relatime,rw"),
    "/proc": ("proc", f"{SAFE},relatime,rw"),
    "/dev": ("tmpfs", "nosuid,rw"),
    "/dev/pts": ("devpts", "noexec,nosuid,relatime,rw"),
    "/dev/mqueue": ("mqueue", f"{SAFE},relatime,rw"),
    "/dev/shm": ("tmpfs", f"{SAFE},relatime,rw"),
    "/sys": ("sysfs", f"{SAFE},relatime,ro"),
}
NODES = """\
/dev/full character special file 1:7 666 0:0
/dev/null character special file 1:3 666 0:0
/dev/random character special file 1:8 666 0:0
/dev/tty character special file 5:0 666 0:0
/dev/urandom character special file 1:9 666 0:0
/dev/zero character special file 1:5 666 0:0
"""
LINKS = """\
/dev/core -> /proc/kcore
/dev/fd -> /proc/self/fd
/dev/ptmx -> pts/ptmx
/dev/stderr -> /proc/self/fd/2
/dev/stdin -> /proc/self/fd/0
/dev/stdout -> /proc/self/fd/1
"""
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


# processes and names


def test_the_first_process_is_number_one(engine: Engine) -> None:
    """The program is process 1 and sees itself alone."""
    script = "echo $$; for folder in /proc/[0-9]*; do echo ${folder#/proc/}; done"
    assert run(engine, script=script).split() == ["1", "1"]


def test_exec_sees_the_first_process(engine: Engine, lasting: str) -> None:
    """A further process shares the container's processes, names, files and limits."""
    kinds = "mnt pid net ipc uts cgroup user"
    script = f"for kind in {kinds}; do readlink /proc/1/ns/$kind /proc/self/ns/$kind; done"
    links = engine.docker("exec", lasting, "sh", "-c", script).stdout.split()
    assert links[::2] == links[1::2]


def test_namespaces_are_the_containers_own(engine: Engine) -> None:
    """Everything but user, time and, on version 1, cgroup is apart from the host."""
    kinds = ("mnt", "pid", "net", "ipc", "uts", "user")
    script = " ".join(f"readlink /proc/self/ns/{kind};" for kind in kinds)
    own = run(engine, script=script).split()
    host = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    assert [ours != theirs for ours, theirs in zip(own, host, strict=True)] == [True] * 5 + [False]


def test_the_hostname_is_the_short_id(engine: Engine, lasting: str) -> None:
    """Hostname, its file, HOSTNAME and the host table agree."""
    identity = engine.docker("inspect", "-f", "{{.Id}}", lasting).stdout[:12]
    script = "cat /proc/sys/kernel/hostname /etc/hostname; echo $HOSTNAME"
    assert engine.docker("exec", lasting, "sh", "-c", script).stdout.split() == [identity] * 3


def test_a_hostname_by_wish(engine: Engine) -> None:
    """--hostname and --domainname are set in the kernel, the environment and the files."""
    script = "cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname /etc/hostname; echo $HOSTNAME"
    flags = ("--hostname", "box", "--domainname", "example.test")
    assert run(engine, *flags, script=script).split() == ["box", "example.test", "box", "box"]


@pytest.mark.parametrize(("network", "links"), [("bridge", ["eth0", "lo"]), ("none", ["lo"])])
def test_only_its_own_links(engine: Engine, network: str, links: list[str]) -> None:
    """A bridge container has lo and eth0, one without network lo alone."""
    done = engine.docker("run", "--rm", "--network", network, "debian", "ls", "/sys/class/net")
    assert done.stdout.split() == links


def test_only_three_descriptors(engine: Engine, lasting: str) -> None:
    """Nothing of the engine's is open in a container: CVE-2024-21626 began with a leaked descriptor."""
    for given in (("run", "--rm", *ALONE, "debian"), ("exec", lasting), ("exec", "-i", lasting)):
        out = engine.docker(*given, "sh", "-c", "ls /proc/$$/fd; true").stdout
        assert out.split() == ["0", "1", "2"]


def test_umask_signals_and_limits_are_plain(engine: Engine, inside: tuple[str, ...]) -> None:
    """The umask is 0022, no signal is blocked or ignored, one seccomp filter holds."""
    found = status(engine, *inside)
    assert found["Umask"] == "0022"
    assert {int(found[name], 16) for name in ("SigBlk", "SigIgn", "SigCgt")} == {0}
    assert (found["Seccomp"], found["NoNewPrivs"]) == ("2", "0")


# environment and folder


def test_the_environment_in_order(engine: Engine) -> None:
    """PATH and HOSTNAME come first, wishes next as they were sent, HOME last."""
    wishes = ["B=2", "A=1 2", "EMPTY="]
    name = unique()
    body = {"Image": "debian", "Hostname": "box", "Env": wishes, "Cmd": ["cat", "/proc/self/environ"]}
    assert engine.api("POST", "/containers/create", {**body, "NetworkDisabled": True}, name=name)[0] == 201
    try:
        out = engine.docker("start", "-a", name).stdout  # the client's own -e sends them in any order
    finally:
        engine.docker("rm", "-f", name)
    assert out.split("\0") == [PATH, "HOSTNAME=box", *wishes, "HOME=/root", ""]


def test_a_terminal_adds_term(engine: Engine) -> None:
    """TERM is there with a terminal only, and a wish wins."""
    done = engine.docker("run", "--rm", "-t", *ALONE, "--hostname", "box", "debian", "env").stdout.split()
    assert done == [PATH, "HOSTNAME=box", "TERM=xterm", "HOME=/root"]
    script = 'echo "$TERM"'
    assert run(engine, "-t", "-e", "TERM=vt100", script=script).strip() == "vt100"
    assert run(engine, script=script).strip() == ""


def test_exec_has_the_containers_environment(engine: Engine) -> None:
    """A further process has the container's variables, then its own."""
    with container(engine, "-e", "A=1", "-e", "B=2", "--hostname", "box", "debian", *FOREVER) as name:
        lines = engine.docker("exec", "-e", "B=3", "-e", "C=4", name, "env").stdout.splitlines()
    assert sorted(lines) == sorted([PATH, "HOSTNAME=box", "A=1", "B=3", "C=4", "HOME=/root"])


def test_a_wish_for_home_wins(engine: Engine) -> None:
    """HOME is looked up only where nobody set it."""
    assert run(engine, "-e", "HOME=/elsewhere", script="echo $HOME").strip() == "/elsewhere"


def test_the_working_folder(engine: Engine) -> None:
    """It is / by default, and made when it is missing."""
    assert run(engine, script="pwd").strip() == "/"
    assert run(engine, "-w", "/made/for it", script="pwd; stat -c %a:%u .").split("\n")[:2] == [
        "/made/for it",
        "755:0",
    ]


# mounts


def test_the_mounts(engine: Engine) -> None:
    """A container has the kernel's file systems with Docker's options, and three files of its own."""
    found = mounts(run(engine, script="cat /proc/self/mountinfo"))
    assert {point: (m.type, m.options) for point, m in found.items() if point in MOUNTS} == MOUNTS
    assert found["/dev"].super == "rw,size=65536k,mode=755"
    assert found["/dev/pts"].super == "rw,gid=5,mode=620,ptmxmode=666"
    assert "size=65536k" in found["/dev/shm"].super
    assert found["/sys/fs/cgroup"].options == f"{SAFE},relatime,ro"
    files = {point for point in found if point.startswith("/etc/")}
    assert files == {"/etc/resolv.conf", "/etc/hostname", "/etc/hosts"}
    others = {p for p in found if not p.startswith(("/proc/", "/sys/", "/etc/")) and p not in MOUNTS}
    assert others == set()


def test_its_own_cgroup_is_shown(engine: Engine) -> None:
    """Below /sys/fs/cgroup lies the container's own group: its process and its limit, read-only."""
    script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max"
    assert run(engine, "-m", "64m", script=script).strip() == str(64 << 20)
    assert "Read-only" in fails(engine, script="mkdir /sys/fs/cgroup/x || mkdir /sys/fs/cgroup/*/x")


def hidden(engine: Engine) -> list[str]:
    """Return the masked paths that this kernel has."""
    return [path for path in MASKED if os.path.exists(path)]


def test_masked_paths_are_hidden(engine: Engine) -> None:
    """What could tell of the host or break it is an empty file or an empty folder, run or exec."""
    paths = hidden(engine)
    assert paths
    script = f"for path in {' '.join(paths)}; do [ -d $path ] && ls -A $path || cat $path; done; echo end"
    found = mounts(run(engine, script="cat /proc/self/mountinfo"))
    for path in paths:
        kind, options = found[path].type, found[path].options
        assert (kind, options) == ("tmpfs", "relatime,ro") or found[path].root == "/null", path
    assert run(engine, script=script) == "end\n"
    with container(engine, "debian", *FOREVER) as name:
        assert engine.docker("exec", name, "sh", "-c", script).stdout == "end\n"


def test_read_only_paths_are_read_only(engine: Engine) -> None:
    """Kernel parameters and what lies beside them can be read, not written."""
    paths = [path for path in READ_ONLY if os.path.exists(path)]
    found = mounts(run(engine, script="cat /proc/self/mountinfo"))
    assert {path: found[path].options for path in paths} == dict.fromkeys(paths, f"{SAFE},relatime,ro")
    assert "Read-only" in fails(engine, script="echo x >/proc/sys/kernel/core_pattern")


def test_unconfined_paths(engine: Engine) -> None:
    """``--security-opt systempaths=unconfined`` hides nothing."""
    flags = ("--security-opt", "systempaths=unconfined")
    found = mounts(run(engine, *flags, script="cat /proc/self/mountinfo"))
    assert not [path for path in found if path.startswith("/proc/") or path in MASKED]


def test_a_read_only_root(engine: Engine) -> None:
    """--read-only holds for the root and the engine's files; the kernel's scratch places stay writable."""
    for path in ("/x", "/etc/hosts", "/usr/bin/x"):
        assert "Read-only" in fails(engine, "--read-only", script=f"echo x >>{path}")
    script = "echo x >/dev/shm/x && echo x >/t/x && cat /dev/shm/x /t/x"
    assert run(engine, "--read-only", "--tmpfs", "/t", script=script).split() == ["x", "x"]


def test_the_size_of_shared_memory(engine: Engine) -> None:
    """--shm-size is obeyed."""
    found = mounts(run(engine, "--shm-size", "96m", script="cat /proc/self/mountinfo"))
    assert "size=98304k" in found["/dev/shm"].super


def test_tmpfs_by_wish(engine: Engine) -> None:
    """--tmpfs and --mount type=tmpfs take size and mode, and are safe by default."""
    flags = ("--tmpfs", "/a:size=1m,mode=700,exec", "--mount", "type=tmpfs,dst=/b,tmpfs-size=2m")
    found = mounts(run(engine, *flags, script="cat /proc/self/mountinfo"))
    assert found["/a"].options == "nodev,nosuid,relatime,rw"
    assert "size=1024k,mode=700" in found["/a"].super
    assert found["/b"].options == f"{SAFE},relatime,rw"
    assert "size=2048k" in found["/b"].super
    assert run(engine, *flags, script="stat -c %a /a /b").split() == ["700", "1777"]


def test_bind_mounts(engine: Engine, tmp_path: Path) -> None:
    """A folder is writable or not as asked, a file is bound as a file, a missing folder is made."""
    (tmp_path / "f").write_text("file\n")
    made = tmp_path / "made" / "by -v"
    flags = (
        *("-v", f"{tmp_path}:/rw", "-v", f"{tmp_path}:/deep/er/ro:ro"),
        *("-v", f"{tmp_path}/f:/etc/motd", "-v", f"{made}:/m"),
        *("--mount", f"type=bind,src={tmp_path},dst=/ro2,readonly"),
    )
    script = "cat /etc/motd /deep/er/ro/f; echo new >/rw/new; touch /deep/er/ro/x /ro2/x; true"
    done = engine.docker("run", "--rm", *ALONE, *flags, "debian", "sh", "-c", script)
    assert done.stdout == "file\nfile\n"
    assert done.stderr.count("Read-only file system") == 2
    assert (tmp_path / "new").read_text() == "new\n"
    assert made.is_dir()
    assert not (tmp_path / "x").exists()


def test_a_read_only_bind_is_read_only_with_all_below_it(engine: Engine, tmp_path: Path) -> None:
    """A mount below the source cannot be written through it either."""
    below = tmp_path / "below"
    below.mkdir()
    mount("tmpfs", str(below), "tmpfs")
    try:
        complaint = fails(engine, "-v", f"{tmp_path}:/ro:ro", script="touch /ro/below/x")
    finally:
        check(libc.umount2(os.fsencode(below), MNT_DETACH), f"unmount {below}")
    assert "Read-only" in complaint


def test_the_files_of_names(engine: Engine) -> None:
    """hosts, resolv.conf and hostname follow --add-host, --dns, --dns-search, --dns-option and --hostname."""
    flags = (
        *("--hostname", "box", "--add-host", "db:10.1.2.3", "--dns", "192.0.2.53"),
        *("--dns-search", "example.test", "--dns-option", "ndots:2"),
    )
    out = run(
        engine, *flags, script="cat /etc/hosts; echo ==; cat /etc/resolv.conf; echo ==; cat /etc/hostname"
    )
    hosts, resolv, name = out.split("==\n")
    assert hosts.splitlines()[0].split() == ["127.0.0.1", "localhost"]
    assert ["10.1.2.3", "db"] in [line.split() for line in hosts.splitlines()]
    lines = [line for line in resolv.splitlines() if not line.startswith("#")]
    assert lines == ["nameserver 192.0.2.53", "search example.test", "options ndots:2"]
    assert name == "box\n"


def test_the_host_table_names_the_container(engine: Engine) -> None:
    """On a bridge the container's own address stands in its host table, and host-gateway is the bridge."""
    flags = ("--hostname", "box", "--add-host", "up:host-gateway")
    done = engine.docker("run", "--rm", *flags, "debian", "cat", "/etc/hosts", "/proc/net/fib_trie")
    rows = {line.split()[-1]: line.split()[0] for line in done.stdout.splitlines() if line[:1].isdigit()}
    assert f"|-- {rows['box']}\n" in done.stdout
    assert rows["up"].rpartition(".")[0] == rows["box"].rpartition(".")[0]


# devices


def test_the_devices(engine: Engine) -> None:
    """/dev has six nodes and six links, whose owners and modes are fixed, and a terminal only when asked for."""
    script = (
        "find /dev -type c | sort | xargs stat -c '%n %F %t:%T %a %u:%g'; stat -c %N /dev/* | grep -F -- '->'"
    )
    found = run(engine, script=script).replace("'", "")
    nodes = [line for line in found.splitlines(keepends=True) if "->" not in line]
    assert "".join(line for line in nodes if not line.startswith("/dev/pts/")) == NODES
    assert "".join(line for line in found.splitlines(keepends=True) if "->" in line) == LINKS
    names = run(engine, script="ls /dev").split()
    assert set(names) - {Path(line.split()[0]).name for line in (NODES + LINKS).splitlines()} == {
        *("mqueue", "pts", "shm"),
    }


def test_a_terminal_is_the_console(engine: Engine) -> None:
    """With -t standard streams are a terminal of the container's own, which is /dev/console too."""
    script = "tty; stat -c %t:%T:%a $(tty) /dev/console; ls /dev/pts"
    lines = run(engine, "-t", script=script).split()
    assert lines[0] == "/dev/pts/0"
    assert lines[1] == lines[2]
    assert lines[3:] == ["0", "ptmx"]


def test_other_devices_are_refused(engine: Engine) -> None:
    """A node that the program makes itself cannot be opened: only the devices given can."""
    script = "mknod /dev/x b 254 0 && head -c1 /dev/x"
    assert "Operation not permitted" in fails(engine, script=script)
    assert run(engine, script="mknod /z c 1 5 && head -c3 /z | wc -c").strip() == "3"


def test_a_device_by_wish(engine: Engine) -> None:
    """--device gives a node under another name with the rights named, and no others."""
    flags = ("--cap-add", "SYSLOG", "--device", "/dev/kmsg:/dev/messages:r")
    assert run(engine, *flags, script="stat -c %t:%T /dev/messages").strip() == "1:b"
    assert "not permitted" in fails(engine, *flags, script="echo x >/dev/messages")
    assert run(engine, *flags, script="exec 3</dev/messages && echo opened").strip() == "opened"


def test_a_device_rule_by_wish(engine: Engine) -> None:
    """--device-cgroup-rule opens what the program makes itself."""
    script = "mknod /x c 1 11 && exec 3</x && echo opened"
    assert "not permitted" in fails(engine, "--cap-add", "SYSLOG", script=script)
    flags = ("--cap-add", "SYSLOG", "--device-cgroup-rule", "c 1:11 rm")
    assert run(engine, *flags, script=script).strip() == "opened"


# what else can be set


def test_sysctls(engine: Engine) -> None:
    """Anyone may ping and listen below 1024 by default; a wish is set in the container's namespaces."""
    names = ("net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start", "kernel.msgmax")
    script = "cat " + " ".join("/proc/sys/" + name.replace(".", "/") for name in names)
    assert run(engine, script=script).splitlines()[:2] == ["0\t2147483647", "0"]
    flags = ("--sysctl", "net.ipv4.ip_unprivileged_port_start=80", "--sysctl", "kernel.msgmax=4096")
    assert run(engine, *flags, script=script).splitlines()[1:] == ["80", "4096"]


def test_limits_of_a_process(engine: Engine) -> None:
    """--ulimit sets soft and hard limits, for run and exec."""
    script = "ulimit -Sn; ulimit -Hn; ulimit -c"
    with container(engine, "--ulimit", "nofile=100:200", "--ulimit", "core=0", "debian", *FOREVER) as name:
        assert engine.docker("exec", name, "sh", "-c", script).stdout.split() == ["100", "200", "0"]
    assert run(engine, "--ulimit", "nofile=100:200", script=script).split()[:2] == ["100", "200"]


def test_an_init_program(engine: Engine) -> None:
    """--init puts a program first that reaps and passes signals on; the command is its child."""
    name = unique()
    flags = ("-d", "--init", "--name", name, *ALONE)
    engine.docker("run", *flags, "debian", "sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.02; done")
    try:
        script = "tr '\\0' ' ' </proc/1/cmdline; cat /proc/$(pgrep -o sh)/status | grep PPid"
        fallback = "tr '\\0' ' ' </proc/1/cmdline"
        out = engine.docker("exec", name, "sh", "-c", f"{script} || {fallback}").stdout
        assert out.startswith("/sbin/docker-init -- sh -c")
        engine.docker("stop", name)
        assert engine.docker("inspect", "-f", "{{.State.ExitCode}}", name).stdout.strip() == "5"
    finally:
        engine.docker("rm", "-f", name)


def test_the_oom_score(engine: Engine) -> None:
    """--oom-score-adj is set; by default it is 0, not the supervisor's own."""
    script = "cat /proc/self/oom_score_adj"
    assert run(engine, script=script).strip() == "0"
    assert run(engine, "--oom-score-adj", "500", script=script).strip() == "500"
