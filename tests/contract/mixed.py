"""Contracts whose roles run in several kinds of TEE, for the tests of their tables."""

from __future__ import annotations

A, B = (f"ed25519:{digit * 64}" for digit in "ab")
NODES = """
nodes = [
  {name = "ps", role = "ps", party = "a", address = "127.0.0.1:7440"},
  {name = "w1", role = "worker", party = "a"},
  {name = "w2", role = "worker", party = "b"},
]
"""


def contract(tee: str, roles: str, *, keys: bool = False) -> str:
    """A contract with a server and two workers, and these tables of roles."""
    a, b = (f', key = "{key}"' if keys else "" for key in (A, B))
    return f"""
format = 1
name = "mixed"
mode = "hfl"
parties = [{{name = "a"{a}}}, {{name = "b"{b}}}]
{NODES}
[training]
[trust]
tee = "{tee}"
{roles}"""


TABLE = f"""
launch_measurement = ["{"33" * 48}"]
guest_policy = ["000000000003001f"]
vmpl = [0]
minimum_guest_svn = 2
family_id = ["{"44" * 16}"]
image_id = ["{"45" * 16}"]
id_key_digest = ["{"46" * 48}"]
author_key_digest = ["{"47" * 48}"]
host_data = ["{"48" * 32}"]
signing_key = ["vcek", "vlek"]
csp_id = ["CN=cc.example"]
chip_id = ["{"49" * 64}"]
minimum_firmware = "1.55.22"
required_platform = ["alias_check_complete", "smt_disabled"]
"""
FLOORS = """
milan = { bootloader = 4, tee = 0, snp = 22, microcode = 213 }
turin = { fmc = 1, bootloader = 1, tee = 1, snp = 4, microcode = 71 }
"""
SNP = contract(
    "sgx",
    f"""[trust.roles.ps]
tee = "snp"
[trust.roles.ps.snp]
{TABLE}
[trust.roles.ps.snp.minimum_tcb]
{FLOORS}
[trust.roles.worker]
mrenclave = ["{"11" * 32}"]
accepted_tcb_statuses = ["UpToDate"]
minimum_tcb_evaluation_number = 17
""",
    keys=True,
)
