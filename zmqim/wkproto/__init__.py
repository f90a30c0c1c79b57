"""The client protocol (WKProto): bytes to packets and back, without any input or output."""
