"""Long random histories: one controller process, and two of which one leads, killed and stopped in between."""

import contextlib
import secrets
import signal

import pytest
from controllers_etcd import Etcd, Kubernetes, Process
from controllers_lab import ApiServer, until
from test_controllers_anything import Script, differences

STEPS = 200
SEEDS = 20


class PairScript(Script):
    """Two replicas under election. Whoever ends is started again, as a kubelet does."""

    def start(self):
        self.replicas = [self._begin(), self._begin()]
        self.replica = self.replicas[0]

    def _begin(self):
        return self._run(RECONCILER_PERIOD="1s", AUTO_HOST_ENDPOINTS="enabled", LEADER_ELECTION="true")

    def step(self):
        for number, replica in enumerate(self.replicas):
            if replica.process.poll() is not None:
                self.replicas[number] = self._begin()
        super().step()

    def kill_controllers(self):
        number = self.pick.randrange(2)
        if self.pick.random() < 0.5:
            self.replicas[number].kill()
            self.replicas[number] = self._begin()
        else:
            self.replicas[number].signal(signal.SIGSTOP)

    def pause(self):
        super().pause()
        for replica in self.replicas:
            if self.pick.random() < 0.2:
                replica.signal(signal.SIGCONT)

    def calm(self):
        for replica in self.replicas:
            replica.signal(signal.SIGCONT)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("script", [Script, PairScript])
def test_every_history_ends_in_the_state_that_follows_from_kubernetes(script, tmp_path):
    first = secrets.randbelow(1 << 32)
    print(f"first seed {first}")
    server = ApiServer(tmp_path)
    server.start()
    etcd = Etcd(tmp_path / "etcd")
    kubernetes = Kubernetes(server)
    try:
        for seed in range(first, first + SEEDS):
            _one(seed, script, kubernetes, etcd, server, tmp_path)
    finally:
        etcd.stop()
        if server.process.poll() is None:
            server.stop()


def _one(seed, script, kubernetes, etcd, server, folder):
    started = []

    def run(**environ):
        environ.setdefault("LEADER_ELECTION", "false")
        started.append(Process(folder, server, etcd, **environ))
        return started[-1]

    etcd.wipe()
    try:
        history = script(seed, kubernetes, etcd, server, run)
        for _ in range(STEPS):
            history.step()
        with contextlib.suppress(AttributeError):
            history.calm()
        until(lambda: not differences(kubernetes, etcd), 60)
    finally:
        for process in started:
            process.kill()
        kubernetes.clean()
