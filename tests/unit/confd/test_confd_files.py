import stat

import pytest

from pycalico.bgp import daemon
from pycalico.confd.files import ConfigDirectory

NAMES = ("bird.cfg", "bird_aggr.cfg", "bird_ipam.cfg", "bird6.cfg", "bird6_aggr.cfg", "bird6_ipam.cfg")


def files(**changes):
    return {name: changes.get(name.removesuffix(".cfg"), f"# {name}\n") for name in NAMES}


@pytest.fixture
def checked(monkeypatch):
    """Which main files BIRD was asked about; those that hold BAD are refused."""
    asked = []

    def check(family, main):
        asked.append(family)
        if any("BAD" in path.read_text() for path in main.parent.iterdir()):
            raise daemon.Refused("syntax error")

    monkeypatch.setattr(daemon, "check", check)
    return asked


def test_only_what_changed_is_written_and_reloaded(tmp_path, checked):
    directory = ConfigDirectory(tmp_path / "config")
    assert directory.apply(files()).changed == {4, 6}
    before = {name: (tmp_path / "config" / name).stat().st_ino for name in NAMES}
    assert directory.apply(files()).changed == set()
    assert checked == [4, 6]
    assert directory.apply(files(bird_ipam="# new\n")).changed == {4}
    changed = [name for name in NAMES if (tmp_path / "config" / name).stat().st_ino != before[name]]
    assert changed == ["bird_ipam.cfg"]
    assert sorted(path.name for path in (tmp_path / "config").iterdir()) == sorted(NAMES)


def test_a_refused_family_keeps_its_files_and_the_other_goes_on(tmp_path, checked):
    directory = ConfigDirectory(tmp_path)
    directory.apply(files())
    outcome = directory.apply(files(bird_aggr="BAD\n", bird="# newer\n", bird6="# newer\n"))
    assert outcome.changed == {6}
    assert outcome.refusal() == "bird.cfg is left as it was: syntax error"
    assert (tmp_path / "bird.cfg").read_text() == "# bird.cfg\n"
    assert (tmp_path / "bird6.cfg").read_text() == "# newer\n"


def test_passwords_are_for_root_alone(tmp_path, checked):
    ConfigDirectory(tmp_path).apply(files(bird='{\n  password "x";\n}\n'))
    assert stat.S_IMODE((tmp_path / "bird.cfg").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "bird6.cfg").stat().st_mode) == 0o644
