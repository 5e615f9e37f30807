"""The parts of Kubernetes: one node, and a control plane beside it, as plain processes."""

from __future__ import annotations

import json
import socket
import textwrap
from pathlib import Path
from typing import Any

from dev.stack import certificates, containers, network, packages, paths, programs, settings
from dev.stack.processes import Part, http_ok


def etcd() -> Part:
    client = f"http://127.0.0.1:{settings.ETCD_PORT}"
    peer = f"http://127.0.0.1:{settings.ETCD_PEER_PORT}"
    return Part(
        name="etcd",
        argv=(
            programs.path("etcd"),
            f"--data-dir={paths.ETCD_DATA}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        ),
        ready=lambda: http_ok(f"{client}/health"),
    )


def apiserver() -> Part:
    certificate, key = certificates.certificate, certificates.key
    return Part(
        name="kube-apiserver",
        argv=(
            programs.path("kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{settings.ETCD_PORT}",
            # Pods reach it through the Service `kubernetes`, so it listens on the bridge and not on loopback.
            f"--bind-address={settings.NODE_IP}",
            f"--advertise-address={settings.NODE_IP}",
            f"--secure-port={settings.API_PORT}",
            f"--service-cluster-ip-range={settings.SERVICE_CIDR}",
            f"--client-ca-file={certificate('ca')}",
            f"--tls-cert-file={certificate('kube-apiserver')}",
            f"--tls-private-key-file={key('kube-apiserver')}",
            f"--kubelet-certificate-authority={certificate('ca')}",
            f"--kubelet-client-certificate={certificate('kubelet-client')}",
            f"--kubelet-client-key={key('kubelet-client')}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={key('service-account')}",
            f"--service-account-signing-key-file={key('service-account')}",
            "--kubelet-preferred-address-types=InternalIP",  # no name service of this machine knows the node
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--profiling=false",
        ),
        ready=lambda: http_ok(f"{certificates.API_URL}/readyz"),
        stop_timeout=5,  # it would wait for the end of all watches, which does not come
    )


def controller_manager() -> Part:
    return Part(
        name="kube-controller-manager",
        argv=(
            programs.path("kube-controller-manager"),
            f"--kubeconfig={certificates.kubeconfig('kube-controller-manager')}",
            f"--service-account-private-key-file={certificates.key('service-account')}",
            f"--root-ca-file={certificates.certificate('ca')}",
            "--use-service-account-credentials=true",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--profiling=false",
        ),
        ready=lambda: http_ok("https://127.0.0.1:10257/healthz"),
    )


def scheduler() -> Part:
    return Part(
        name="kube-scheduler",
        argv=(
            programs.path("kube-scheduler"),
            f"--kubeconfig={certificates.kubeconfig('kube-scheduler')}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--profiling=false",
        ),
        ready=lambda: http_ok("https://127.0.0.1:10259/healthz"),
    )


def containerd() -> Part:
    config = f"""\
        version = 2
        root = "{paths.CONTAINERD_ROOT}"
        state = "{paths.CONTAINERD_STATE}"

        [grpc]
          address = "{paths.CONTAINERD_SOCKET}"

        [plugins."io.containerd.grpc.v1.cri"]
          sandbox_image = "{containers.PAUSE_REFERENCE}"
          # Without these two no sandbox starts where CAP_SYS_RESOURCE or the hugetlb controller is missing.
          restrict_oom_score_adj = true
          disable_hugetlb_controller = true
          [plugins."io.containerd.grpc.v1.cri".cni]
            bin_dir = "{packages.cni_directory()}"
            conf_dir = "{paths.CONFIG / "cni"}"
          [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
            runtime_type = "io.containerd.runc.v2"
        """
    file = _configuration("containerd.toml", textwrap.dedent(config))
    cni = _configuration("cni/10-bridge.conflist", network.cni_configuration())
    return Part(
        name="containerd",
        argv=(programs.path("containerd"), "--config", str(file)),
        ready=containers.answers,
        inputs=(file.read_text(), cni.read_text()),
    )


def kubelet() -> Part:
    config = {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "address": settings.NODE_IP,
        "tlsCertFile": str(certificates.certificate("kubelet-server")),
        "tlsPrivateKeyFile": str(certificates.key("kubelet-server")),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(certificates.certificate("ca"))},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [settings.NODE_IP],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{paths.CONTAINERD_SOCKET}",
        "podLogsDir": str(paths.POD_LOGS),
        "staticPodPath": "",
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "makeIPTablesUtilChains": False,
        "evictionHard": {"memory.available": "1%", "nodefs.available": "1%", "imagefs.available": "1%"},
        # No registry has our images: one that was collected would be gone.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        # A replica that gives up waiting for the others tries again soon, not after up to five minutes.
        "featureGates": {"KubeletCrashLoopBackOffMax": True},
        "crashLoopBackOff": {"maxContainerRestartPeriod": "5s"},
    }
    file = _configuration("kubelet.json", json.dumps(config, indent=1))
    return Part(
        name="kubelet",
        argv=(
            programs.path("kubelet"),
            f"--config={file}",
            f"--kubeconfig={certificates.kubeconfig('kubelet')}",
            f"--root-dir={paths.KUBELET_ROOT}",
            f"--cert-dir={paths.PKI}",
            f"--hostname-override={settings.NODE_NAME}",
            f"--node-ip={settings.NODE_IP}",
        ),
        ready=lambda: http_ok("http://127.0.0.1:10248/healthz"),
        inputs=(file.read_text(),),
    )


def proxy() -> Part:
    config: dict[str, Any] = {
        "kind": "KubeProxyConfiguration",
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(certificates.kubeconfig("kube-proxy"))},
        "hostnameOverride": settings.NODE_NAME,
        "bindAddress": settings.NODE_IP,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "clusterCIDR": settings.SUBNET,
        # Zero: leave the machine's connection tracking settings alone.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        # A pod that becomes not ready leaves its Service within a fraction of a second.
        "nftables": {"minSyncPeriod": "100ms"},
    }
    file = _configuration("kube-proxy.json", json.dumps(config, indent=1))
    return Part(
        name="kube-proxy",
        argv=(programs.path("kube-proxy"), f"--config={file}"),
        ready=lambda: http_ok("http://127.0.0.1:10249/healthz"),
        inputs=(file.read_text(),),
    )


def coredns() -> Part:
    config = f"""\
        cluster.local in-addr.arpa {{
          bind {settings.NODE_IP}
          errors
          ready 127.0.0.1:{settings.COREDNS_READY_PORT}
          # ttl 0: a restarted replica finds the others under their new addresses at once.
          kubernetes cluster.local in-addr.arpa {{
            kubeconfig {certificates.kubeconfig("coredns")}
            ttl 0
            fallthrough in-addr.arpa
          }}
        }}
        . {{
          bind {settings.NODE_IP}
          errors
          forward . /etc/resolv.conf
        }}
        """
    file = _configuration("Corefile", textwrap.dedent(config))
    return Part(
        name="coredns",
        argv=(programs.path("coredns"), "-conf", str(file)),
        ready=lambda: (
            http_ok(f"http://127.0.0.1:{settings.COREDNS_READY_PORT}/ready") and _listens(settings.NODE_IP, 53)
        ),
        inputs=(file.read_text(),),
    )


def _configuration(name: str, text: str) -> Path:
    path = paths.CONFIG / name
    paths.write_atomic(path, text)
    return path


def _listens(host: str, port: int) -> bool:
    with socket.create_connection((host, port), timeout=2):
        return True
