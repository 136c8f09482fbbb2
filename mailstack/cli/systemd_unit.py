"""The systemd unit that `quickstart` writes; etc/mailstack.service is the same with the usual paths."""

from __future__ import annotations

from pathlib import Path

USUAL_DATA = Path("/var/lib/mailstack")
HOMES = tuple(Path(home) for home in ("/home", "/root", "/run/user"))
_UNIT = """\
# Copy it to /etc/systemd/system, and see docs/operation.md. The account: useradd --system --home-dir
# {data} --shell /usr/sbin/nologin {user}. It must be able to read {directory}.
[Unit]
Description=mailstack, a mail system
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
ExecStart={program} serve --config {config}
# A configuration with mistakes makes the reload fail, and changes nothing.
ExecReload={program} config check --config {config}
ExecReload=/bin/kill -HUP $MAINPID
User={user}
UMask=0077
# One a connection, some for the store.
LimitNOFILE=65536
Restart=on-failure
RestartSec=2
# Transactions in flight get 30 seconds to end.
TimeoutStopSec=45

# The data directory of mailstack.toml, and the only place that it may write to.
{state}
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={homes}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
# Not MemoryDenyWriteExecute: the callbacks of the TLS library are made at run time.
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
# What is not allowed fails as any other call may, instead of ending the process.
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


def unit(program: str, config: Path, data: Path, user: str) -> str:
    """The text of mailstack.service. Where the program, its configuration or the data lie in somebody's
    home, the service may look there."""
    places = (Path(program.split()[0]), config, data)
    at_home = any(place.is_relative_to(home) for place in places for home in HOMES)
    usual = data == USUAL_DATA
    return _UNIT.format(
        program=program,
        config=config,
        directory=config.parent,
        data=data,
        user=user,
        state="StateDirectory=mailstack\nStateDirectoryMode=0700" if usual else f"ReadWritePaths={data}",
        homes="no" if at_home else "yes",
    )
