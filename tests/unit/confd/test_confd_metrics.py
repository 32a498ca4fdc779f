import urllib.request

from pycalico.confd import metrics


def test_only_where_it_is_asked_for(caplog):
    assert metrics.serve({}, lambda: "") == 0
    assert (
        metrics.serve(
            {"CONFD_PROMETHEUSMETRICSENABLED": "true", "CONFD_PROMETHEUSMETRICSPORT": "x"}, lambda: ""
        )
        == 0
    )
    assert "no port number" in caplog.text


def test_it_serves_what_it_is_given():
    environ = {
        "CONFD_PROMETHEUSMETRICSENABLED": "true",
        "CONFD_PROMETHEUSMETRICSHOST": "127.0.0.1",
        "CONFD_PROMETHEUSMETRICSPORT": "0",
    }
    port = metrics.serve(environ, lambda: "confd_in_sync 1\n")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert answer.read() == b"confd_in_sync 1\n"
    assert metrics.serve({**environ, "CONFD_PROMETHEUSMETRICSPORT": str(port)}, lambda: "") == 0
