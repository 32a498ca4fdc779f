"""The flags of ``calico-node``."""

from __future__ import annotations

from pycalico.base.goflags import Flag

FLAGS = (
    Flag("allocate-tunnel-addrs", "Configure tunnel addresses for this node"),
    Flag("allocate-tunnel-addrs-run-once", "Run allocate-tunnel-addrs in oneshot mode"),
    Flag("best-effort", "With -init: report errors, but do not fail"),
    Flag("bird-live", "Run bird liveness checks"),
    Flag("bird-ready", "Run BIRD readiness checks"),
    Flag("bird6-live", "Run bird6 liveness checks"),
    Flag("bird6-ready", "Run BIRD6 readiness checks"),
    Flag("bpf", "Run BPF debug tool"),
    Flag("confd", "Run confd"),
    Flag("confd-confdir", "Confd configuration directory.", "string", "/etc/calico/confd"),
    Flag("confd-keep-stage-file", "Keep stage file when running confd"),
    Flag("confd-run-once", "Run confd in oneshot mode"),
    Flag("felix", "Run Felix"),
    Flag("felix-live", "Run felix liveness checks"),
    Flag("felix-ready", "Run felix readiness checks"),
    Flag("hostpath-init", "Initialize hostpaths for non-root access"),
    Flag("init", "Mount what a new node needs (BPF file system, cgroup2); needs privileges"),
    Flag("monitor-addresses", "Monitor change in node IP addresses"),
    Flag("monitor-token", "Keep the CNI plugin's Kubernetes token fresh"),
    Flag("show-status", "Print out node status"),
    Flag("shutdown", "Tell the cluster that this node's networking goes down"),
    Flag("startup", "Register this node and its defaults in the datastore"),
    Flag("status-reporter", "Run node status reporter"),
    Flag("threshold-time", "Threshold time for bird readiness", "duration", "30s"),
    Flag("v", "Display version"),
)
