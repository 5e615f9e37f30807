"""The stack's own certificate authority, the certificates below it, and kubeconfig files."""

from __future__ import annotations

import base64
from pathlib import Path

from dev.stack import paths, settings
from dev.stack.console import run

_DAYS = "3650"
API_URL = f"https://{settings.NODE_IP}:{settings.API_PORT}"

# Name -> (subject, subject alternative names). The subject is the Kubernetes user and its group.
_CERTIFICATES: dict[str, tuple[str, str]] = {
    "kube-apiserver": (
        "/CN=kube-apiserver",
        f"IP:127.0.0.1,IP:{settings.NODE_IP},IP:{settings.API_SERVICE_IP},DNS:localhost,DNS:kubernetes,"
        "DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local",
    ),
    "kubelet-server": (f"/CN={settings.NODE_NAME}", f"IP:{settings.NODE_IP},DNS:{settings.NODE_NAME}"),
    "kubelet-client": ("/O=system:masters/CN=kube-apiserver-kubelet-client", ""),
    "admin": ("/O=system:masters/CN=dev-admin", ""),
    "kube-controller-manager": ("/CN=system:kube-controller-manager", ""),
    "kube-scheduler": ("/CN=system:kube-scheduler", ""),
    "kube-proxy": ("/CN=system:kube-proxy", ""),
    "kubelet": (f"/O=system:nodes/CN=system:node:{settings.NODE_NAME}", ""),
    "coredns": ("/CN=system:coredns", ""),
}
_USERS = ("admin", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "coredns")


def certificate(name: str) -> Path:
    return paths.PKI / f"{name}.crt"


def key(name: str) -> Path:
    return paths.PKI / f"{name}.key"


def kubeconfig(user: str) -> Path:
    return paths.CONFIG / f"{user}.kubeconfig"


def ensure() -> None:
    """Make what is missing; what exists stays, so that running pods keep trusting the API server."""
    paths.PKI.mkdir(parents=True, exist_ok=True)
    paths.PKI.chmod(0o700)
    if not certificate("ca").exists():
        _openssl("req", "-x509", "-newkey", "ec", *_CURVE, "-days", _DAYS, "-subj", "/CN=galera-backup-dev",
                 "-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature", name="ca")  # fmt: skip
    if not key("service-account").exists():
        run("certificates", ["openssl", "genrsa", "-out", str(key("service-account")), "2048"])
    for name, (subject, alternatives) in _CERTIFICATES.items():
        if not certificate(name).exists():
            extensions = ["-addext", "basicConstraints=CA:FALSE"]
            extensions += ["-addext", "extendedKeyUsage=serverAuth,clientAuth"]
            extensions += ["-addext", f"subjectAltName={alternatives}"] if alternatives else []
            _openssl("req", "-x509", "-newkey", "ec", *_CURVE, "-days", _DAYS, "-subj", subject, *extensions,
                     "-CA", str(certificate("ca")), "-CAkey", str(key("ca")), name=name)  # fmt: skip
    for user in _USERS:
        if not kubeconfig(user).exists():
            paths.write_atomic(kubeconfig(user), _kubeconfig(user), 0o600)


_CURVE = ("-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def _openssl(*argv: str, name: str) -> None:
    new = certificate(name).with_suffix(".new")
    run("certificates", ["openssl", *argv, "-keyout", str(key(name)), "-out", str(new)])
    new.replace(certificate(name))


def _kubeconfig(user: str) -> str:
    def data(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    return f"""\
apiVersion: v1
kind: Config
clusters:
  - name: galera-backup-dev
    cluster: {{server: "{API_URL}", certificate-authority-data: {data(certificate("ca"))}}}
users:
  - name: {user}
    user: {{client-certificate-data: {data(certificate(user))}, client-key-data: {data(key(user))}}}
contexts:
  - name: galera-backup-dev
    context: {{cluster: galera-backup-dev, user: {user}, namespace: {settings.NAMESPACE}}}
current-context: galera-backup-dev
"""
