"""zmqim: an instant-messaging server that is a cluster of plain Python processes.

The folders are the layers (docs/ARCHITECTURE.md): a message travels `wkproto` → `gateway` → `bus`
→ `router` → `bus` → `storage` (→ `raft` → `chat` → `store`) and back.
"""

__version__ = "0.1.0"
