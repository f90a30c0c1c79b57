"""The client protocol of the Easy SDKs (JSON-RPC 2.0): messages to packets and back, sans-IO."""
